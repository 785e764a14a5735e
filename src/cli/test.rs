//! `pillarbox test`: one message, and what becomes of it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mail_builder::MessageBuilder;
use mail_builder::headers::raw::Raw;

use super::ask::{Desk, unexpected};
use super::send::wait::{ended, why_nothing_moves, words};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::check::{Cause, Letter, NotTaken, Step, Wanted, direct, sender_of};
use crate::config::{self, Config, parse_duration};
use crate::control::{Answer, Request, State};
use crate::fs::{Clock as _, Dir, SystemClock};
use crate::mail::{Mailbox, Monotonic};
use crate::spool::Name;
use crate::submit;

/// Send one message, and show what becomes of it
///
/// It is dropped into pickup/ as a producer would, and followed until it is delivered (exit 0) or given up (69); 75 if neither came
/// in time, and then it is sent later. With --direct it goes on a session of its own, beside spool and queue, and the dialogue is
/// shown, without secrets.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// To whom
    #[arg(long, value_name = "ADDRESS")]
    to: Mailbox,

    /// By whom [default: that of the configuration]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Mailbox>,

    /// On a session of its own, with the dialogue
    #[arg(long)]
    direct: bool,

    /// How long what becomes of it is waited for; with --direct, each answer
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    wait: Duration,

    /// What became of it as JSON; with --direct the dialogue as well
    #[arg(long)]
    json: bool,
}

/// How often is looked where the file is.
const LOOK_EACH: Duration = Duration::from_millis(50);
/// Longest that one request waits, seconds.
const ASK_FOR: u64 = 5;

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = config::load(&args.config.overrides());
    let config = config.map_err(|e| Failure::new(exit::CONFIG, e.to_string()))?;
    let Some(from) = sender(args, &config) else {
        let failure = Failure::new(exit::CONFIG, "no sender is configured, and a message needs one");
        return Err(failure.hint("--from ADDRESS, or from in [identity]"));
    };
    let letter = compose(&config, from, args.to.clone())?;
    match args.direct {
        true => at_once(args, &config, &letter),
        false => by_the_spool(args, &config, &letter),
    }
}

fn sender(args: &Args, config: &Config) -> Option<Mailbox> {
    let of_smarthost = || config.smarthosts.first().and_then(|host| host.from.clone());
    args.from.clone().or_else(of_smarthost).or_else(|| sender_of(config))
}

fn compose(config: &Config, from: Mailbox, to: Mailbox) -> Result<Letter, Failure> {
    let now = SystemClock.wall();
    let hostname = &config.identity.hostname;
    let id = format!("<test-{}@{hostname}>", uuid::Uuid::new_v4().simple());
    let text = format!(
        "This is a test by pillarbox on {hostname}, made at {now}.\r\nIf you read it, mail from there reaches you.\r\n"
    );
    let message = MessageBuilder::new()
        .header("Date", Raw::new(now.rfc5322()))
        .header("Message-ID", Raw::new(id))
        .header("From", Raw::new(from.to_string()))
        .header("To", Raw::new(to.to_string()))
        .subject(format!("test by pillarbox on {hostname}"))
        .text_body(text);
    let bytes = message.write_to_vec();
    let bytes = bytes.map_err(|e| Failure::new(exit::SOFTWARE, format!("cannot compose it: {e}")))?;
    Ok(Letter { from, to, bytes })
}

/// Without the queue.
fn at_once(args: &Args, config: &Config, letter: &Letter) -> Result<u8, Failure> {
    let wanted = Wanted { from: None, to: None, within: args.wait };
    // Where nobody reads any more, the exit code tells.
    let (json, dialogue) = (args.json, Arc::new(Mutex::new(Vec::new())));
    let lines = dialogue.clone();
    let show = Arc::new(move |line: &str| match json {
        true => lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned()),
        false => drop(print(&format!("{line}\n"))),
    });
    let taken = direct(config, &wanted, letter, show);
    let taken = taken.map_err(|e| Failure::new(exit::IOERR, format!("cannot begin: {e}")))?;
    if json {
        let dialogue = std::mem::take(&mut *dialogue.lock().unwrap_or_else(PoisonError::into_inner));
        let reply = taken.as_ref().ok().map(ToString::to_string);
        print_json(&serde_json::json!({ "taken": taken.is_ok(), "reply": reply, "dialogue": dialogue }))?;
    }
    match taken {
        Ok(_) if json => Ok(exit::OK),
        Ok(reply) => {
            print(&proven(&reply.to_string()))?;
            Ok(exit::OK)
        }
        Err(NotTaken::Refused(said, hint)) => {
            Err(Failure::new(exit::UNAVAILABLE, format!("the server did not take it: {said}")).hint(hint))
        }
        Err(NotTaken::InDoubt(why)) => {
            let failure =
                format!("its end was sent and not answered, so the server may have taken it: {why}");
            Err(Failure::new(exit::TEMPFAIL, failure).hint("look whether it arrives before you try again"))
        }
        Err(NotTaken::Failed(steps)) => Err(not_sent(&steps)),
    }
}

fn not_sent(steps: &[Step]) -> Failure {
    let failed = steps.iter().find_map(|step| Some((step, step.cause?)));
    let Some((step, cause)) = failed else { return Failure::new(exit::SOFTWARE, "it was not sent") };
    let evidence = step.evidence.as_ref().map_or_else(String::new, |evidence| format!(": {evidence}"));
    let failure = Failure::new(
        super::check::code_of(cause),
        format!("it was not sent: {cause}, {}{evidence}", step.found),
    );
    failure.hint(step.hint.clone().unwrap_or_else(|| Cause::cure(cause).to_owned()))
}

