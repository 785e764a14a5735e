//! What is asked for over the socket, carried out.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{mpsc as async_mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Service, flush, setup};
use crate::control::view::Facts;
use crate::control::{
    Answer, Asked, Body, Code, Desk, Flushed, Handed, Intake, IntakeOptions, NotDone, Piece, Refused,
    Request, Sent, Steer, became, view,
};
use crate::fs::{Clock, Dir};
use crate::mail::QueueId;
use crate::pickup::Hint;
use crate::sender::{Ended, MessageEnd, Wake};
use crate::spool::{Name, Spool, SpoolError};

/// How long at most is waited for what becomes of a message, before it is said that nothing did.
const OUTCOME_WITHIN: Duration = Duration::from_secs(25);
/// So many may wait at once: each has a connection, and others want to be heard. The others are answered at once.
const OUTCOMES_AWAITED: usize = 12;

/// How long messages that are being handed in hold up a new configuration.
const HANDS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether what was dropped is accepted.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a flush waits for it, besides the time a file takes to settle.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(1);

/// What takes longer than a turn of the loop, and only while pickup and sender work.
pub(super) struct Hands {
    /// Messages that are being handed in.
    at_work: JoinSet<Result<(), SpoolError>>,
    /// Those who wait for the end of a pass.
    waiting: JoinSet<()>,
    wake: Arc<Wake>,
    hints: mpsc::Sender<Hint>,
    /// Where those go who still wait when pickup and sender are started anew.
    asking: async_mpsc::UnboundedSender<Asked>,
    started_anew: watch::Sender<bool>,
}

impl Hands {
    pub(super) fn new(
        wake: Arc<Wake>,
        hints: mpsc::Sender<Hint>,
        asking: async_mpsc::UnboundedSender<Asked>,
    ) -> Hands {
        let (at_work, waiting) = (JoinSet::new(), JoinSet::new());
        Hands { at_work, waiting, wake, hints, asking, started_anew: watch::Sender::new(false) }
    }

    /// When the next is done: an error if the spool is faulted by it. Never if there is nothing to do.
    pub(super) async fn done(&mut self) -> Result<(), SpoolError> {
        tokio::select! {
            // What has panicked has not answered: whoever asked is told to try again.
            Some(done) = self.at_work.join_next() => done.unwrap_or(Ok(())),
            Some(_) = self.waiting.join_next() => Ok(()),
            else => std::future::pending().await,
        }
    }

    /// Ends them. If pickup and sender are started anew, whoever waits for a pass waits for one of theirs; who has had no
    /// answer otherwise is told to try again.
    pub(super) async fn finish(&mut self, has_time: bool) {
        if has_time {
            self.started_anew.send_replace(true);
            while self.waiting.join_next().await.is_some() {}
            let all = async { while self.at_work.join_next().await.is_some() {} };
            // What is not done by then has to be asked for again.
            drop(timeout(HANDS_WITHIN, all).await);
        }
        self.at_work.shutdown().await;
        self.waiting.shutdown().await;
    }
}

impl Asked {
    /// Says no.
    pub(super) fn refuse(self, refused: Refused) {
        tell(self.answer, Err(refused));
    }
}

/// Whoever asked may be gone.
fn tell(to: oneshot::Sender<Result<Answer, Refused>>, answer: Result<Answer, Refused>) {
    drop(to.send(answer));
}

