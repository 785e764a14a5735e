//! What is not taken: why, said once, and what to do about it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;

use super::{IGNORED_AFTER, NO_ROOM_AGAIN, OPEN_AFTER, Options, Pattern, Pickup, RenamedWriter, bytes};
use crate::fs::{File, Stat};
use crate::mail::{Monotonic, UnixTime};
use crate::message::{NoEnvelope, Refusal};
use crate::outgoing::{Outgoing, Unsendable};
use crate::report::Report;
use crate::spool::{Failed, Name, NoRoom, NotAccepted};

impl Pickup {
    /// Leaves the reason where the producer looks. It is a courtesy: the report lies in `failed/`.
    pub(super) fn tell_producer(&self, dropped: &OsStr, name: &Name, reason: &str) {
        let mut file_name = dropped.to_owned();
        file_name.push(".rejected.txt");
        let dir = self.options.source.dir;
        let text = format!("pillarbox cannot send this message: {reason}\nIt lies in failed/ as {name}\n");
        let fs = self.spool.fs();
        let written = match fs.unlink(dir, &file_name) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => fs.create(dir, &file_name).and_then(|mut file| file.append(text.as_bytes())),
        };
        if let Err(error) = written {
            tracing::warn!(file = %file_name.display(), %error, "producer-not-told");
        }
    }

    /// No pattern means it: it stays, and is spoken of once.
    pub(super) fn ignore(&mut self, name: &OsStr, now: Monotonic) {
        let rescan = self.rescan();
        let Some(file) = self.files.get_mut(name) else { return };
        let speak_at = file.since + IGNORED_AFTER;
        file.left = true;
        file.not_before = if now < speak_at { speak_at } else { now + rescan };
        if now >= speak_at && file.reported.is_none() {
            let patterns: Vec<String> = self.options.patterns.iter().map(Pattern::to_string).collect();
            file.reported = Some("ignored".into());
            tracing::warn!(
                file = %name.display(),
                patterns = patterns.join(" "),
                hint = format!("rename the file, or add a pattern to match in [{}]", self.options.section),
                "drop-ignored"
            );
        }
    }

    /// It stays where it is; why is said once for each reason.
    pub(super) fn left_behind(&mut self, name: &OsStr, why: &NotAccepted, now: Monotonic) {
        let rescan = self.rescan();
        let Some(file) = self.files.get_mut(name) else { return };
        file.not_before = now + self.options.settle;
        let waited = now - file.since;
        match why {
            // Looked at again from the start, without a word: this is what a producer at work looks like.
            NotAccepted::Changed => return self.forget_and_rescan(name, now),
            NotAccepted::NotSettled | NotAccepted::Linked(_) => return,
            NotAccepted::BeingWritten if file.writer == RenamedWriter::Unseen => {
                file.writer = RenamedWriter::WaitedFor;
                file.holds_until = file.not_before;
                return;
            }
            NotAccepted::BeingWritten => file.writer = RenamedWriter::Stays,
            // As if it had not been asked for.
            NotAccepted::NoRoom(_) => {
                file.renamed_in = file.writer == RenamedWriter::Unseen;
                file.not_before = now;
                return file.left = true;
            }
            NotAccepted::Behind => {
                file.renamed_in = file.writer == RenamedWriter::Unseen;
                file.not_before = now;
                return;
            }
            NotAccepted::Unsynced(_, stat) => file.unsynced = Some(bytes(stat)),
            NotAccepted::Empty
            | NotAccepted::NotAFile(_)
            | NotAccepted::Unreadable(_)
            | NotAccepted::NotMoved(_)
            | NotAccepted::NoRoomToCopy(_)
            | NotAccepted::Unsettled
            | NotAccepted::Io(_) => {}
        }
        file.left = true;
        let speak_after = match why {
            NotAccepted::Empty => IGNORED_AFTER,
            NotAccepted::BeingWritten => OPEN_AFTER,
            _ => Duration::ZERO,
        };
        if waited < speak_after {
            return;
        }
        // Somebody who has it open may close it at any moment.
        if !matches!(why, NotAccepted::BeingWritten) {
            file.not_before = now + rescan;
        }
        let reason = why.to_string();
        if file.reported.as_ref() != Some(&reason) {
            let (fs, dir) = (self.spool.fs(), self.options.source.dir);
            let hint = hint_for(why, fs.stat(dir, name).ok(), name, &fs.place(dir));
            tracing::warn!(file = %name.display(), %reason, hint, "drop-left");
            file.reported = Some(reason);
        }
    }

    /// What is dropped waits where it is while there is no room for it: said once, and once that there is room again.
    pub(super) fn say_room(&mut self, no_room: Option<NoRoom>, now: Monotonic) {
        match (no_room, self.no_room_until) {
            (Some(reason), before) => {
                if before.is_none() {
                    tracing::error!(
                        %reason,
                        hint = "what is dropped waits where it is and is taken as soon as there is room",
                        "no-room"
                    );
                }
                self.no_room_until = Some(now + NO_ROOM_AGAIN);
            }
            (None, Some(_)) => {
                self.no_room_until = None;
                tracing::info!("room-again");
            }
            (None, None) => {}
        }
    }

    fn forget_and_rescan(&mut self, name: &OsStr, now: Monotonic) {
        self.forget(name);
        self.scan_due = self.scan_due.min(Some(now + self.options.settle));
    }
}

