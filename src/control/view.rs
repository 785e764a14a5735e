//! What the directories of a spool hold: read without the lock, so it may be a moment old. The service answers from here
//! as well, so that the same is told with and without one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::answer::{
    Answer, Code, FolderStatus, Left, Message, Messages, Oldest, Recipient, Refused, Shown, State, Status,
    Warning,
};
use super::request::Request;
use super::{find, guard};
use crate::fs::{Dir, Fs, Kind, Lock, Writer};
use crate::mail::{Mailbox, QueueId};
use crate::pickup::{Pattern, is_unfinished};
use crate::sender::{Said, SenderState};
use crate::spool::{Limits, Name, Record, read_pause, read_record, room_for};

/// What the directories do not tell.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Where the spool is.
    pub spool_dir: PathBuf,
    /// Which names are taken.
    pub patterns: Vec<Pattern>,
    /// Where files are dropped besides.
    pub folders: Vec<Folder>,
    /// How much is taken.
    pub limits: Limits,
    /// Whether there is anywhere to send to.
    pub has_smarthost: bool,
    /// What is wrong with the configuration, if the service works without it.
    pub config_error: Option<String>,
    /// The disk call that failed, if the service waits for the disk.
    pub spool_fault: Option<String>,
}

/// A folder besides `pickup/`.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub dir: PathBuf,
    /// Which names are taken.
    pub patterns: Vec<Pattern>,
}

/// So many held messages are told of one by one; a list has them all.
const HELD_SHOWN: usize = 200;
/// Longest report that is shown, octets.
const REPORT_MAX: usize = 64 * 1024;

/// One message behind `pickup/`.
struct Found {
    name: Name,
    dir: Dir,
    record: Option<Record>,
    /// Why it is held, if it is: its record or its bytes cannot be read, a setting is missing, or an operator holds it.
    held: Option<String>,
}

/// The answer to what is only read. What changes the spool is not asked for here.
///
/// # Errors
///
/// What cannot be read, or that there is no such message.
pub fn answer(request: &Request, fs: &dyn Fs, facts: &Facts) -> Result<Answer, Refused> {
    match request {
        Request::Status => status(fs, facts).map(|status| Answer::Status(Box::new(status))),
        Request::List(state) => messages_in(fs, *state).map(Answer::Messages),
        Request::Show(which) => shown(fs, which).map(|shown| Answer::Shown(Box::new(shown))),
        _ => Err(Refused::new(Code::BadRequest, "nothing to be read")),
    }
}

/// How many files in `pickup/` and the folders could be taken, as far as can be seen.
pub fn takeable(fs: &dyn Fs, facts: &Facts) -> usize {
    let folders = facts.folders.iter().map(|folder| (fs.outside(&folder.dir), &folder.patterns));
    // What cannot be listed cannot be taken.
    let count = |(dir, patterns): (Dir, &Vec<Pattern>)| {
        dropped(fs, dir, patterns)
            .map_or(0, |dropped| dropped.iter().filter(|(_, left)| left.is_none()).count())
    };
    std::iter::once((Dir::Pickup, &facts.patterns)).chain(folders).map(count).sum()
}

