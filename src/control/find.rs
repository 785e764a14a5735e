//! Which message is meant: by its queue id, by a part of it, or by the name it was dropped under.

use super::answer::{Code, Refused};
use super::view;
use crate::fs::{Dir, Fs};
use crate::mail::QueueId;
use crate::spool::Name;

/// Shortest part of a queue id that names a message, hex digits.
const PART_MIN: usize = 4;
/// So many are named where one was meant.
const SHOWN: usize = 10;

/// The one message that `which` means: the whole queue id, the beginning or the end of one, or the name of the file that was
/// dropped.
///
/// # Errors
///
/// That there is none, or which they are if there are several.
pub(super) fn find(fs: &dyn Fs, which: &str) -> Result<QueueId, Refused> {
    let which = which.trim();
    let lower = which.to_ascii_lowercase();
    if let Ok(id) = lower.parse() {
        return Ok(id);
    }
    let mut found: Vec<(Dir, Name)> = Vec::new();
    for dir in [Dir::Pending, Dir::Sending, Dir::Failed] {
        view::list(fs, dir, &mut |file| {
            let name = Name::parse(file).filter(|name| is_meant(name, which, &lower));
            found.extend(name.map(|name| (dir, name)));
        })?;
    }
    // One that moved between two readings was seen twice.
    found.sort_by_key(|(_, name)| name.id);
    found.dedup_by_key(|(_, name)| name.id);
    match &found[..] {
        [] => Err(unknown(which)),
        [(_, one)] => Ok(one.id),
        several => {
            let each =
                |(dir, name): &(Dir, Name)| format!("{} ({}, in {}/)", name.id, name.label(), dir.name());
            let shown: Vec<String> = several.iter().take(SHOWN).map(each).collect();
            let more = match several.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!("{which:?} means {} messages: {}{more}", several.len(), shown.join(", "));
            Err(Refused::new(Code::Ambiguous, message).hint("name one of them by its queue id"))
        }
    }
}

fn is_meant(name: &Name, which: &str, lower: &str) -> bool {
    let is_part = lower.len() >= PART_MIN && lower.bytes().all(|b| b.is_ascii_hexdigit());
    let id = name.id.to_string();
    (is_part && (id.starts_with(lower) || id.ends_with(lower)))
        || name.label() == which
        || which.strip_suffix(".eml").is_some_and(|stem| name.label() == stem)
        || name.to_string() == which
}

pub(super) fn unknown(which: &str) -> Refused {
    let is_short = which.len() < PART_MIN && which.bytes().all(|b| b.is_ascii_hexdigit());
    let hint = match is_short {
        true => "of a queue id at least four digits are needed",
        false => "`pillarbox list` shows the messages",
    };
    Refused::new(Code::NotFound, format!("there is no message {which:?}")).hint(hint)
}
