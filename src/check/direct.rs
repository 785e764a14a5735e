//! One message on a session of its own, beside the queue, with the dialogue shown: `test --direct`.

use std::io;
use std::sync::Arc;

use super::replies::of_reply;
use super::smarthost::{Check, is_by_token, unanswered};
use super::watch::Watch;
use super::{Step, Steps, Wanted};
use crate::config::Config;
use crate::mail::{Dsn, Mailbox, Monotonic, Reply, ReversePath, Stage};
use crate::net::{BodySource, Connection, Heard, Witness};
use crate::policy::cure;
use crate::sender;
use crate::smtp::{Answer, Transaction, Transcript};

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The sender.
    pub from: Mailbox,
    /// The recipient.
    pub to: Mailbox,
    /// The message: ASCII, lines of ours that end in CRLF and begin with no dot.
    pub bytes: Vec<u8>,
}

/// Why it was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// These steps failed, or were to be looked at.
    Failed(Vec<Step>),
    /// The server refused the message itself: its words, and what to do.
    Refused(String, String),
    /// Its end was sent and no answer came: nobody knows.
    InDoubt(String),
}

type Show = Arc<dyn Fn(&str) + Send + Sync>;

/// Sends `letter` to the first smarthost of `config`. Each line of the dialogue is shown, without secrets.
///
/// # Errors
///
/// The runtime cannot be had; or why it was not taken.
pub fn direct(
    config: &Config,
    wanted: &Wanted,
    letter: &Letter,
    show: Show,
) -> io::Result<Result<Reply, NotTaken>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = Arc::new(Steps::silent());
    let taken = runtime.block_on(Check::new(config, wanted, &steps).send(letter, show));
    // A look-up that nobody answers goes on in a thread of its own.
    runtime.shutdown_background();
    Ok(taken)
}

/// Shows the dialogue, and lets the watch see it.
struct Shown {
    watch: Arc<Watch>,
    show: Show,
}

impl Witness for Shown {
    fn hear(&self, heard: Heard<'_>) {
        match &heard {
            Heard::Connected(peer) => (self.show)(&format!("* connected to {peer}")),
            Heard::Tls(facts) => (self.show)(&format!("* {}, {}", facts.version, facts.cipher_suite)),
            Heard::Said(_, line) => (self.show)(&format!("> {line}")),
            Heard::Answered(_, line) => (self.show)(&format!("< {line}")),
            Heard::Opening(_) | Heard::Addresses(_) | Heard::Failed(_) => {}
        }
        self.watch.hear(heard);
    }
}

/// The message in one block, with its final dot.
struct Whole<'a>(&'a [u8]);

impl BodySource for Whole<'_> {
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        block.extend_from_slice(self.0);
        block.extend_from_slice(b".\r\n");
        Ok(false)
    }
}

impl Check<'_> {
    async fn send(&self, letter: &Letter, show: Show) -> Result<Reply, NotTaken> {
        let Some(mut smarthost) = self.first() else {
            let step = Step::failed("config", super::Cause::SettingsMissing, "");
            return Err(NotTaken::Failed(vec![step]));
        };
        let failed = |step| NotTaken::Failed(vec![step]);
        if !self.without_rotation(&mut smarthost).await.map_err(failed)? {
            return Err(failed(Step::failed("login", super::Cause::TokenNotTried, "")));
        }
        let watch = self.watch(&smarthost);
        let shown = Arc::new(Shown { watch: watch.clone(), show });
        let opened = sender::look(&smarthost, &self.options, &self.clock, &self.fs, shown).await;
        let mut connection: Connection = match opened {
            Ok(connection) => connection,
            Err(trouble) => {
                return Err(NotTaken::Failed(self.explain(&smarthost, &watch.seen(), &trouble).await));
            }
        };
        let clock = self.clock.clone();
        let now = move || -> Monotonic { clock.monotonic() };
        let transaction = Transaction {
            reverse_path: ReversePath::Mailbox(letter.from.clone()),
            forward_paths: vec![letter.to.clone()],
            size: letter.bytes.len() as u64,
            eight_bit: false,
            smtputf8: false,
            dsn: Dsn::default(),
            rcpt_dsn: Vec::new(),
            unconvertible: None,
        };
        let transcript = connection.transact(transaction, &mut Whole(&letter.bytes), None, &now).await;
        connection.quit(&now).await;
        outcome(&transcript, watch.seen().setting(is_by_token(&smarthost)))
    }
}

fn outcome(transcript: &Transcript, setting: super::replies::Setting) -> Result<Reply, NotTaken> {
    let Transcript { mail, rcpts, data, lost, .. } = transcript;
    if let Some(reply) = transcript.to_dot().filter(|dot| dot.is_completed()).find_map(Answer::reply) {
        return Ok(reply.clone());
    }
    let rcpt = rcpts.first().unwrap_or(&Answer::NotSent);
    for (name, stage, answer) in [("mail", Stage::Mail, mail), ("rcpt", Stage::Rcpt, rcpt)] {
        match answer {
            answer if answer.is_completed() => {}
            Answer::Reply(reply) => {
                let evidence = format!("{reply} in reply to {}", stage.request());
                return Err(NotTaken::Failed(vec![Step::failed(
                    name,
                    of_reply(stage, reply, setting),
                    evidence,
                )]));
            }
            // Whose recipient cannot be sent at all.
            Answer::NotSent if matches!(rcpt, Answer::Unsendable(_)) => {}
            answer => return Err(NotTaken::Failed(vec![unanswered(name, answer, lost.as_ref(), setting)])),
        }
    }
    let refusal =
        [(Stage::Data, data)].into_iter().chain(transcript.to_dot().map(|dot| (Stage::FinalDot, dot)));
    for (stage, answer) in refusal {
        if let Some(reply) = answer.reply().filter(|reply| reply.code >= 400) {
            let hint =
                cure(stage, reply).unwrap_or("ask who runs the server why it does not take the message");
            let said = format!("{reply} in reply to {}", stage.request());
            return Err(NotTaken::Refused(said, hint.to_owned()));
        }
    }
    match lost {
        _ if transcript.is_in_doubt() => Err(NotTaken::InDoubt(
            lost.as_ref().map_or_else(|| "no answer came".to_owned(), ToString::to_string),
        )),
        lost => Err(NotTaken::Failed(vec![unanswered("data", data, lost.as_ref(), setting)])),
    }
}
