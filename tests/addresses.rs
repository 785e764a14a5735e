//! Whom a message goes to and who is its sender, as the configuration has it: aliases, templates, forced senders.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are producers")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;

use support::server::{Answer, Arrival, Server, say};
use support::stage::{Ran, Stage, finish, plain, until};

/// "nobody" on Debian.
const NOBODY: u32 = 65534;

const IDENTITY: &str =
    "[pickup]\nsettle = \"50ms\"\n[identity]\nhostname = \"box.example.com\"\ndomain = \"example.com\"\n";

const ALIASES: &str = "[aliases]\nroot = \"ops\"\nops = [\"ann@example.org\", \"bob@example.org\"]\n\
    \"*\" = \"any@example.org\"\n\"old@example.net\" = \"new@example.net\"\nself = [\"self\", \"ann@example.org\"]\n";

/// A spool whose configuration has `text` behind `[identity]`.
fn stage(server: &Server, text: &str) -> Stage {
    let stage = Stage::new("", "");
    configure(&stage, server, text);
    stage
}

fn configure(stage: &Stage, server: &Server, text: &str) {
    stage.configure_all(&format!("{IDENTITY}{text}{}", plain(server.port())));
}

fn done(stage: &Stage, arguments: &[&str]) -> String {
    let ran = stage.pillarbox(arguments);
    assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
    ran.stdout
}

fn resolve(stage: &Stage, arguments: &[&str]) -> Ran {
    let config = stage.config().display().to_string();
    stage.pillarbox(&[&["resolve", "--config", &config], arguments].concat())
}

/// What was taken under this Subject.
fn taken(server: &Server, subject: &str) -> Arrival {
    let found = server.taken().into_iter().find(|arrival| arrival.subject() == subject);
    found.unwrap_or_else(|| panic!("{subject} in {:?}", server.subjects()))
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        // Past the test harness, which swallows what a test that passes prints.
        std::io::stderr().write_all(b"SKIPPED: a test of two users: only root can be both\n").unwrap();
    }
    is_root
}

#[test]
fn recipients_stand_for_others_however_they_came() {
    let server = Server::start();
    let stage = stage(&server, ALIASES);
    let rows = [
        ("cron", "From: root (Cron Daemon)\nTo: root\n", "ann@example.org bob@example.org"),
        (
            "cc",
            "From: a@b.c\nTo: Root@Example.com, ops\nCc: x@y.z, ann@example.org\n",
            "ann@example.org bob@example.org x@y.z",
        ),
        (
            "block",
            "X-Sender: a@b.c\nX-Receiver: root NOTIFY=NEVER\nX-Receiver: nobody@box.example.com\nTo: x@y.z\n",
            "ann@example.org bob@example.org any@example.org",
        ),
        ("self", "From: a@b.c\nTo: self\n", "self@example.com ann@example.org"),
        ("resent", "Resent-From: a@b.c\nResent-To: old@example.net\nTo: x@y.z\n", "new@example.net"),
        ("foreign", "From: a@b.c\nTo: root@example.org\n", "root@example.org"),
    ];
    for (subject, header, _) in rows {
        stage.drop_in(format!("{subject}.eml"), format!("{header}Subject: {subject}\n\ntext\n"));
    }
    // An envelope that is given is on record as it was expanded.
    fs::write(stage.dir().join("m"), "From: a@b.c\nSubject: given\n\ntext\n").unwrap();
    let id = done(
        &stage,
        &["send", "m", "--from", "a@b.c", "--to", "OLD@example.net", "--to", "root@example.com"],
    );
    let record = stage.read("meta", &format!("{}.json", id.trim_end()));
    assert!(record.contains("new@example.net") && !record.contains("root@"), "{record}");
    done(&stage, &["flush", "--strict"]);
    for (subject, _, want) in rows {
        assert_eq!(taken(&server, subject).forward_paths.join(" "), want, "{subject}");
    }
    let given = taken(&server, "given").forward_paths.join(" ");
    assert_eq!(given, "new@example.net ann@example.org bob@example.org");
    assert_eq!(
        taken(&server, "cc").field("To").as_deref(),
        Some("Root@Example.com, ops"),
        "the header stays"
    );
}

#[test]
fn aliases_that_go_round_are_refused_with_their_way() {
    let server = Server::start();
    let stage = stage(&server, "[aliases]\na = \"b\"\nb = [\"x@y.z\", \"A@example.com\"]\n");
    for ran in [stage.pillarbox(&["flush"]), resolve(&stage, &["x@y.z"])] {
        assert_eq!(ran.code, 78, "{ran:?}");
        assert!(ran.stderr.contains("line 10: the aliases go round in a circle: a -> b -> a"), "{ran:?}");
    }
}

