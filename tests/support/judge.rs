//! What was dropped, and whether what came of it keeps the promises.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::sweep::ptrace::Call;
use crate::sweep::sink::Arrival;

/// One message: what a producer drops, and what must arrive.
pub(crate) struct Message {
    /// The name in pickup/.
    pub(crate) name: String,
    /// The file's bytes.
    pub(crate) dropped: Vec<u8>,
    /// The bytes behind DATA.
    pub(crate) wire: Vec<u8>,
    /// The recipients.
    pub(crate) forward_paths: Vec<String>,
}

pub(crate) const REVERSE_PATH: &str = "panel@example.com";

/// `count` messages of varied content, in the order in which they are to be dropped.
pub(crate) fn messages(count: usize) -> Vec<Message> {
    // The body as dropped, as it must arrive, and whether the header's lines end in CRLF.
    let bodies: [(&[u8], &[u8], bool); 5] = [
        (b"line ends are LF\nsecond\n", b"line ends are LF\r\nsecond\r\n", false),
        (b"line ends are CRLF\r\nsecond\r\n", b"line ends are CRLF\r\nsecond\r\n", true),
        (b".\n.leading\n..two\n\n.\n", b".\r\n.leading\r\n..two\r\n\r\n.\r\n", false),
        (b"no final line end", b"no final line end\r\n", false),
        ("8 bit: Türe 3 geöffnet\n".as_bytes(), "8 bit: Türe 3 geöffnet\r\n".as_bytes(), false),
    ];
    (0..count)
        .map(|n| {
            let (body, body_on_the_wire, crlf) = bodies[n % bodies.len()];
            let mut to = vec![format!("ops{n}@example.com")];
            if n % 4 == 3 {
                to.push(format!("night{n}@example.com"));
            }
            let header = format!(
                "From: Panel <{REVERSE_PATH}>\r\nTo: {}\r\nSubject: alarm {n}\r\n\
                 Date: Mon, 23 Nov 2026 14:00:{n:02} +0000\r\nMessage-ID: <alarm-{n}@example.com>\r\n\
                 MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Transfer-Encoding: 8bit\r\n\r\n",
                to.join(", ")
            );
            let mut dropped = if crlf { header.clone() } else { header.replace("\r\n", "\n") }.into_bytes();
            dropped.extend_from_slice(body);
            let mut wire = header.into_bytes();
            wire.extend_from_slice(body_on_the_wire);
            Message { name: format!("a-{n:02}.eml"), dropped, wire, forward_paths: to }
        })
        .collect()
}

/// Holds the arrivals against the messages; each violation is a sentence.
///
/// `before_kill` is how many had arrived when the process was dead and its last byte was read. Only
/// the last of those may come again, and only as the next one: its final dot was out, and with it
/// the outcome of all before it was on disk.
pub(crate) fn judge(messages: &[Message], arrivals: &[Arrival], before_kill: usize) -> Vec<String> {
    let mut violations = Vec::new();
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, arrival) in arrivals.iter().enumerate() {
        let Some(n) = messages.iter().position(|message| message.wire == arrival.bytes) else {
            let text = String::from_utf8_lossy(&arrival.bytes);
            violations.push(format!("arrival {place} is not what was dropped, to the byte: {text:?}"));
            continue;
        };
        places.entry(n).or_default().push(place);
        let (name, to) = (&messages[n].name, &messages[n].forward_paths);
        if arrival.reverse_path != REVERSE_PATH || arrival.forward_paths != *to {
            let (reverse, forward) = (&arrival.reverse_path, &arrival.forward_paths);
            violations.push(format!("{name} has the envelope <{reverse}> {forward:?}"));
        }
    }
    let mut highest = 0;
    for (n, message) in messages.iter().enumerate() {
        let name = &message.name;
        let Some(at) = places.get(&n) else {
            violations.push(format!("{name} is lost"));
            continue;
        };
        if at[0] < highest {
            violations.push(format!("{name} arrived as number {}, ahead of one dropped before it", at[0]));
        }
        highest = highest.max(at[0]);
        match at[1..] {
            [] => {}
            [again] if at[0] + 1 == before_kill && again == before_kill => {}
            _ => violations.push(format!("{name} arrived at {at:?}; {before_kill} were there at the kill")),
        }
    }
    violations
}

