//! `pillarbox status`: what waits, and why.

use std::time::Duration;

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Left, Request, Status, Warning};
use crate::fs::{Clock as _, SystemClock};
use crate::mail::UnixTime;
use crate::sender::{OutOfService, SenderState};

/// Show what waits, and why
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The same facts as JSON
    #[arg(long)]
    json: bool,
}

/// So many held messages are told of one by one; `list` has them all.
const HELD_SHOWN: usize = 10;
/// So many files that are not taken are told of one by one; `--json` has them all.
const LEFT_SHOWN: usize = 10;

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let answer = Desk::new(&args.config, "status")?.ask(&Request::Status)?;
    let Answer::Status(status) = answer else { return Err(unexpected()) };
    match args.json {
        true => print_json(&status)?,
        false => print(&text(&status, SystemClock.wall()))?,
    };
    Ok(exit::OK)
}

fn text(status: &Status, now: UnixTime) -> String {
    let mut lines = Vec::new();
    lines.push(format!("spool      {}", status.spool));
    match &status.holder {
        Some(holder) => lines.push(format!("service    {holder}")),
        None => lines.push(
            "service    nobody works on this spool: start `pillarbox run`, or `pillarbox flush` from cron"
                .to_owned(),
        ),
    }
    for Warning { what, cure } in &status.warnings {
        lines.push(format!("WARNING    {what}"));
        lines.push(format!("           hint: {cure}"));
    }
    if let Some(error) = &status.config_error {
        lines.push("ATTENTION  nothing is sent: the configuration is wrong".to_owned());
        lines.push(format!("           {error}"));
        lines.push("           hint: mend it, then `pillarbox reload`".to_owned());
    }
    if let Some(fault) = &status.spool_fault {
        lines.push(format!("ATTENTION  the service waits for the disk: {fault}"));
    }
    if let Some(why) = &status.not_accepting {
        lines.push(format!("ATTENTION  nothing is accepted: {why}"));
    }
    tell_sender(status, &mut lines);
    for OutOfService { smarthost, since, step, cause, hint } in &status.out_of_service {
        let since = UnixTime::from_secs(*since);
        lines.push(format!(
            "ATTENTION  {smarthost}: not usable since {since}, {step}; another one delivers in its stead"
        ));
        lines.push(format!("           {cause}"));
        lines.push(format!("           hint: {hint}"));
    }
    let oldest = status.oldest_waiting.as_ref().map_or(String::new(), |oldest| {
        let age = ago(UnixTime::from_secs(oldest.accepted), now);
        format!(", the oldest ({}) accepted {age}", oldest.file)
    });
    let out_of_line = match status.aside + status.held {
        0 => String::new(),
        _ => format!(" ({} aside, {} held)", status.aside, status.held),
    };
    lines.push(format!("waiting    {}{out_of_line}{oldest}", status.waiting + status.sending));
    for held in status.held_messages.iter().take(HELD_SHOWN) {
        lines.push(format!("           {}: held: {}", held.file, held.reason));
    }
    match status.failed {
        0 => lines.push("failed     0".to_owned()),
        failed => {
            lines.push(format!("failed     {failed}: the reasons lie beside them in {}/failed", status.spool))
        }
    }
    tell_files("in pickup ", status.in_pickup, &status.left_in_pickup, &mut lines);
    for folder in &status.folders {
        match &folder.problem {
            None => tell_files(&format!("in {}", folder.dir), folder.files, &folder.left, &mut lines),
            Some(problem) => {
                lines.push(format!(
                    "ATTENTION  folder.{}: {} cannot be read: {problem}",
                    folder.name, folder.dir
                ));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// What lies where files are dropped.
fn tell_files(place: &str, files: usize, left: &[Left], lines: &mut Vec<String>) {
    match (files, left.len()) {
        (0, _) => {}
        (all, 0) => lines.push(format!("{place} {all}")),
        (all, left) => lines.push(format!("{place} {all}, {left} of them not taken")),
    }
    for left in left.iter().take(LEFT_SHOWN) {
        // A producer may call a file what it likes; it must not steer a terminal or forge a line.
        let file = left.file.replace(char::is_control, "\u{fffd}");
        lines.push(format!("           {file}: not taken: {}", left.reason));
    }
    if left.len() > LEFT_SHOWN {
        lines.push(format!("           and {} more: status --json", left.len() - LEFT_SHOWN));
    }
}

fn tell_sender(status: &Status, lines: &mut Vec<String>) {
    match &status.sender {
        None => lines.push("smarthost  not tried yet".to_owned()),
        Some(state @ SenderState::Paused { .. }) => {
            lines.push(format!("smarthost  PAUSED since {}: nothing is sent", state.since()));
            lines.push("           hint: pillarbox resume".to_owned());
        }
        Some(SenderState::NoSmarthost { .. }) if status.config_error.is_some() => {}
        Some(SenderState::NoSmarthost { .. }) => {
            lines.push("smarthost  none is configured: messages are accepted and kept".to_owned());
            lines.push("           set url in [[smarthost]]".to_owned());
        }
        Some(state @ SenderState::Usable { smarthost, .. }) => {
            lines.push(format!("smarthost  {smarthost}: usable since {}", state.since()));
        }
        Some(state @ SenderState::Unusable { smarthost, step, cause, hint, .. }) => {
            lines.push(format!("smarthost  {smarthost}: NOT USABLE since {}, {step}", state.since()));
            lines.push(format!("           {cause}"));
            lines.push(format!("           hint: {hint}"));
        }
        Some(state @ SenderState::BreakerOpen { smarthost, cause, hint, .. }) => {
            lines.push(format!("smarthost  {smarthost}: REFUSES WHAT IT IS GIVEN since {}", state.since()));
            lines.push(format!("           {cause}"));
            lines.push(format!("           hint: {hint}"));
        }
        Some(state @ SenderState::Paced { smarthost, limit, until, .. }) => {
            let (limit, until) = (limit.name(), UnixTime::from_secs(*until));
            lines.push(format!("smarthost  {smarthost}: its {limit} is used up since {}", state.since()));
            lines.push(format!("           the next message goes at {until}"));
        }
        Some(state @ SenderState::Held { smarthost, message, cause, .. }) => {
            lines.push(format!(
                "smarthost  {smarthost}: a deferred message holds the line since {}",
                state.since()
            ));
            // Not everybody is told.
            if !message.is_empty() {
                lines.push(format!("           {message}: {cause}"));
            }
        }
    }
}

/// How long ago, in words. The clock may have been set meanwhile: then the time itself.
fn ago(then: UnixTime, now: UnixTime) -> String {
    if now < then {
        return format!("at {then}");
    }
    let span = Duration::from_millis(now.as_millis() - then.as_millis()).as_secs();
    match span {
        0..120 => format!("{span} s ago"),
        120..7200 => format!("{} min ago", span / 60),
        7200..172_800 => format!("{} h ago", span / 3600),
        _ => format!("{} days ago", span / 86_400),
    }
}