/// What lies in a folder.
fn folder_status(fs: &dyn Fs, folder: &Folder) -> FolderStatus {
    let listed = dropped(fs, fs.outside(&folder.dir), &folder.patterns);
    let (dropped, problem) = match listed {
        Ok(dropped) => (dropped, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    FolderStatus {
        name: folder.name.clone(),
        dir: folder.dir.display().to_string(),
        problem,
        files: dropped.len(),
        left: dropped
            .into_iter()
            .filter_map(|(name, left)| {
                Some(Left { reason: left?, file: name.to_string_lossy().into_owned() })
            })
            .collect(),
    }
}

/// What waits, and why.
///
/// # Errors
///
/// What cannot be read.
fn status(fs: &dyn Fs, facts: &Facts) -> Result<Status, Refused> {
    let messages = messages(fs)?;
    let in_pickup = match dropped(fs, Dir::Pickup, &facts.patterns) {
        // Somebody removed it; it may come back.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|e| cannot_list(Dir::Pickup, &e))?,
    };
    let count = |what: fn(&Found) -> bool| messages.iter().filter(|m| what(m)).count();
    let waiting = count(|m| m.dir == Dir::Pending);
    let oldest = messages.iter().find(|m| matches!(m.dir, Dir::Pending | Dir::Sending));
    let mut sent = 0;
    list(fs, Dir::Sent, &mut |file| sent += usize::from(Name::parse(file).is_some()))?;
    let holder = Lock::holder(&facts.spool_dir).map_err(|e| Refused::new(Code::Disk, e.to_string()))?;
    let said = Said::read(fs);
    Ok(Status {
        spool: facts.spool_dir.display().to_string(),
        holder,
        warnings: warnings(&facts.spool_dir),
        config_error: facts.config_error.clone(),
        spool_fault: facts.spool_fault.clone(),
        not_accepting: room_for(fs, &facts.limits, waiting as u64, 1).err().map(|why| why.to_string()),
        in_pickup: in_pickup.len(),
        folders: facts.folders.iter().map(|folder| folder_status(fs, folder)).collect(),
        left_in_pickup: in_pickup
            .into_iter()
            .filter_map(|(name, left)| {
                Some(Left { reason: left?, file: name.to_string_lossy().into_owned() })
            })
            .collect(),
        waiting,
        aside: count(|m| m.state() == State::Aside),
        held: count(|m| m.state() == State::Held),
        held_messages: messages
            .iter()
            .filter(|m| m.state() == State::Held)
            .filter_map(|m| Some(Left { file: m.name.label().to_owned(), reason: m.held.clone()? }))
            .take(HELD_SHOWN)
            .collect(),
        sending: count(|m| m.dir == Dir::Sending),
        failed: count(|m| m.dir == Dir::Failed),
        sent,
        oldest_waiting: oldest.map(|m| Oldest {
            id: m.name.id.to_string(),
            file: m.name.label().to_owned(),
            accepted: m.name.accepted.as_secs(),
        }),
        free_bytes: fs.room().ok().map(|room| room.bytes),
        sender: match (read_pause(fs), facts.has_smarthost) {
            (Some(since), _) => Some(SenderState::Paused { since: since.as_secs() }),
            (None, true) => said.as_ref().map(|said| said.smarthost.clone()),
            (None, false) => Some(SenderState::NoSmarthost { since: 0 }),
        },
        out_of_service: said.map(|said| said.out_of_service).unwrap_or_default(),
    })
}

/// As the spool's owner sees it: root may ask for anybody's.
fn warnings(root: &Path) -> Vec<Warning> {
    let owner = std::fs::metadata(root.join(Dir::Pending.name())).map(|stat| stat.uid());
    let exposed = owner.ok().and_then(|owner| guard::exposed(root, owner).ok().flatten());
    let exposed = exposed.map(|exposed| (format!("{exposed}: run and flush refuse it"), exposed.cure()));
    exposed.into_iter().chain(guard::open_pickup(root)).map(|(what, cure)| Warning { what, cure }).collect()
}

/// The messages, or those in `state`.
///
/// # Errors
///
/// What cannot be read.
fn messages_in(fs: &dyn Fs, state: Option<State>) -> Result<Messages, Refused> {
    let wanted = |m: &Found| state.is_none_or(|state| m.state() == state);
    let messages = messages(fs)?.iter().filter(|m| wanted(m)).map(Found::message).collect();
    Ok(Messages { messages })
}

/// One message with all that is known of it.
///
/// # Errors
///
/// That there is none or several, or what cannot be read.
fn shown(fs: &dyn Fs, which: &str) -> Result<Shown, Refused> {
    let id = find::find(fs, which)?;
    let gone = || find::unknown(which);
    let message = messages(fs)?.into_iter().find(|m| m.name.id == id).ok_or_else(gone)?;
    // It may move on while it is looked at.
    let size = fs.stat(message.dir, OsStr::new(&message.name.to_string())).map_or(0, |stat| stat.size);
    let record = message.record.as_ref();
    let reverse_path = record.and_then(Record::recipients).map(|(reverse_path, _)| reverse_path);
    Ok(Shown {
        size,
        reverse_path: reverse_path.map(|r| r.mailbox().map(Mailbox::to_string).unwrap_or_default()),
        given: record.is_some_and(|r| r.given),
        unknown_ends: record.map_or(0, |r| r.unknown_ends),
        report: (message.dir == Dir::Failed).then(|| report(fs, &message.name)).flatten(),
        message: message.message(),
    })
}

impl Found {
    fn state(&self) -> State {
        match (self.dir, &self.record) {
            (Dir::Failed, _) => State::Failed,
            (Dir::Sending, _) => State::Sending,
            _ if self.held.is_some() => State::Held,
            (_, Some(record)) if record.aside.is_some() => State::Aside,
            _ => State::Waiting,
        }
    }

    fn message(&self) -> Message {
        let record = self.record.as_ref();
        let recipients = record.and_then(Record::recipients).map(|(_, r)| r).unwrap_or_default();
        Message {
            id: self.name.id.to_string(),
            accepted: self.name.accepted.as_secs(),
            state: self.state(),
            file: self.name.label().to_owned(),
            path: format!("{}/{}", self.dir.name(), self.name),
            attempts: record.map_or(0, |r| r.attempts),
            recipients: recipients
                .into_iter()
                .map(|r| Recipient { address: r.mailbox.to_string(), outcome: r.outcome })
                .collect(),
            problem: self.held.clone(),
        }
    }
}

/// Every message: those in flight first, then those that wait, then those that failed, each in order of acceptance.
fn messages(fs: &dyn Fs) -> Result<Vec<Found>, Refused> {
    let mut found: BTreeMap<QueueId, (Dir, Name)> = BTreeMap::new();
    // A message moves between pending/ and sending/ while they are read: whichever way it goes, one of the three
    // readings shows it.
    for dir in [Dir::Pending, Dir::Sending, Dir::Pending, Dir::Failed] {
        list(fs, dir, &mut |file| found.extend(Name::parse(file).map(|name| (name.id, (dir, name)))))?;
    }
    let mut with_record: HashSet<QueueId> = HashSet::new();
    list(fs, Dir::Meta, &mut |file| {
        with_record.extend(
            file.to_str().and_then(|f| f.strip_suffix(".json")).and_then(|id| id.parse::<QueueId>().ok()),
        );
    })?;
    let said = Said::read(fs).map(|said| said.held).unwrap_or_default();
    let mut held: HashMap<String, String> = said.into_iter().map(|held| (held.id, held.why)).collect();
    let message = |(id, (dir, name)): (QueueId, (Dir, Name))| {
        let (record, unreadable) = match with_record.contains(&id).then(|| read_record(fs, id)) {
            Some(Ok(record)) => (Some(record), None),
            Some(Err(why)) => (None, Some(format!("its record cannot be read: {why}"))),
            None => (None, None),
        };
        let by_operator = record.as_ref().is_some_and(|r| r.held).then(|| HELD_BY_OPERATOR.to_owned());
        // What the sender said of an operator's hold may be older than the release.
        let said = held.remove(&id.to_string()).filter(|why| why != HELD_BY_OPERATOR);
        let held = unreadable.or(by_operator).or(said).filter(|_| dir == Dir::Pending);
        Found { name, dir, record, held }
    };
    let mut messages: Vec<Found> = found.into_iter().map(message).collect();
    let rank = |dir: Dir| [Dir::Sending, Dir::Pending, Dir::Failed].iter().position(|d| *d == dir);
    messages.sort_by_key(|m| (rank(m.dir), m.name.id));
    Ok(messages)
}

/// As the sender says it.
const HELD_BY_OPERATOR: &str = "an operator holds it";

/// What lies where files are dropped, with the reason if it can be seen from name and kind that it is not taken.
fn dropped(fs: &dyn Fs, dir: Dir, patterns: &[Pattern]) -> io::Result<Vec<(OsString, Option<String>)>> {
    let mut names = Vec::new();
    fs.list(dir, &mut |name, _| names.push(name.to_owned()))?;
    names.retain(|name| !is_unfinished(name));
    names.sort();
    let matches = |name: &OsStr| patterns.iter().any(|p| p.matches(name));
    let section = if dir == Dir::Pickup { "[pickup]" } else { "its folder" };
    let left = |name: &OsStr| match fs.stat(dir, name) {
        Ok(stat) if stat.kind != Kind::File => Some("not a regular file".to_owned()),
        _ if !matches(name) => Some(format!("its name matches no pattern of match in {section}")),
        Ok(stat) if stat.size == 0 => Some("empty".to_owned()),
        Ok(_) => match fs.open(dir, name) {
            Ok(file) if file.has_writer() == Writer::Present => {
                Some("a program has it open for writing".to_owned())
            }
            opened => opened.err().map(|e| e.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    Ok(names.into_iter().map(|name| (name.clone(), left(&name))).collect())
}

fn report(fs: &dyn Fs, name: &Name) -> Option<String> {
    let file = fs.open(Dir::Failed, OsStr::new(&name.report())).ok()?;
    let mut bytes = vec![0; REPORT_MAX];
    let read = file.read_at(&mut bytes, 0).ok()?;
    Some(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

pub(super) fn list(fs: &dyn Fs, dir: Dir, visit: &mut dyn FnMut(&OsStr)) -> Result<(), Refused> {
    fs.list(dir, &mut |name, _| visit(name)).map_err(|e| cannot_list(dir, &e))
}

fn cannot_list(dir: Dir, error: &io::Error) -> Refused {
    Refused::new(Code::Disk, format!("cannot list {}/: {error}", dir.name()))
}
