//! The sweep over what an operator does where no service runs: one command, killed at each of its calls.
//!
//! After the next recovery the spool is as it was or as the command leaves it, to the byte, and nothing between; who was
//! told that it is done finds it done.

use std::collections::BTreeMap;

use super::judge::names;
use super::sink::Script;
use super::*;

const SCRIPT: Script = Script { refused: &["gone@example.com"], deferred_once: &[] };
const DIRS: [&str; 6] = ["pickup", "pending", "sending", "failed", "sent", "meta"];

/// A command, and the message that it is about.
struct OneShot {
    scenario: &'static str,
    verb: &'static str,
    args: &'static [&'static str],
}

const COMMANDS: [OneShot; 6] = [
    OneShot { scenario: "hold", verb: "hold", args: &["waits"] },
    OneShot { scenario: "release", verb: "release", args: &["held"] },
    OneShot { scenario: "remove-held", verb: "remove", args: &["held"] },
    OneShot { scenario: "remove-failed", verb: "remove", args: &["failed"] },
    OneShot { scenario: "retry", verb: "retry", args: &["failed"] },
    OneShot {
        scenario: "send",
        verb: "send",
        args: &["--from", "given@example.com", "--to", "to@example.com"],
    },
];

/// What lies in the spool: `pending/waits.eml`, its bytes. Queue ids and times are taken out of the names.
type Tree = BTreeMap<String, Vec<u8>>;

fn text(label: &str, to: &str) -> Vec<u8> {
    format!("From: panel@example.com\nTo: {to}@example.com\nSubject: {label}\n\n{label}\n").into_bytes()
}

/// `send` of a message of this name.
fn send(place: &Place, label: &str, args: &[&str]) -> io::Result<Command> {
    let path = place.dir.path().join(format!("{label}.eml"));
    fs::write(&path, text(label, "ops"))?;
    let mut command = place.command("send");
    command.arg(path).args(args);
    Ok(command)
}

fn succeed(place: &Place, command: &mut Command) -> io::Result<()> {
    let status = place.finish(command)?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {}", place.said()))) }
}

/// A spool with a message that was refused, one that waits, and one that is held.
fn template() -> io::Result<Place> {
    let sink = Sink::scripted(SCRIPT)?;
    let place = Place::new(sink.port())?;
    let dropped = text("failed", "gone");
    place.drop_in(&Message {
        name: "failed.eml".into(),
        wire: Vec::new(),
        forward_paths: Vec::new(),
        dropped,
    })?;
    succeed(&place, &mut place.command("flush"))?;
    succeed(&place, &mut send(&place, "waits", &[])?)?;
    succeed(&place, &mut send(&place, "held", &["--from", "given@example.com", "--to", "to@example.com"])?)?;
    succeed(&place, place.command("hold").arg("held"))?;
    Ok(place)
}

/// A place of its own that holds what `template` holds.
fn copy_of(template: &Place, sink: &Sink) -> io::Result<Place> {
    let place = Place::new(sink.port())?;
    for dir in DIRS {
        for name in names(&template.spool.join(dir))? {
            fs::copy(template.spool.join(dir).join(&name), place.spool.join(dir).join(&name))?;
        }
    }
    Ok(place)
}

fn tree(spool: &Path) -> io::Result<Tree> {
    let mut files = Vec::new();
    for dir in DIRS {
        files.extend(names(&spool.join(dir))?.into_iter().map(|name| (dir, name)));
    }
    let mut labels = BTreeMap::new();
    for (dir, name) in files.iter().filter(|(dir, _)| *dir != "meta" && *dir != "pickup") {
        if let [id, _, label] = name.splitn(3, '_').collect::<Vec<_>>()[..]
            && (dir, label.ends_with(".eml")) != (&"failed", false)
        {
            labels.insert(id.to_owned(), label.trim_end_matches(".eml").to_owned());
        }
    }
    let mut tree = Tree::new();
    for (dir, name) in &files {
        // What the sender said last, and room that is set aside: about no message.
        if *dir == "meta" && [".reserve.tmp", "sender.json"].contains(&name.as_str()) {
            continue;
        }
        let id = name.split(['_', '.']).next().unwrap_or_default();
        let ending = name.rsplit('.').next().unwrap_or_default();
        let shown = labels.get(id).map_or(name.clone(), |label| format!("{label}.{ending}"));
        if tree.insert(format!("{dir}/{shown}"), fs::read(spool.join(dir).join(name))?).is_some() {
            return Err(io::Error::other(format!("{dir} holds {shown} twice")));
        }
    }
    Ok(tree)
}

fn command(place: &Place, one_shot: &OneShot) -> io::Result<Command> {
    if one_shot.verb == "send" {
        return send(place, "sent", one_shot.args);
    }
    let mut command = place.command(one_shot.verb);
    command.args(one_shot.args);
    Ok(command)
}

