//! The files of a queue: which, in what order, and who else may be at work on them.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::cli::{Failure, exit};

/// Longest that may stand in front of a message, octets.
pub(super) const HEAD_MAX: u64 = 32 << 20;

/// A file that may be a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// When its bytes were written, seconds and nanoseconds.
    written: (i64, i64),
}

/// The files whose names end in `suffix` and do not begin with a dot, in the order in which they were queued.
pub(super) fn list(queue: &Path, suffix: &str) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    for path in paths(queue)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || !name.ends_with(suffix) {
            continue;
        }
        // What is gone meanwhile, or is no file, is told when it is opened.
        let written = path.symlink_metadata().map_or((0, 0), |stat| (stat.mtime(), stat.mtime_nsec()));
        entries.push(Entry { path, name, written });
    }
    entries.sort_by(in_order);
    Ok(entries)
}

/// The second in which it was queued stands at the begin of its name, before what only makes it unique (a process, a number or
/// random digits). Within one second the time of the file says more.
fn in_order(a: &Entry, b: &Entry) -> Ordering {
    let second = |entry: &Entry| match entry.name.get(..DATE.len()) {
        Some(date)
            if date
                .bytes()
                .zip(DATE.bytes())
                .all(|(octet, form)| octet == form || (form == b'0' && octet.is_ascii_digit())) =>
        {
            (0, date.to_owned())
        }
        _ => {
            let digits: String = entry.name.chars().take_while(char::is_ascii_digit).collect();
            (digits.len(), digits)
        }
    };
    let natural = |entry: &Entry| numbers(&entry.name);
    second(a)
        .cmp(&second(b))
        .then(a.written.cmp(&b.written))
        .then_with(|| natural(a).cmp(&natural(b)))
        .then_with(|| a.name.cmp(&b.name))
}

/// The form of a date in a name of msmtpq.
const DATE: &str = "0000-00-00-00.00.00";

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn paths(queue: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error: std::io::Error| {
        let code = if error.kind() == ErrorKind::PermissionDenied { exit::NOPERM } else { exit::NOINPUT };
        Failure::new(code, format!("cannot read {}: {error}", queue.display()))
    };
    let entries = std::fs::read_dir(queue).map_err(cannot)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(cannot)).collect()
}

/// Opens a regular file; a link is not followed, and nothing else is waited for.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is none".to_owned(),
        _ => format!("it cannot be opened: {error}"),
    })?;
    match file.metadata() {
        Ok(stat) if stat.is_file() => Ok(file),
        Ok(_) => Err("expected a file, found something else".to_owned()),
        Err(error) => Err(format!("it cannot be looked at: {error}")),
    }
}

/// What a file is called when its message was taken.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".imported");
    path.with_file_name(name)
}

/// nullmailer-send reads from a FIFO beside the queue, `trigger`, for as long as it runs; it keeps the names of the queue in
/// memory, and could be sending what is taken.
pub(super) fn refuse_a_running_nullmailer(queue: &Path) -> Result<(), Failure> {
    let Some(trigger) = queue.parent().map(|spool| spool.join("trigger")) else { return Ok(()) };
    if !trigger.symlink_metadata().is_ok_and(|stat| stat.file_type().is_fifo()) {
        return Ok(());
    }
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    match OpenOptions::new().write(true).custom_flags(flags).open(&trigger) {
        Ok(_) => Err(Failure::new(
            exit::TEMPFAIL,
            format!("nullmailer-send is running: it reads {}", trigger.display()),
        )
        .hint("systemctl disable --now nullmailer")),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        Err(error) => {
            let message =
                format!("cannot find out whether nullmailer-send is running: {}: {error}", trigger.display());
            Err(Failure::new(exit::NOPERM, message).hint("run it as root, or as the user mail"))
        }
    }
}

/// Files of a command line without a message. That of a message that was imported goes where the message is.
pub(super) fn orphans(queue: &Path) -> Result<u32, Failure> {
    let mut left = 0;
    for entry in list(queue, ".msmtp")? {
        let message = entry.path.with_extension("mail");
        if message.symlink_metadata().is_ok() {
            continue;
        }
        if aside(&message).symlink_metadata().is_ok() {
            let renamed = crate::fs::rename_durably(&entry.path, &aside(&entry.path), true);
            renamed.map_err(|error| {
                Failure::new(exit::IOERR, format!("cannot rename {}: {error}", entry.path.display()))
            })?;
            continue;
        }
        left += 1;
        eprintln!("pillarbox: {} was left: there is no message beside it", entry.name);
    }
    Ok(left)
}

/// What nullmailer has given up is not taken.
pub(super) fn say_failed(queue: &Path) {
    let failed = queue.with_file_name("failed");
    let number = std::fs::read_dir(&failed).map_or(0, Iterator::count);
    if queue.ends_with("queue") && number > 0 {
        eprintln!(
            "pillarbox: {number} in {} were given up by nullmailer, and were left\nhint: move into {} what is to be sent",
            failed.display(),
            queue.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(rows: &[(&str, (i64, i64))]) -> Vec<String> {
        let entry = |(name, written): &(&str, (i64, i64))| Entry {
            path: PathBuf::from(name),
            name: (*name).to_owned(),
            written: *written,
        };
        let mut entries: Vec<Entry> = rows.iter().map(entry).collect();
        entries.sort_by(in_order);
        entries.into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn the_second_in_the_name_counts_then_the_time_of_the_file_then_the_numbers() {
        let nullmailer = [
            ("1795478255.9", (1_795_478_255, 500)),
            // The processes' numbers began anew.
            ("1795478255.32000", (1_795_478_255, 400)),
            ("1795478254.31999", (1_795_478_300, 0)),
            ("999999999.1", (5, 0)),
        ];
        let expected = ["999999999.1", "1795478254.31999", "1795478255.32000", "1795478255.9"];
        assert_eq!(sorted(&nullmailer), expected);
        let msmtpq = [
            ("2026-11-23-23.57.35-10.mail", (7, 0)),
            ("2026-11-23-23.57.35-2.mail", (7, 0)),
            ("2026-11-23-23.57.35.mail", (7, 0)),
            ("2026-11-23-09.00.00.mail", (9, 0)),
        ];
        let expected = [
            "2026-11-23-09.00.00.mail",
            "2026-11-23-23.57.35.mail",
            "2026-11-23-23.57.35-2.mail",
            "2026-11-23-23.57.35-10.mail",
        ];
        assert_eq!(sorted(&msmtpq), expected);
    }

    #[test]
    fn what_was_taken_begins_with_a_dot() {
        assert_eq!(aside(Path::new("/q/1.2")), Path::new("/q/.1.2.imported"));
    }
}