impl Service<'_> {
    /// Carries out what is asked for. True if there is another configuration.
    pub(super) fn carry_out(&mut self, asked: Asked, hands: &mut Hands) -> Result<bool, SpoolError> {
        let Asked { request, body, answer } = asked;
        let (spool, clock, wake) = (self.spool.clone(), self.clock.clone(), hands.wake.clone());
        let desk = Desk::new(&spool, &*clock);
        let done = match request {
            Request::Steer(steer, which) => desk.steer(steer, &which).map(|(id, steered)| {
                self.note(steer, id);
                wake.due_now(id);
                Answer::Steered(steered)
            }),
            Request::Pause => desk.pause().map(|pause| {
                wake.steered();
                Answer::Pause(pause)
            }),
            Request::Resume => desk.resume().map(|pause| {
                wake.steered();
                Answer::Pause(pause)
            }),
            Request::Reload => {
                let reloaded = self.reload();
                let is_new = reloaded.is_ok();
                tell(answer, reloaded.map(Answer::Reloaded));
                return Ok(is_new);
            }
            Request::Flush => {
                self.flush(hands, answer);
                return Ok(false);
            }
            Request::Outcome(which, wait) => {
                self.await_outcome(hands, which, Duration::from_secs(wait).min(OUTCOME_WITHIN), answer);
                return Ok(false);
            }
            Request::Send(handed) => {
                self.take_message(hands, handed, body, answer);
                return Ok(false);
            }
            Request::Status | Request::List(_) | Request::Show(_) => {
                let facts = self.facts().clone();
                view::answer(&request, &**spool.fs(), &facts).map_err(NotDone::Refused)
            }
        };
        settle(done, answer, &spool).map(|()| false)
    }

    fn flush(&self, hands: &mut Hands, answer: oneshot::Sender<Result<Answer, Refused>>) {
        let (spool, wake, hints) = (self.spool.clone(), hands.wake.clone(), hands.hints.clone());
        let config = &self.settings.config;
        let facts = setup::facts(config);
        let settles = config.folders.iter().map(|folder| folder.pickup.settle);
        let settle = settles.chain([config.pickup.settle]).max().unwrap_or_default();
        let (asking, mut started_anew) = (hands.asking.clone(), hands.started_anew.subscribe());
        hands.waiting.spawn(async move {
            // If it has ended, so will this.
            drop(hints.send(Hint::Rescan));
            let accepted = async {
                while !is_all_accepted(&spool, &facts) {
                    sleep(LOOK_AGAIN).await;
                }
            };
            let passed = async {
                // What is not accepted by then is left, as by a flush of one's own.
                drop(timeout(settle * 2 + ACCEPTED_WITHIN, accepted).await);
                wake.flush().await
            };
            let pass = tokio::select! {
                pass = passed => pass,
                Ok(_) = started_anew.wait_for(|anew| *anew) => {
                    // The loop that hears it outlives this task, or the service ends and whoever asked is told so.
                    let body = async_mpsc::channel(1).1;
                    drop(asking.send(Asked { request: Request::Flush, body, answer }));
                    return;
                }
            };
            let flushed: Flushed = flush::flushed(pass.end, pass.delivered, &spool);
            tell(answer, Ok(Answer::Flushed(flushed)));
        });
    }

    /// What an operator did to a message, for those who wait for what becomes of it.
    fn note(&self, steer: Steer, id: QueueId) {
        let removed = Ended { how: MessageEnd::Removed, recipients: Vec::new(), problems: Vec::new() };
        match steer {
            Steer::Remove => self.outcomes.note(id, removed),
            Steer::Retry => self.outcomes.forget(id),
            Steer::Hold | Steer::Release => {}
        }
    }

    fn await_outcome(
        &self,
        hands: &mut Hands,
        which: String,
        wait: Duration,
        answer: oneshot::Sender<Result<Answer, Refused>>,
    ) {
        let (spool, outcomes) = (self.spool.clone(), self.outcomes.clone());
        let is_crowded = outcomes.awaited() >= OUTCOMES_AWAITED;
        let mut changes = outcomes.changes();
        let mut started_anew = hands.started_anew.subscribe();
        hands.waiting.spawn(async move {
            let mut time = std::pin::pin!(sleep(wait));
            let mut which = which;
            let became = loop {
                // Here, on the loop's thread: no step of the sender comes between.
                let became = match became(&spool, &outcomes, &which) {
                    Ok((id, became)) => {
                        which = id.to_string();
                        became
                    }
                    Err(refused) => break Err(refused),
                };
                if became.is_final() || is_crowded {
                    break Ok(became);
                }
                tokio::select! {
                    // The other end lives as long as this.
                    _ = changes.changed() => {}
                    () = &mut time => break Ok(became),
                    // Pickup and sender start anew: whoever wants to know more asks again.
                    _ = started_anew.wait_for(|anew| *anew) => break Ok(became),
                }
            };
            tell(answer, became.map(Answer::Became));
        });
    }

    fn take_message(
        &self,
        hands: &mut Hands,
        handed: Handed,
        mut body: Body,
        answer: oneshot::Sender<Result<Answer, Refused>>,
    ) {
        let (spool, clock, wake) = (self.spool.clone(), self.clock.clone(), hands.wake.clone());
        let options = setup::intake_options(&self.settings.config);
        hands.at_work.spawn(async move {
            let sent = take(&spool, &options, &handed, &mut body, &*clock).await;
            if sent.is_ok() {
                wake.accepted.notify_one();
            }
            settle(sent.map(Answer::Sent), answer, &spool)
        });
    }
}

/// Answers. An error if the spool is faulted by what was done.
fn settle(
    done: Result<Answer, NotDone>,
    answer: oneshot::Sender<Result<Answer, Refused>>,
    spool: &Spool,
) -> Result<(), SpoolError> {
    let told = done.as_ref().map(Answer::clone).map_err(NotDone::refused);
    tell(answer, told);
    match done {
        Err(NotDone::Disk(error)) if spool.is_faulted() => Err(error),
        _ => Ok(()),
    }
}

async fn take(
    spool: &Spool,
    options: &IntakeOptions,
    handed: &Handed,
    body: &mut Body,
    clock: &dyn Clock,
) -> Result<Sent, NotDone> {
    let mut intake = Intake::begin(spool, options)?;
    loop {
        match body.recv().await {
            Some(Piece::Bytes(bytes)) => intake.append(&bytes)?,
            Some(Piece::End) => return intake.finish(handed, clock.wall()),
            Some(Piece::Broken(refused)) => return Err(refused.into()),
            // Nobody is left to be told.
            None => return Err(Refused::new(Code::BadRequest, "the message did not come whole").into()),
        }
    }
}

/// Whether nothing lies in `pickup/` or a folder that could be taken, and everything in `pending/` is in line.
fn is_all_accepted(spool: &Spool, facts: &Facts) -> bool {
    let fs = &**spool.fs();
    let mut is_known = true;
    let listed = fs.list(Dir::Pending, &mut |file, _| {
        is_known &= Name::parse(file).is_none_or(|name| spool.name(name.id).is_some());
    });
    listed.is_err() || (is_known && view::takeable(fs, facts) == 0)
}