/// What can be said of a message before its turn comes: `Some` if it can never be sent.
pub(super) fn examine(
    name: &Name,
    file: &dyn File,
    options: &Options,
    now: UnixTime,
) -> Option<(Failed, String)> {
    let read = match options.max_message_size.and_then(|max| too_long(file.stat().ok()?.size, max)) {
        Some(refusal) => Err(Unsendable::Refused(refusal)),
        None => Outgoing::read(file, name, &options.outgoing, &options.source.origin),
    };
    let reason = match read {
        Ok(Outgoing { addressed: Err(NoEnvelope::Refused(refusal)), .. }) => refusal.to_string(),
        Err(Unsendable::Refused(refusal)) => refusal.to_string(),
        // What cannot be read now, or lacks a setting, may be sent later.
        Ok(_) | Err(Unsendable::Io(_)) => return None,
    };
    let report = Report {
        label: name.label(),
        file: &name.to_string(),
        accepted: name.accepted,
        given_up: now,
        recipients: &[],
        problems: std::slice::from_ref(&reason),
    };
    Some((Failed::new(now, report.text()), reason))
}

fn too_long(size: u64, max: u64) -> Option<Refusal> {
    let reason = format!("expected at most {max} octets (max_message_size in [spool]), found {size}");
    (size > max).then_some(Refusal { line: None, reason })
}

/// What to do about a file that was left in `place`.
fn hint_for(why: &NotAccepted, stat: Option<Stat>, name: &OsStr, place: &str) -> String {
    match (why, stat) {
        (NotAccepted::Unreadable(e), Some(stat)) if e.kind() == ErrorKind::PermissionDenied => {
            readable_hint(&stat, name, place)
        }
        (NotAccepted::NotMoved(e), _) if place != "pickup" => not_moved_hint(e, place),
        (NotAccepted::NotMoved(e), _) if e.kind() == ErrorKind::PermissionDenied => {
            "pickup/ and pending/ must belong to the user of the service, who must be allowed to write there (ls -ld), and the \
             file must not be immutable (lsattr)"
                .into()
        }
        (NotAccepted::BeingWritten, _) => {
            "it is taken when that program closes it; fuser -v shows which one it is".into()
        }
        (NotAccepted::NoRoomToCopy(_), _) => "free room on the filesystem of the spool".into(),
        (NotAccepted::Unsynced(..), _) => "see to the disk, then drop it again as a new file".into(),
        (NotAccepted::Empty, _) => "remove it, or let its producer write to it".into(),
        (NotAccepted::NotAFile(_), _) => "only regular files are taken: remove it".into(),
        _ => "it is tried again".into(),
    }
}

/// A folder is its owner's: what the service needs there.
fn not_moved_hint(error: &std::io::Error, place: &str) -> String {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => format!(
            "if the filesystem is writable, the unit of the service shuts it out: `systemctl edit pillarbox`, then [Service] \
             and ReadWritePaths={place}"
        ),
        ErrorKind::PermissionDenied => format!(
            "the user of the service must be allowed to take files out of {place}: setfacl -m u:pillarbox:rwx {place}; if it has \
             the sticky bit (ls -ld shows a t), only its owner may: chown pillarbox {place}"
        ),
        _ => "it is tried again".to_owned(),
    }
}

/// Mode, owner, and the command that mends it. The name is a stranger's, and the command will be pasted into a root shell.
fn readable_hint(stat: &Stat, name: &OsStr, place: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._+@-".contains(c);
    let command = match name.to_str() {
        Some(name) if name.chars().all(safe) => format!("chmod a+r {place}/{name}"),
        Some(name) if !name.chars().any(|c| c.is_control() || c == '\'') => {
            format!("chmod a+r '{place}/{name}'")
        }
        _ => format!("find {place} -inum {} -exec chmod a+r {{}} +", stat.id.inode),
    };
    format!("it has mode {:04o} and owner {}: {command}", stat.mode, stat.owner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::fs::{FileId, Kind};

    #[test]
    fn the_command_that_mends_is_safe_to_paste() {
        let stat = Stat {
            id: FileId { device: 1, inode: 77 },
            kind: Kind::File,
            links: 1,
            size: 1,
            modified: (0, 0),
            changed: (0, 0),
            mode: 0o600,
            owner: 1000,
        };
        let denied = || NotAccepted::Unreadable(ErrorKind::PermissionDenied.into());
        let cases: [(&[u8], &str); 5] = [
            (b"a-1.eml", "chmod a+r pickup/a-1.eml"),
            (b"a; reboot.eml", "chmod a+r 'pickup/a; reboot.eml'"),
            (b"it's.eml", "find pickup -inum 77 -exec chmod a+r {} +"),
            (b"a\nreboot.eml", "find pickup -inum 77 -exec chmod a+r {} +"),
            (b"\xff.eml", "find pickup -inum 77 -exec chmod a+r {} +"),
        ];
        for (name, command) in cases {
            let hint = hint_for(&denied(), Some(stat), OsStr::from_bytes(name), "pickup");
            assert_eq!(hint, format!("it has mode 0600 and owner 1000: {command}"));
        }
    }
}