#[test]
fn a_forced_sender_stands_whatever_the_message_says() {
    let server = Server::start();
    let stage = stage(&server, "from = \"Box 7 <box7@example.com>\"\nforce_from = \"both\"\n");
    let rows = [
        ("plain", "From: Ann <ann@b.c>\nSender: s@b.c\nTo: x@y.z\n"),
        ("answered", "From: ann@b.c\nReply-To: bob@b.c\nTo: x@y.z\n"),
        ("bare", "From: root (Cron Daemon)\nTo: x@y.z\n"),
        ("report", "X-Sender: <>\nX-Receiver: x@y.z\nFrom: MAILER-DAEMON@b.c\n"),
    ];
    for (subject, header) in rows {
        stage.drop_in(format!("{subject}.eml"), format!("{header}Subject: {subject}\n\ntext\n"));
    }
    fs::write(stage.dir().join("m"), "From: ann@b.c\nSubject: given\n\ntext\n").unwrap();
    done(&stage, &["send", "m", "--from", "ann@b.c", "--to", "x@y.z"]);
    done(&stage, &["flush", "--strict"]);
    let shown = |subject| {
        let arrival = taken(&server, subject);
        let field = |name| arrival.field(name).unwrap_or_default();
        format!("{}|{}|{}|{}", arrival.reverse_path, field("From"), field("Reply-To"), field("Sender"))
    };
    assert_eq!(shown("plain"), "box7@example.com|Ann <box7@example.com>|Ann <ann@b.c>|");
    assert_eq!(shown("answered"), "box7@example.com|Box 7 <box7@example.com>|bob@b.c|");
    assert_eq!(shown("bare"), "box7@example.com|Cron Daemon <box7@example.com>||");
    assert_eq!(shown("report"), "|Box 7 <box7@example.com>|MAILER-DAEMON@b.c|");
    assert_eq!(shown("given"), "box7@example.com|Box 7 <box7@example.com>|ann@b.c|");

    // In one place only; and a smarthost's own sender stands above it.
    configure(&stage, &server, "from = \"box7@example.com\"\nforce_from = \"header\"\n");
    stage.drop_in("header.eml", "From: ann@b.c\nTo: x@y.z\nSubject: header\n\ntext\n");
    done(&stage, &["flush", "--strict"]);
    assert_eq!(shown("header"), "ann@b.c|box7@example.com|ann@b.c|");
    let own = format!("{}from = \"own@example.com\"\n", plain(server.port()));
    stage.configure_all(&format!("{IDENTITY}from = \"box7@example.com\"\nforce_from = \"envelope\"\n{own}"));
    stage.drop_in("own.eml", "From: ann@b.c\nTo: x@y.z\nSubject: own\n\ntext\n");
    done(&stage, &["flush", "--strict"]);
    assert_eq!(shown("own"), "own@example.com|ann@b.c||");
}

#[test]
fn what_waits_because_of_its_sender_leaves_when_another_is_forced() {
    let server = Server::scripted(|asked| match asked.line.starts_with("MAIL FROM:<ann@") {
        true => say("451 4.7.1 not you"),
        false => Answer::Usual,
    });
    let stage = stage(&server, ALIASES);
    stage.drop_in("a.eml", "From: ann@b.c\nTo: root\nSubject: a\n\ntext\n");
    done(&stage, &["flush"]);
    let record = stage.read("meta", &stage.records()[0]);
    assert!(record.contains("ann@b.c") && record.contains("bob@example.org"), "{record}");
    // The recipients are on record; the sender is that of the transaction.
    let text =
        "from = \"box7@example.com\"\nforce_from = \"both\"\n[aliases]\nroot = \"other@example.org\"\n";
    configure(&stage, &server, text);
    done(&stage, &["flush", "--strict"]);
    let arrival = taken(&server, "a");
    assert_eq!(arrival.reverse_path, "box7@example.com");
    assert_eq!(arrival.field("From").as_deref(), Some("box7@example.com"));
    assert_eq!(arrival.forward_paths.join(" "), "ann@example.org bob@example.org");
}

