//! `pillarbox status`: what waits, and why.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::view::{self, Dropped, Message};
use super::{ConfigArgs, Failure, exit};
use crate::fs::{Clock, Dir, Lock, SystemClock};
use crate::mail::UnixTime;
use crate::sender::{Said, SenderState};
use crate::service::guard;

/// Show what waits, and why
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The same facts as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Status {
    spool: String,
    /// Who works on the spool, if anybody.
    holder: Option<String>,
    /// What others may do that they should not, and the command that mends it.
    warnings: Vec<Warning>,
    in_pickup: usize,
    left_in_pickup: Vec<Left>,
    waiting: usize,
    aside: usize,
    held: usize,
    held_messages: Vec<Left>,
    sending: usize,
    failed: usize,
    oldest_waiting: Option<Oldest>,
    free_bytes: Option<u64>,
    sender: Option<SenderState>,
}

#[derive(Serialize)]
struct Warning {
    what: String,
    cure: String,
}

#[derive(Serialize)]
struct Left {
    file: String,
    reason: String,
}

#[derive(Serialize)]
struct Oldest {
    id: String,
    file: String,
    /// Seconds since 1970.
    accepted: u64,
}

/// So many held messages are told of one by one; `list` has them all.
const HELD_SHOWN: usize = 10;
/// So many files that are not taken are told of one by one; `--json` has them all.
const LEFT_SHOWN: usize = 10;

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.config.load()?;
    let fs = view::open(&config)?;
    let messages = view::messages(&fs)?;
    let dropped = view::dropped(&fs, &config.pickup.patterns)?;
    let holder = Lock::holder(&config.spool_dir).map_err(|e| Failure::new(exit::IOERR, e.to_string()))?;
    let mut status = Status::of(config.spool_dir.display().to_string(), &messages, dropped);
    status.free_bytes = view::free_space(&config.spool_dir);
    status.sender = match &config.smarthost {
        Some(_) => Said::read(&fs).map(|said| said.smarthost),
        None => Some(SenderState::NoSmarthost { since: 0 }),
    };
    status.holder = holder;
    status.warnings = warnings(&config.spool_dir);
    if args.json {
        let json = serde_json::to_string(&status).map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
        super::print(&format!("{json}\n"))?;
    } else {
        super::print(&status.text(SystemClock.wall()))?;
    }
    Ok(exit::OK)
}

/// As the spool's owner sees it: root may ask for anybody's.
fn warnings(root: &Path) -> Vec<Warning> {
    let owner = std::fs::metadata(root.join(Dir::Pending.name())).map(|stat| stat.uid());
    let exposed = owner.ok().and_then(|owner| guard::exposed(root, owner).ok().flatten());
    let exposed = exposed.map(|exposed| (format!("{exposed}: run and flush refuse it"), exposed.cure()));
    exposed.into_iter().chain(guard::open_pickup(root)).map(|(what, cure)| Warning { what, cure }).collect()
}

impl Status {
    fn of(spool: String, messages: &[Message], dropped: Vec<Dropped>) -> Status {
        let count = |what: fn(&Message) -> bool| messages.iter().filter(|m| what(m)).count();
        let aside = |m: &Message| m.dir == Dir::Pending && matches!(&m.record, Some(r) if r.aside.is_some());
        let held = |m: &Message| m.dir == Dir::Pending && m.held.is_some();
        let oldest = messages.iter().find(|m| matches!(m.dir, Dir::Pending | Dir::Sending));
        Status {
            spool,
            holder: None,
            warnings: Vec::new(),
            in_pickup: dropped.len(),
            left_in_pickup: dropped
                .into_iter()
                .filter_map(|d| Some(Left { reason: d.left?, file: d.name.to_string_lossy().into_owned() }))
                .collect(),
            waiting: count(|m| m.dir == Dir::Pending),
            aside: count(aside),
            held: count(held),
            held_messages: messages
                .iter()
                .filter(|m| held(m))
                .filter_map(|m| Some(Left { file: m.name.label().to_owned(), reason: m.held.clone()? }))
                .collect(),
            sending: count(|m| m.dir == Dir::Sending),
            failed: count(|m| m.dir == Dir::Failed),
            oldest_waiting: oldest.map(|m| Oldest {
                id: m.name.id.to_string(),
                file: m.name.label().to_owned(),
                accepted: m.name.accepted.as_secs(),
            }),
            free_bytes: None,
            sender: None,
        }
    }

    fn text(&self, now: UnixTime) -> String {
        let mut lines = Vec::new();
        lines.push(format!("spool      {}", self.spool));
        match &self.holder {
            Some(holder) => lines.push(format!("service    {holder}")),
            None => lines.push(
                "service    nobody works on this spool: start `pillarbox run`, or `pillarbox flush` from cron".to_owned()
            ),
        }
        for Warning { what, cure } in &self.warnings {
            lines.push(format!("WARNING    {what}"));
            lines.push(format!("           hint: {cure}"));
        }
        self.tell_sender(&mut lines);
        let oldest = self.oldest_waiting.as_ref().map_or(String::new(), |oldest| {
            let age = ago(UnixTime::from_secs(oldest.accepted), now);
            format!(", the oldest ({}) accepted {age}", oldest.file)
        });
        let out_of_line = match self.aside + self.held {
            0 => String::new(),
            _ => format!(" ({} aside, {} held)", self.aside, self.held),
        };
        lines.push(format!("waiting    {}{out_of_line}{oldest}", self.waiting + self.sending));
        for held in self.held_messages.iter().take(HELD_SHOWN) {
            lines.push(format!("           {}: held: {}", held.file, held.reason));
        }
        match self.failed {
            0 => lines.push("failed     0".to_owned()),
            failed => lines
                .push(format!("failed     {failed}: the reasons lie beside them in {}/failed", self.spool)),
        }
        match (self.in_pickup, self.left_in_pickup.len()) {
            (0, _) => {}
            (all, 0) => lines.push(format!("in pickup  {all}")),
            (all, left) => lines.push(format!("in pickup  {all}, {left} of them not taken")),
        }
        for left in self.left_in_pickup.iter().take(LEFT_SHOWN) {
            // A producer may call a file what it likes; it must not steer a terminal or forge a line.
            let file = left.file.replace(char::is_control, "\u{fffd}");
            lines.push(format!("           {file}: not taken: {}", left.reason));
        }
        if self.left_in_pickup.len() > LEFT_SHOWN {
            lines.push(format!(
                "           and {} more: status --json",
                self.left_in_pickup.len() - LEFT_SHOWN
            ));
        }
        lines.join("\n") + "\n"
    }

    fn tell_sender(&self, lines: &mut Vec<String>) {
        match &self.sender {
            None => lines.push("smarthost  not tried yet".to_owned()),
            Some(state @ SenderState::Paused { .. }) => {
                lines.push(format!("smarthost  PAUSED since {}: nothing is sent", state.since()));
            }
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
                lines.push(format!(
                    "smarthost  {smarthost}: REFUSES WHAT IT IS GIVEN since {}",
                    state.since()
                ));
                lines.push(format!("           {cause}"));
                lines.push(format!("           hint: {hint}"));
            }
            Some(state @ SenderState::Paced { smarthost, .. }) => {
                lines.push(format!(
                    "smarthost  {smarthost}: delivery.rate is used up since {}",
                    state.since()
                ));
            }
            Some(state @ SenderState::Held { smarthost, message, cause, .. }) => {
                lines.push(format!(
                    "smarthost  {smarthost}: a deferred message holds the line since {}",
                    state.since()
                ));
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