/// Right after a kill: each message is whole in one place, or has arrived (N1).
pub(crate) fn whole(spool: &Path, messages: &[Message], arrivals: &[Arrival]) -> io::Result<Vec<String>> {
    let mut violations = Vec::new();
    let mut places = vec![Vec::new(); messages.len()];
    for place in ["pickup", "pending", "sending", "failed", "sent"] {
        for name in names(&spool.join(place))? {
            let path = format!("{place}/{name}");
            let bytes = fs::read(spool.join(&path))?;
            match messages.iter().position(|message| message.dropped == bytes) {
                Some(n) => places[n].push(path),
                None => violations.push(format!("{path} holds {} bytes that nobody dropped", bytes.len())),
            }
        }
    }
    for (message, at) in messages.iter().zip(&places) {
        let arrived = arrivals.iter().any(|arrival| arrival.bytes == message.wire);
        if at.len() > 1 || (at.is_empty() && !arrived) {
            violations.push(format!("right after the kill {} was in {at:?}", message.name));
        }
    }
    Ok(violations)
}

/// What a spool that is done with still holds; a record may stay only if it is about no message.
pub(crate) fn leftovers(spool: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for place in ["pickup", "pending", "sending", "failed", "sent"] {
        found.extend(names(&spool.join(place))?.into_iter().map(|name| format!("{place}/{name}")));
    }
    let of_a_message = |name: &String| {
        name.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() == 32) || is_temporary(name)
    };
    found.extend(
        names(&spool.join("meta"))?
            .into_iter()
            // Room that is set aside for the next outcome; empty.
            .filter(|name| name != ".reserve.tmp")
            .filter(of_a_message)
            .map(|name| format!("meta/{name}")),
    );
    found.extend(names(spool)?.into_iter().filter(|name| is_temporary(name)));
    Ok(found)
}

/// Where a power cut could undo or tear what SIGKILL cannot, by the order of the calls alone (N2,
/// N8): a message's bytes are synced before it leaves pickup/, and both directories of each of its
/// moves, the destination first, before it moves on or is let go.
pub(crate) fn unsynced(spool: &Path, calls: &[Call]) -> Vec<String> {
    let done = |call: &&Call| call.result.is_some_and(|result| result >= 0);
    let calls: Vec<&Call> = calls.iter().filter(done).collect();
    let synced = |calls: &[&Call], path: &Path| {
        calls.iter().position(|call| match call.name {
            "fsync" | "fdatasync" => call.paths[0] == path,
            name => name == "syncfs",
        })
    };
    let mut violations = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        let [from, to] = &call.paths[..] else { continue };
        let (Some(source), Some(destination)) = (from.parent(), to.parent()) else { continue };
        if !call.name.starts_with("rename") || source == destination {
            continue;
        }
        if source == spool.join("pickup") && synced(&calls[..n], from).is_none() {
            violations.push(format!("{} is accepted, its bytes not synced", from.display()));
        }
        let later = &calls[n + 1..];
        let leaves = |call: &&Call| {
            (call.name.starts_with("rename") || call.name.starts_with("unlink")) && call.paths[0] == *to
        };
        let stay = &later[..later.iter().position(leaves).unwrap_or(later.len())];
        let in_order = synced(stay, destination).is_some_and(|at| synced(&stay[at..], source).is_some());
        if !in_order {
            let (from, to) = (from.display(), to.display());
            violations
                .push(format!("{from} became {to}, and the two directories are not synced in that order"));
        }
    }
    violations
}

fn is_temporary(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name.contains(".tmp") || name.ends_with(".part")
}