/// Whether the command said that it has done it: a line that begins with a queue id.
fn was_told(said: &str) -> bool {
    said.lines().any(|line| {
        let word = line.split(' ').next().unwrap_or_default();
        word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The states that the spool may be in, the last one as the command leaves it.
fn allowed(one_shot: &OneShot, old: Tree, new: Tree) -> Vec<Tree> {
    let mut states = vec![old.clone(), new.clone()];
    if one_shot.verb == "retry" {
        // SPOOL.md, "retry, record or link": it stays in failed/, and its record says that it may be tried.
        let record = "meta/failed.json".to_owned();
        let mut between = old;
        between.extend(new.get(&record).map(|bytes| (record, bytes.clone())));
        states.insert(0, between);
    }
    states
}

/// Right after the kill: whoever is not meant is as before, and a message that is not to go is whole.
fn right_after(one_shot: &OneShot, old: &Tree, now: &Tree) -> Vec<String> {
    let subject = one_shot.args[0];
    let is_meant = |path: &str| path.contains(&format!("/{subject}."));
    let mut violations: Vec<String> = old
        .iter()
        .filter(|(path, bytes)| !is_meant(path) && now.get(*path) != Some(bytes))
        .map(|(path, _)| format!("{path} was changed"))
        .collect();
    let whole = text(subject, if subject == "failed" { "gone" } else { "ops" });
    let is_there = |dir: &str| now.get(&format!("{dir}/{subject}.eml")) == Some(&whole);
    if !["send", "remove"].contains(&one_shot.verb) && !is_there("pending") && !is_there("failed") {
        violations.push(format!("{subject} is not whole: {:?}", now.keys()));
    }
    violations
}

fn try_point(
    one_shot: &OneShot,
    template: &Place,
    allowed: &[Tree],
    point: KillPoint,
    sink: &Sink,
    keep: bool,
) -> io::Result<Verdict> {
    let place = copy_of(template, sink)?;
    let old = tree(&place.spool)?;
    let watch = Watch { dir: &place.spool, kill: Some((point.nth, point.when)), fail: None, limit: LIMIT };
    let trace = ptrace::run(&mut command(&place, one_shot)?, &watch, drop)?;
    let mut violations = right_after(one_shot, &old, &tree(&place.spool)?);
    let told = was_told(&place.said());
    let is_done = trace.status.success() && told;
    if !trace.killed && !is_done {
        violations.push(format!("not killed, yet it ended with {}, told: {told}", trace.status));
    }
    // Changes nothing, but recovers first.
    succeed(&place, &mut place.command("resume"))?;
    let now = tree(&place.spool)?;
    let state = allowed.iter().position(|state| *state == now);
    match state {
        None => violations.push(format!("neither as before nor as after: {:#?}", shown(&now))),
        Some(state) if told && state + 1 != allowed.len() => {
            violations.push("it said that it was done, and it is not".into());
        }
        Some(_) => {}
    }
    Ok(verdict(point, place, &trace, violations, false, keep.then(|| format!("{:#?}", shown(&now)))))
}

fn shown(tree: &Tree) -> Vec<String> {
    tree.iter().map(|(path, bytes)| format!("{path}: {}", String::from_utf8_lossy(bytes))).collect()
}

#[test]
fn a_command_killed_at_every_call_has_its_effect_or_none() {
    let template = template().expect("a spool with three messages");
    let old = tree(&template.spool).expect("it can be read");
    let paths: Vec<&str> = old.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "failed/failed.eml",
            "failed/failed.txt",
            "meta/failed.json",
            "meta/held.json",
            "pending/held.eml",
            "pending/waits.eml"
        ]
    );
    let nobody = Sink::start().expect("the sink listens");
    for one_shot in &COMMANDS {
        let place = copy_of(&template, &nobody).expect("a copy");
        let watch = Watch { dir: &place.spool, kill: None, fail: None, limit: LIMIT };
        let mut undisturbed = command(&place, one_shot).expect("a command");
        let trace = ptrace::run(&mut undisturbed, &watch, drop).expect("an undisturbed run");
        assert!(trace.status.success() && was_told(&place.said()), "{}: {}", one_shot.scenario, place.said());
        let new = tree(&place.spool).expect("it can be read");
        assert_ne!(new, old, "{} has no effect", one_shot.scenario);
        let allowed = allowed(one_shot, old.clone(), new);
        let try_one = |point, sink: &Sink, keep| try_point(one_shot, &template, &allowed, point, sink, keep);
        every_point(one_shot.scenario, 1, Sink::start, || trace.calls.len() + 1, try_one);
    }
}