#[test]
fn the_sender_is_that_of_the_user_who_dropped_it_or_handed_it_in() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let mut stage =
        stage(&server, "from = \"{user}-{hostname}@example.com\"\n[user.nobody]\nforce_from = \"both\"\n");
    let binary = stage.dir().join("pillarbox");
    // By another process: what this one has open for writing, a child that another test starts would inherit.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_pillarbox")).arg(&binary).status();
    assert!(copied.unwrap().success());
    stage.set_binary(binary);
    for (path, mode) in [(stage.dir().to_owned(), 0o755), (stage.spool(), 0o755), (stage.pickup(), 0o1730)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, owner) in [("root", 0), ("nobody", NOBODY), ("4711", 4711)] {
        let hidden = stage.pickup().join(format!(".{name}"));
        fs::write(&hidden, format!("From: {name} (x)\nTo: x@y.z\nSubject: by {name}\n\ntext\n")).unwrap();
        chown(&hidden, Some(owner), None).unwrap();
        fs::rename(&hidden, stage.pickup().join(format!("{name}.eml"))).unwrap();
    }
    done(&stage, &["flush", "--strict"]);
    assert_eq!(taken(&server, "by root").reverse_path, "root-box.example.com@example.com");
    assert_eq!(taken(&server, "by nobody").reverse_path, "nobody-box.example.com@example.com");
    assert_eq!(
        taken(&server, "by nobody").field("From").as_deref(),
        Some("x <nobody-box.example.com@example.com>")
    );
    assert_eq!(taken(&server, "by root").field("From").as_deref(), Some("root (x)"));
    assert_eq!(taken(&server, "by 4711").reverse_path, "4711-box.example.com@example.com");

    // Over the socket: its file is the service's, and the record says who handed it in.
    let _service = stage.run();
    done(&stage, &["pause"]);
    chown(stage.spool().join("control"), None, Some(NOBODY)).unwrap();
    fs::write(stage.dir().join("m"), "From: ann@b.c\nTo: x@y.z\nSubject: handed in\n\ntext\n").unwrap();
    let mut command = stage.command(&["send", "m"]);
    command.args(["--spool", &stage.spool().display().to_string()]).uid(NOBODY).gid(NOBODY);
    let sent = finish(command);
    assert_eq!(sent.code, 0, "{sent:?}");
    let record = stage.read("meta", &format!("{}.json", sent.stdout.trim_end()));
    assert!(record.contains("\"origin\":{\"user\":\"nobody\"}"), "{record}");
    done(&stage, &["resume"]);
    server.wait_taken(4);
    let arrival = taken(&server, "handed in");
    assert_eq!(arrival.reverse_path, "nobody-box.example.com@example.com");
    assert_eq!(arrival.field("Reply-To").as_deref(), Some("ann@b.c"));
    // The owner of the spool needs no record.
    until("the end of its record", || stage.records().is_empty() && stage.names("sending").is_empty());
    done(&stage, &["pause"]);
    done(&stage, &["send", "m"]);
    assert_eq!(stage.records(), ["paused"]);
}

#[test]
fn resolve_shows_each_step_and_the_sender() {
    let server = Server::start();
    let text = format!("from = \"{{user}}@example.com\"\n[user.ann]\nforce_from = \"both\"\n{ALIASES}");
    let stage = stage(&server, &text);
    let ran = resolve(&stage, &["root", "self@example.com", "Ops", "who", "x@y.z", "--user", "carl"]);
    let want = "\
root  (alias root)
  ops  (alias ops)
    ann@example.org
    bob@example.org
self@example.com  (alias self)
  self -> self@example.com  (domain in [identity])
  ann@example.org
Ops  (alias ops, as above)
who  (alias *)
  any@example.org
x@y.z

to      ann@example.org
to      bob@example.org
to      self@example.com
to      any@example.org
to      x@y.z
from    what carl writes, else carl@example.com
";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, want, ""));
    let json: serde_json::Value =
        serde_json::from_str(&resolve(&stage, &["old@example.net", "--user", "ann", "--json"]).stdout)
            .unwrap();
    assert_eq!(json["to"], serde_json::json!(["new@example.net"]));
    assert_eq!(json["steps"][0]["alias"], "old@example.net");
    assert_eq!((&json["from"], &json["force_from"]), (&"ann@example.com".into(), &"both".into()));
    let forced = resolve(&stage, &["root", "--user", "ann"]).stdout;
    assert!(
        forced.ends_with("from    ann@example.com in MAIL FROM and the field From, whatever ann writes\n"),
        "{forced}"
    );

    // Without a spool, and what cannot be resolved.
    fs::remove_dir_all(stage.spool()).unwrap();
    assert_eq!(resolve(&stage, &["root"]).code, 0);
    let bad = resolve(&stage, &["a b"]);
    assert_eq!(bad.code, 65, "{bad:?}");
    assert!(bad.stderr.contains("\"a b\" is no recipient: ") && bad.stderr.contains("hint: "), "{bad:?}");
    stage.configure_all("[aliases]\na = \"b\"\nb = \"a\"\n");
    assert_eq!(resolve(&stage, &["x@y.z"]).code, 78);
}