/// The names in a directory, sorted; none if there is no such directory.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

mod tests {
    use super::*;

    /// The arrivals of a run in which the messages came as numbered.
    fn came(messages: &[Message], numbers: &[usize]) -> Vec<Arrival> {
        let arrival = |n: &usize| Arrival {
            session: 1,
            reverse_path: REVERSE_PATH.into(),
            forward_paths: messages[*n].forward_paths.clone(),
            bytes: messages[*n].wire.clone(),
        };
        numbers.iter().map(arrival).collect()
    }

    #[test]
    fn the_judge_accepts_what_is_promised() {
        let messages = messages(4);
        let verdict =
            |numbers: &[usize], before_kill| judge(&messages, &came(&messages, numbers), before_kill);
        assert_eq!(verdict(&[0, 1, 2, 3], 0), [""; 0]);
        assert_eq!(verdict(&[0, 1, 2, 3], 2), [""; 0]);
        assert_eq!(verdict(&[0, 1, 1, 2, 3], 2), [""; 0]);
        assert_eq!(verdict(&[0, 1, 2, 3, 3], 4), [""; 0]);
    }

    #[test]
    fn the_judge_sees_what_is_not() {
        let messages = messages(4);
        let verdict =
            |numbers: &[usize], before_kill| judge(&messages, &came(&messages, numbers), before_kill).len();
        assert_eq!(verdict(&[0, 1, 3], 2), 1, "lost");
        assert_eq!(verdict(&[0, 2, 1, 3], 2), 1, "out of order");
        assert_eq!(verdict(&[0, 1, 2, 2, 3], 2), 1, "twice, though its dot was not out at the kill");
        assert_eq!(verdict(&[0, 1, 0, 2, 3], 2), 1, "twice, though its outcome was on disk");
        assert_eq!(verdict(&[0, 1, 2, 1, 3], 2), 1, "twice, the copy out of order");
        assert_eq!(verdict(&[0, 1, 1, 1, 2, 3], 2), 1, "three times");
        assert_eq!(verdict(&[0, 1, 1, 2, 3, 3], 2), 1, "a second one twice");

        let mut arrivals = came(&messages, &[0, 1, 2, 3]);
        arrivals[1].bytes.extend_from_slice(b"\r\n");
        assert_eq!(judge(&messages, &arrivals, 0).len(), 2, "a line too many");
        let mut arrivals = came(&messages, &[0, 1, 2, 3]);
        arrivals[3].forward_paths.pop();
        assert_eq!(judge(&messages, &arrivals, 0).len(), 1, "a recipient forgotten");
    }

    #[test]
    fn the_judge_sees_a_sync_that_is_missing() {
        let call = |name, paths: &[&str]| Call {
            name,
            paths: paths.iter().map(|path| Path::new("/s").join(path)).collect(),
            result: Some(0),
        };
        let good = [
            call("fsync", &["pickup/a"]),
            call("renameat2", &["pickup/a", "pending/1_a"]),
            call("fsync", &["pending"]),
            call("fsync", &["pickup"]),
            call("renameat", &["pending/1_a", "sending/1_a"]),
            call("fsync", &["sending"]),
            call("fsync", &["pending"]),
            call("unlinkat", &["sending/1_a"]),
            call("fsync", &["sending"]),
        ];
        assert_eq!(unsynced(Path::new("/s"), &good), [""; 0]);
        for missing in [0, 2, 3, 5, 6] {
            let mut calls = good.to_vec();
            calls.remove(missing);
            assert_eq!(unsynced(Path::new("/s"), &calls).len(), 1, "without call {missing}");
            let mut calls = good.to_vec();
            calls[missing].result = Some(-5);
            assert_eq!(unsynced(Path::new("/s"), &calls).len(), 1, "call {missing} failed");
        }
        let mut calls = good.to_vec();
        calls.swap(2, 3);
        assert_eq!(unsynced(Path::new("/s"), &calls).len(), 1, "the source ahead of the destination");
    }
}