/// What is known now, and what is not.
fn proven(reply: &str) -> String {
    format!(
        "the first hop took it: {reply}\nwhether it reaches the mailbox cannot be seen from here: look there\n"
    )
}

/// As a producer does.
fn by_the_spool(args: &Args, config: &Config, letter: &Letter) -> Result<u8, Failure> {
    let desk = Desk::new(&args.config, "test")?;
    if desk.ask_service_alone(&Request::Status).is_none() {
        let failure = Failure::new(exit::TEMPFAIL, "no service runs on this spool: nobody would take it up");
        return Err(failure.hint("start `pillarbox run`, or send it now with --direct"));
    }
    let end = SystemClock.monotonic() + args.wait;
    let dropped = drop_it(config, letter);
    let (file, name) = dropped.map_err(|error| {
        let failure = Failure::new(exit::CANTCREAT, format!("cannot drop it: {error}"));
        match error.cure() {
            Some(cure) => failure.hint(cure),
            None => failure,
        }
    })?;
    let tell = |line: String| if args.json { Ok(true) } else { print(&line) };
    tell(format!("dropped    {name} into {}\n", config.spool_dir.join(Dir::Pickup.name()).display()))?;
    let id = accepted(&file, &name, end)?;
    tell(format!("accepted   {id}\n"))?;
    follow(&desk, &file, &id, args, end)
}

fn drop_it(config: &Config, letter: &Letter) -> Result<(File, String), submit::Error> {
    let spool = submit::Spool::open(&config.spool_dir)?;
    let mut draft = spool.draft("test")?;
    draft.append(&letter.bytes)?;
    let file = draft.reopened().map_err(submit::Error::Input)?;
    let dropped = draft.finish()?;
    Ok((file, dropped.name.to_string_lossy().into_owned()))
}

/// The queue id, once it is accepted: the name of the file has it, wherever it lies by then.
fn accepted(file: &File, name: &str, end: Monotonic) -> Result<String, Failure> {
    loop {
        if let Some(id) = id_in(&place_of(file)?) {
            return Ok(id);
        }
        if SystemClock.monotonic() >= end {
            let failure =
                format!("{name} was not taken up in time; it lies in pickup/ and is taken when it can be");
            return Err(Failure::new(exit::TEMPFAIL, failure).hint("`pillarbox status` says why it is not"));
        }
        std::thread::park_timeout(LOOK_EACH);
    }
}

/// Where it lies now, or lay last.
fn place_of(file: &File) -> Result<PathBuf, Failure> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.map_err(|e| Failure::new(exit::IOERR, format!("cannot follow it: {e}")))
}

/// The kernel says so behind the path of a file that has no name any more.
const GONE: &str = " (deleted)";

fn id_in(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    Name::parse(file.strip_suffix(GONE).unwrap_or(file).as_ref()).map(|name| name.id.to_string())
}

fn follow(desk: &Desk, file: &File, id: &str, args: &Args, end: Monotonic) -> Result<u8, Failure> {
    let mut shown = String::new();
    loop {
        // Looked at before it is asked: a file that is only just being accepted has its name already, and is in no line yet.
        let is_gone = place_of(file)?.to_string_lossy().ends_with(GONE);
        let left = end - SystemClock.monotonic();
        let answer = desk.ask_service_alone(&Request::Outcome(id.to_owned(), left.as_secs().min(ASK_FOR)));
        match answer {
            Some(Ok(Answer::Became(became))) if became.state == State::Unknown && !is_gone => {}
            Some(Ok(Answer::Became(became))) if became.is_final() => {
                if became.state != State::Delivered || args.json {
                    return ended(&became, args.json);
                }
                print(&proven(&words(&became)))?;
                return Ok(exit::OK);
            }
            Some(Ok(Answer::Became(became))) => {
                let why = why_nothing_moves(desk).unwrap_or_default();
                let now = format!("{:<9}  {} {why}", became.state.to_string(), words(&became));
                if now != shown && !args.json {
                    print(&format!("{}\n", now.trim_end()))?;
                    shown = now;
                }
            }
            Some(Ok(_)) => return Err(unexpected()),
            Some(Err(failure)) if failure.code != exit::TEMPFAIL => return Err(failure),
            // It is busy or starts anew.
            Some(Err(_)) | None => {}
        }
        if left.is_zero() {
            let failure = format!("{id} is neither delivered nor given up after {:?}", args.wait);
            return Err(Failure::new(exit::TEMPFAIL, failure).hint(format!(
                "it is kept and will be sent; `pillarbox show {id}` and `pillarbox status` say how it stands"
            )));
        }
        std::thread::park_timeout(LOOK_EACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_id_is_read_off_the_path_wherever_the_file_lies() {
        let id = "01a208f9667772f98dfa9c97dbbe6d09";
        for (path, found) in [
            ("/s/pickup/test-1.eml".to_owned(), None),
            (format!("/s/pending/{id}_1795443053_test-1.eml"), Some(id.to_owned())),
            (format!("/s/sending/{id}_1795443053_test-1.eml (deleted)"), Some(id.to_owned())),
        ] {
            assert_eq!(id_in(Path::new(&path)), found, "{path}");
        }
    }
}
