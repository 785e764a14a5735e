//! `send --wait`: what becomes of the message, and why nothing does.

use std::time::Duration;

use crate::cli::ask::{Desk, unexpected};
use crate::cli::{Failure, exit, print, print_json};
use crate::control::{Answer, Became, Recipient, Request, State, Status};
use crate::fs::{Clock as _, SystemClock};
use crate::mail::Outcome;
use crate::sender::SenderState;

/// Longest that one request waits, seconds.
const ASK_FOR: u64 = 25;
/// Between two requests, where the answer came sooner.
const BETWEEN: Duration = Duration::from_millis(500);
/// So long a service that went away has to come back.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the message is delivered or given up, for at most `within`.
pub(super) fn wait(desk: &Desk, id: &str, within: Option<Duration>, json: bool) -> Result<u8, Failure> {
    let now = || SystemClock.monotonic();
    let begun = now();
    // When there was no service any more, after there had been one.
    let mut gone_since = None;
    loop {
        let left = within.map(|within| within.saturating_sub(now() - begun));
        let seconds = left.map_or(ASK_FOR, |left| left.as_secs().min(ASK_FOR));
        let asked = now();
        let last = match desk.ask_service_alone(&Request::Outcome(id.to_owned(), seconds)) {
            None if !desk.was_served() => {
                let failure =
                    format!("{id} is kept, and nobody delivers it now: no service runs on this spool");
                return Err(Failure::new(exit::TEMPFAIL, failure).hint("pillarbox flush"));
            }
            None => Err(format!("{id} is kept, and the service that was to deliver it has gone")),
            Some(Ok(Answer::Became(became))) if became.is_final() => return ended(&became, json),
            Some(Ok(Answer::Became(became))) => Ok(became),
            Some(Ok(_)) => return Err(unexpected()),
            // It is busy, starts anew, or went away in the middle.
            Some(Err(failure)) if failure.code == exit::TEMPFAIL => Err(failure.message),
            Some(Err(failure)) => return Err(failure),
        };
        let is_over = left.is_some_and(|left| left.is_zero());
        match last {
            Ok(became) if is_over => return Err(still_waits(desk, &became, within, json)?),
            Ok(_) => gone_since = None,
            Err(why) => {
                let since = *gone_since.get_or_insert(asked);
                if is_over || now() - since >= BACK_WITHIN {
                    let hint =
                        "it is sent when a service runs again; `pillarbox status` says how things stand";
                    return Err(Failure::new(exit::TEMPFAIL, why).hint(hint));
                }
            }
        }
        // A request that was held back may be followed by the next at once.
        if now() - asked < BETWEEN {
            std::thread::park_timeout(left.map_or(BETWEEN, |left| left.min(BETWEEN)));
        }
    }
}

/// Nothing more can become of it.
pub(in crate::cli) fn ended(became: &Became, json: bool) -> Result<u8, Failure> {
    if json {
        print_json(became)?;
    }
    let id = &became.id;
    match became.state {
        State::Delivered => {
            if !json {
                print(&format!("delivered {}\n", words(became)))?;
            }
            Ok(exit::OK)
        }
        State::Removed => {
            Err(Failure::new(exit::UNAVAILABLE, format!("{id} was removed by an operator, and goes nowhere")))
        }
        State::Failed => {
            let failure = Failure::new(exit::UNAVAILABLE, format!("{id} was given up: {}", words(became)));
            Err(failure.hint(format!("when the cause is mended: pillarbox retry {id}")))
        }
        _ => {
            let why = "it is not in the spool any more, and the service was started anew since it was";
            let failure =
                Failure::new(exit::TEMPFAIL, format!("what became of {id} is not known any more: {why}"));
            Err(failure.hint("the log of the service says it; do not send it again before you have looked"))
        }
    }
}

fn still_waits(
    desk: &Desk,
    became: &Became,
    within: Option<Duration>,
    json: bool,
) -> Result<Failure, Failure> {
    if json {
        print_json(became)?;
    }
    let id = &became.id;
    let mut why = vec![format!("{id} is {} after {:?}", became.state, within.unwrap_or_default())];
    why.extend(Some(words(became)).filter(|words| !words.is_empty()));
    why.extend(why_nothing_moves(desk));
    let failure = Failure::new(exit::TEMPFAIL, why.join(": "));
    Ok(failure.hint(format!("it is kept and will be sent; `pillarbox show {id}` says how it stands")))
}

/// What the server said to each, and what else was wrong.
pub(in crate::cli) fn words(became: &Became) -> String {
    let recipient = |Recipient { address, outcome }: &Recipient| {
        Some(match outcome.as_ref()? {
            Outcome::Delivered(reply) => format!("to {address}: {reply}"),
            Outcome::Deferred(stage, reply) => {
                format!("{address} deferred: {reply} (in reply to {})", stage.request())
            }
            Outcome::Failed(stage, reply) => {
                format!("{address} refused: {reply} (in reply to {})", stage.request())
            }
        })
    };
    let recipients = became.recipients.iter().filter_map(recipient);
    recipients.chain(became.problems.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// Why nothing leaves the box, in one line; `None` if it does, or if that cannot be asked for.
pub(in crate::cli) fn why_nothing_moves(desk: &Desk) -> Option<String> {
    match desk.ask(&Request::Status) {
        Ok(Answer::Status(status)) => stuck(&status),
        Err(failure) if failure.code == exit::CONFIG => Some(failure.message),
        // It is only told beside what was asked for.
        _ => None,
    }
}

fn stuck(status: &Status) -> Option<String> {
    if let Some(error) = &status.config_error {
        return Some(format!("the configuration is wrong: {error}"));
    }
    if let Some(fault) = &status.spool_fault {
        return Some(format!("the service waits for the disk: {fault}"));
    }
    if status.holder.is_none() {
        return Some(
            "nobody works on this spool: start `pillarbox run`, or `pillarbox flush` from cron".into(),
        );
    }
    let state = status.sender.as_ref()?;
    let since = state.since();
    match state {
        SenderState::Usable { .. } => None,
        SenderState::Paused { .. } => Some(format!("sending is paused since {since}: `pillarbox resume`")),
        SenderState::NoSmarthost { .. } => {
            Some("no smarthost is configured: set url in [[smarthost]]".into())
        }
        SenderState::Unusable { smarthost, cause, hint, .. } => {
            Some(format!("{smarthost} is not usable since {since}: {cause} (hint: {hint})"))
        }
        SenderState::BreakerOpen { smarthost, cause, hint, .. } => {
            Some(format!("{smarthost} refuses what it is given since {since}: {cause} (hint: {hint})"))
        }
        SenderState::Paced { smarthost, limit, .. } => {
            Some(format!("the {} of {smarthost} is used up since {since}", limit.name()))
        }
        SenderState::Held { cause, .. } if cause.is_empty() => {
            Some(format!("a deferred message holds the line since {since}"))
        }
        SenderState::Held { cause, .. } => {
            Some(format!("a deferred message holds the line since {since}: {cause}"))
        }
    }
}
