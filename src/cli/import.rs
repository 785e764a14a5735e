//! `pillarbox import`: the queue of another mailer, taken over in its order.
//!
//! Each message is handed in as by `send`, and is durable before its file is touched. The file is then renamed to a name that
//! begins with a dot, which neither the old program nor a second run looks at; nothing is removed. A crash between the two
//! leaves one message that is taken again.

mod files;
mod header;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Handed, Request};
use crate::fs::{DirLock, rename_durably};
use crate::migrate::{NotQueued, Queued, msmtpq, nullmailer_file};
use files::{Entry, open};

/// Take over the queue of nullmailer or msmtpq, in its order
///
/// Each message is durable here before its file there is renamed to .NAME.imported; nothing is deleted, and what was imported is
/// not taken again. A message that cannot be read is told and left; then the exit code is 65. Stop the old program first. With
/// the service running, root may import what only root can read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Whose queue it is: nullmailer or msmtpq
    #[arg(value_enum, hide_possible_values = true)]
    system: System,

    /// Where it is: /var/spool/nullmailer, ~/.msmtp.queue
    dir: PathBuf,

    /// A line of JSON for each message
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum System {
    /// nullmailer 1 and 2
    Nullmailer,
    /// msmtpq, and the scripts of msmtpqueue
    Msmtpq,
}

/// What became of one message.
#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Why a message is not taken.
enum NotTaken {
    /// It is bad, and left; the next one may be good.
    Left(String),
    /// Nothing can be taken.
    Stop(Failure),
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let desk = Desk::new(&args.config, "import")?;
    let queue = match args.dir.join("queue") {
        queue if args.system == System::Nullmailer && queue.is_dir() => queue,
        _ => args.dir.clone(),
    };
    let (_lock, suffix) = match args.system {
        System::Nullmailer => {
            files::refuse_a_running_nullmailer(&queue)?;
            (None, "")
        }
        System::Msmtpq => (Some(lock(&queue)?), ".mail"),
    };
    let entries = files::list(&queue, suffix)?;
    let (mut taken, mut left) = (0, 0);
    for entry in &entries {
        let result = match args.system {
            System::Nullmailer => take_nullmailer(&desk, entry),
            System::Msmtpq => take_msmtpq(&desk, entry),
        };
        match result {
            Ok(id) => {
                taken += 1;
                say(args, Row { file: &entry.name, id: Some(&id), error: None })?;
            }
            Err(NotTaken::Left(why)) => {
                left += 1;
                say(args, Row { file: &entry.name, id: None, error: Some(&why) })?;
            }
            Err(NotTaken::Stop(failure)) => {
                let message =
                    format!("{}; {taken} were imported, the others are as they were", failure.message);
                return Err(Failure { message, ..failure });
            }
        }
    }
    if args.system == System::Msmtpq {
        left += files::orphans(&queue)?;
    } else {
        files::say_failed(&queue);
    }
    if !args.json {
        print(&format!("imported {taken}, left {left}\n"))?;
    }
    Ok(if left == 0 { exit::OK } else { exit::DATAERR })
}

fn say(args: &Args, row: Row<'_>) -> Result<(), Failure> {
    if args.json {
        print_json(&row)?;
    } else if let Some(id) = row.id {
        print(&format!("{id}  {}\n", row.file))?;
    } else if let Some(why) = row.error {
        eprintln!("pillarbox: {} was left: {why}", row.file);
    }
    Ok(())
}

/// Both scripts of msmtp make it, and wait for it.
fn lock(queue: &Path) -> Result<DirLock, Failure> {
    let path = queue.join(".lock");
    DirLock::take(&path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(exit::TEMPFAIL, format!("{} is there: msmtpq is at work", path.display()))
                .hint(format!("try again; if nothing runs that could have made it: rmdir {}", path.display()))
        }
        io::ErrorKind::NotFound => Failure::new(exit::NOINPUT, format!("there is no {}", queue.display())),
        _ => Failure::new(exit::NOPERM, format!("cannot make {}: {error}", path.display())),
    })
}

/// The file of a message is read from here on as it was looked at.
fn take_nullmailer(desk: &Desk, entry: &Entry) -> Result<String, NotTaken> {
    let mut file = open(&entry.path).map_err(NotTaken::Left)?;
    let queued = head(&mut file, nullmailer_file)?;
    let id = hand_in(desk, file, &entry.name, &queued)?;
    set_aside(&entry.path, &id)?;
    Ok(id)
}

/// Enough of the file to know the envelope; more where that is not enough.
fn head(file: &mut File, read: impl Fn(&[u8]) -> Result<Queued, NotQueued>) -> Result<Queued, NotTaken> {
    let left = |why: String| NotTaken::Left(why);
    let mut bytes = Vec::new();
    let mut most = 64 * 1024;
    loop {
        let more = file.by_ref().take(most - bytes.len() as u64).read_to_end(&mut bytes);
        more.map_err(|error| left(format!("it cannot be read: {error}")))?;
        match read(&bytes) {
            Ok(queued) => return Ok(queued),
            Err(_) if bytes.len() as u64 == most && most < files::HEAD_MAX => most *= 2,
            Err(NotQueued(why)) => return Err(left(why)),
        }
    }
}

fn take_msmtpq(desk: &Desk, entry: &Entry) -> Result<String, NotTaken> {
    let beside = entry.path.with_extension("msmtp");
    let mut command = String::new();
    let read =
        open(&beside).and_then(|mut file| file.read_to_string(&mut command).map_err(|e| e.to_string()));
    read.map_err(|why| NotTaken::Left(format!("its .msmtp: {why}")))?;
    let mut queued =
        msmtpq(&command).map_err(|NotQueued(why)| NotTaken::Left(format!("its .msmtp: {why}")))?;
    let mut file = open(&entry.path).map_err(NotTaken::Left)?;
    header::complete(&mut queued, &mut file, &desk.config().identity).map_err(NotTaken::Left)?;
    let id = hand_in(desk, file, entry.name.trim_end_matches(".mail"), &queued)?;
    // Without its .mail the other file is nothing to msmtpq.
    set_aside(&entry.path, &id)?;
    set_aside(&beside, &id)?;
    Ok(id)
}

/// Durable when this returns.
fn hand_in(desk: &Desk, mut file: File, name: &str, queued: &Queued) -> Result<String, NotTaken> {
    let handed = Handed::new(name.to_owned(), queued.from.as_deref(), &queued.to);
    let handed = handed.map_err(|refused| NotTaken::Left(refused.message))?;
    let at = queued.message_at as u64;
    let size = file.metadata().map(|stat| stat.len().saturating_sub(at));
    let sought = file.seek(SeekFrom::Start(at)).and(size);
    let size = sought.map_err(|error| NotTaken::Left(format!("it cannot be read: {error}")))?;
    match desk.hand_in(&Request::Send(handed), Some((Box::new(file), Some(size)))) {
        Ok(Answer::Sent(sent)) => Ok(sent.id),
        Ok(_) => Err(NotTaken::Stop(unexpected())),
        Err(failure) if [exit::DATAERR, exit::USAGE].contains(&failure.code) => {
            Err(NotTaken::Left(failure.message))
        }
        Err(failure) => Err(NotTaken::Stop(failure)),
    }
}

fn set_aside(path: &Path, id: &str) -> Result<(), NotTaken> {
    rename_durably(path, &files::aside(path), true).map_err(|error| {
        let path = path.display();
        let message = format!("cannot rename {path}, which was accepted as {id}: {error}");
        NotTaken::Stop(
            Failure::new(exit::IOERR, message).hint(format!("move {path} away, or it is imported again")),
        )
    })
}
