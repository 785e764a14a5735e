//! Every kind of file that a producer can drop, and what becomes of it: the real binary as a user of its own, in a pickup/ as
//! it is installed (mode 3730), with files of another user. Once with CAP_LEASE, as the unit has it, and once without.
//!
//!     cargo test --test files -- --nocapture
//!
//! prints the table. To give files to other users takes root: else this is skipped, and says so.

#![expect(clippy::disallowed_methods, reason = "these tests are a producer")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use support::server::{self, Answer, Server};
use support::stage::{Service, Stage, pass_time, plain, until};

/// The service's user and the producers'; neither has an account.
const SERVICE: u32 = 64_999;
const PRODUCER: u32 = 64_998;

/// What has to become of a file.
enum Expect {
    /// These bytes reach the smarthost.
    Sent(Vec<u8>),
    /// It stays; `status` and the log give these reasons, and the log this hint.
    Left { status: &'static str, log: &'static str, hint: &'static str },
    /// It lies in failed/, and this reason beside where it was dropped.
    Refused(&'static str),
}

struct Case {
    what: &'static str,
    file: OsString,
    expect: Expect,
}

struct Bench {
    stage: Stage,
    server: Server,
    has_lease: bool,
    cases: Vec<Case>,
    /// Files that stay open, and a socket that stays bound.
    open: Vec<File>,
    sockets: Vec<UnixListener>,
}

/// Header and body of a message that nothing is added to.
fn letter(subject: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "From: Panel <panel@example.com>\nTo: ops@example.com\nSubject: {subject}\n\
         Date: Mon, 23 Nov 2026 15:00:00 +0000\nMessage-ID: <{subject}@example.com>\n\n"
    )
    .into_bytes();
    text.extend_from_slice(body);
    text
}

/// Line ends as they have to be on the wire: each CR LF, CR and LF ends a line, and so does the end of the text.
fn wire(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        wire.extend_from_slice(&rest[..end]);
        wire.extend_from_slice(b"\r\n");
        rest = &rest[end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 }..];
    }
    wire.extend_from_slice(rest);
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

impl Bench {
    fn new(has_lease: bool) -> Bench {
        let options = server::Options { offers: vec!["SIZE 100000000"], ..server::Options::default() };
        let server = Server::with(options, |_| Answer::Usual);
        let mut stage = Stage::new(&plain(server.port()), "received = false");
        stage.set("rescan", "\"500ms\"");
        // Where cargo builds may be closed to others. Not copied by this process: a child of another thread would have it
        // open for writing, and it could not be run.
        let binary = stage.dir().join("pillarbox");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_pillarbox")).arg(&binary).status();
        assert!(copied.unwrap().success());
        stage.set_binary(binary);
        fs::set_permissions(stage.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(stage.config(), Some(SERVICE), Some(SERVICE)).unwrap();
        chown(stage.spool(), Some(SERVICE), Some(SERVICE)).unwrap();
        fs::set_permissions(stage.spool(), fs::Permissions::from_mode(0o755)).unwrap();
        for entry in fs::read_dir(stage.spool()).unwrap() {
            chown(entry.unwrap().path(), Some(SERVICE), Some(SERVICE)).unwrap();
        }
        fs::set_permissions(stage.pickup(), fs::Permissions::from_mode(0o3730)).unwrap();
        Bench { stage, server, has_lease, cases: Vec::new(), open: Vec::new(), sockets: Vec::new() }
    }

    fn run(&self) -> Service {
        let run = self.stage.command(&["run"]);
        let mut command = Command::new("setpriv");
        let (user, lease) = (SERVICE.to_string(), ["--inh-caps", "+lease", "--ambient-caps", "+lease"]);
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        if self.has_lease {
            command.args(lease);
        }
        // The umask of the unit: what is left for producers must be readable all the same.
        command.args(["sh", "-c", "umask 0077; exec \"$@\"", "sh"]);
        command.arg(run.get_program()).args(run.get_args()).current_dir(self.stage.dir());
        let service = self.stage.start(command);
        service.wait_log("ready");
        service
    }

    fn hidden(&self) -> PathBuf {
        self.stage.dir().join("being written")
    }

    fn path(&self, file: &OsStr) -> PathBuf {
        self.stage.pickup().join(file)
    }

    fn expect(&mut self, what: &'static str, file: impl AsRef<OsStr>, expect: Expect) {
        self.cases.push(Case { what, file: file.as_ref().to_owned(), expect });
    }

    /// A drop by rename, with that owner and mode.
    fn rename_in(&self, file: &OsStr, bytes: &[u8], owner: u32, mode: u32) {
        fs::write(self.hidden(), bytes).unwrap();
        chown(self.hidden(), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(self.hidden(), fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(self.hidden(), self.path(file)).unwrap();
    }

    /// A drop by rename of a message that is sent as `expected`.
    fn sent(&mut self, what: &'static str, file: impl AsRef<OsStr>, bytes: &[u8], expected: Vec<u8>) {
        self.rename_in(file.as_ref(), bytes, PRODUCER, 0o644);
        self.expect(what, file, Expect::Sent(expected));
    }

    /// A message with that body.
    fn body(&mut self, what: &'static str, name: &str, body: &[u8]) {
        let bytes = letter(name, body);
        self.sent(what, format!("{name}.eml"), &bytes, wire(&bytes));
    }

    fn left(&mut self, what: &'static str, file: &str, status: &'static str, log: &'static str) {
        self.expect(what, file, Expect::Left { status, log, hint: "" });
    }

    fn refused(&mut self, what: &'static str, file: &str, bytes: &[u8], reason: &'static str) {
        self.rename_in(OsStr::new(file), bytes, PRODUCER, 0o644);
        self.expect(what, file, Expect::Refused(reason));
    }

    fn contents(&mut self) {
        let lines: Vec<u8> =
            (0..50 * 1024 * 1024 / 64).flat_map(|n| format!("{n:063}\n").into_bytes()).collect();
        self.body("50 MB", "huge", &lines);
        self.body("bare CR", "bare-cr", b"one\rtwo\r.\rthree\r\n");
        self.body("bare LF", "bare-lf", b"one\n.\ntwo\n");
        self.body("no final newline", "no-newline", b"one");
        self.body("8-bit", "eight-bit", b"T\xfcr 3 \xc3\xbc\n");
        let dot = [b".Dot: 1\n".to_vec(), letter("dot", b".\n..\n")].concat();
        self.sent("first byte a dot", "dot.eml", &dot, wire(&dot));
        let inside = letter("mbox", b"From here on\n");
        let mbox = [b"From panel Mon Nov 23 15:00:00 2026\n".to_vec(), inside.clone()].concat();
        self.sent("mbox From_", "mbox.eml", &mbox, wire(&inside));
        let recipients: Vec<String> = (0..10_000).map(|n| format!("r{n}@example.com")).collect();
        let to = format!("To: {}\n", recipients.join(",\n "));
        let many = String::from_utf8(letter("many", b"x\n")).unwrap().replace("To: ops@example.com\n", &to);
        self.sent("10,000 recipients", "many.eml", many.as_bytes(), wire(many.as_bytes()));
        self.refused("no header", "no-header.eml", b"just text\n", "header");
        self.refused("NUL", "nul.eml", &letter("nul", b"a\0b\n"), "NUL");
    }

    fn names(&mut self) {
        let long = "n".repeat(251) + ".eml";
        let names: [(&str, &OsStr); 4] = [
            ("name not UTF-8", OsStr::from_bytes(b"\xff\xfe.eml")),
            ("name with newlines", OsStr::new("new\nline\n.eml")),
            ("name of 255 octets", OsStr::new(&long)),
            ("name without a dot", OsStr::new("plain")),
        ];
        for (number, (what, file)) in names.into_iter().enumerate() {
            let bytes = letter(&format!("name-{number}"), b"x\n");
            self.sent(what, file, &bytes, wire(&bytes));
        }
        // Within one tick of the clock, as far as a test can do that: in the order of the renames.
        self.body("two in one clock tick: b", "tick-b", b"x\n");
        self.body("two in one clock tick: a", "tick-a", b"x\n");
    }

    fn kinds(&mut self) {
        let (not_a_file, pickup) = ("not a regular file", self.stage.pickup());
        let outside = self.stage.dir().join("outside");
        fs::write(&outside, letter("outside", b"x\n")).unwrap();
        symlink(&outside, pickup.join("symlink.eml")).unwrap();
        self.left("symlink", "symlink.eml", not_a_file, "it is a symbolic link");
        fs::create_dir(pickup.join("directory.eml")).unwrap();
        self.left("directory", "directory.eml", not_a_file, "it is a directory");
        self.sockets.push(UnixListener::bind(pickup.join("socket.eml")).unwrap());
        self.left("socket", "socket.eml", not_a_file, "it is not a regular file");
        let nodes = [("fifo.eml", FileType::Fifo), ("device.eml", FileType::CharacterDevice)];
        for (file, kind) in nodes {
            // The device is /dev/zero: whoever reads it never ends.
            mknodat(CWD, pickup.join(file), kind, Mode::from(0o666), makedev(1, 5)).unwrap();
            self.left(
                if file == "fifo.eml" { "FIFO" } else { "device" },
                file,
                not_a_file,
                "it is not a regular file",
            );
        }
        for case in &self.cases[self.cases.len() - 5..] {
            lchown(pickup.join(&case.file), Some(PRODUCER), Some(PRODUCER)).unwrap();
        }
        self.rename_in(OsStr::new("empty.eml"), b"", PRODUCER, 0o644);
        self.left("0 octets", "empty.eml", "empty", "it is empty");
    }

    fn rights(&mut self) {
        self.rename_in(OsStr::new("private.eml"), &letter("private", b"x\n"), PRODUCER, 0o600);
        let hint = "it has mode 0600 and owner 64998: chmod a+r pickup/private.eml";
        let (status, log) = ("Permission denied (os error 13)", "Permission denied");
        self.expect("0600 of another user", "private.eml", Expect::Left { status, log, hint });
        // As tempfile.NamedTemporaryFile(dir=pickup, delete=False) does it.
        let bytes = letter("own", b"x\n");
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(self.path("own.eml".as_ref())).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        chown(self.path("own.eml".as_ref()), Some(SERVICE), Some(SERVICE)).unwrap();
        file.write_all(&bytes).unwrap();
        drop(file);
        self.expect("0600 of its own (Python's tempfile)", "own.eml", Expect::Sent(wire(&bytes)));
        // And of another user, with umask 0644: written in place.
        let bytes = letter("in-place", b"x\n");
        fs::write(self.path("in-place.eml".as_ref()), &bytes).unwrap();
        chown(self.path("in-place.eml".as_ref()), Some(PRODUCER), Some(PRODUCER)).unwrap();
        self.expect("written in place", "in-place.eml", Expect::Sent(wire(&bytes)));
    }

    fn open_for_writing(&self, path: &Path) -> File {
        OpenOptions::new().append(true).open(path).unwrap()
    }

    fn open_files(&mut self) {
        let open = "a program has it open for writing";
        for (what, name) in [("open for writing", "open"), ("open through a hard link", "open-linked")] {
            let bytes = letter(name, b"x\n");
            let file = format!("{name}.eml");
            fs::write(self.hidden(), &bytes).unwrap();
            chown(self.hidden(), Some(PRODUCER), Some(PRODUCER)).unwrap();
            let by = match name {
                "open" => self.hidden(),
                _ => {
                    let other = self.stage.dir().join("other name");
                    fs::hard_link(self.hidden(), &other).unwrap();
                    other
                }
            };
            let writer = self.open_for_writing(&by);
            fs::rename(self.hidden(), self.path(file.as_ref())).unwrap();
            self.open.push(writer);
            // Without the capability nobody may ask about another user's file: ten seconds of rest have to do.
            let expect = match self.has_lease {
                true => Expect::Left { status: open, log: "", hint: "" },
                false => Expect::Sent(wire(&bytes)),
            };
            self.expect(what, file, expect);
        }
        let bytes = letter("linked", b"x\n");
        fs::write(self.hidden(), &bytes).unwrap();
        chown(self.hidden(), Some(PRODUCER), Some(PRODUCER)).unwrap();
        fs::hard_link(self.hidden(), self.stage.dir().join("kept name")).unwrap();
        fs::rename(self.hidden(), self.path("linked.eml".as_ref())).unwrap();
        self.expect("a hard link that stays", "linked.eml", Expect::Sent(wire(&bytes)));
        // Dropped while its producer still has it open, and cut off by it before it is closed.
        let bytes = letter("truncated", b"one\ntwo\n");
        fs::write(self.hidden(), &bytes).unwrap();
        chown(self.hidden(), Some(PRODUCER), Some(PRODUCER)).unwrap();
        let writer = self.open_for_writing(&self.hidden());
        fs::rename(self.hidden(), self.path("truncated.eml".as_ref())).unwrap();
        writer.set_len(bytes.len() as u64 - 4).unwrap();
        drop(writer);
        let rest = wire(&bytes[..bytes.len() - 4]);
        self.expect("truncated after the drop", "truncated.eml", Expect::Sent(rest));
    }

    /// The outcome of each case, one a line; those that are not as expected are marked.
    fn table(&self, service: &Service) -> (String, usize) {
        let status = self.stage.status();
        let (log, taken) = (service.log(), self.server.taken());
        let (mut table, mut wrong) = (String::new(), 0);
        for Case { what, file, expect } in &self.cases {
            let is_there = fs::symlink_metadata(self.path(file)).is_ok();
            let (expected, found) = match expect {
                Expect::Sent(bytes) => {
                    let copies = taken.iter().filter(|arrival| arrival.bytes == *bytes).count();
                    ("sent, byte for byte", (copies == 1 && !is_there).then_some(String::new()))
                }
                Expect::Left { status: reason, log: line, hint } => {
                    let left = status["left_in_pickup"].as_array().unwrap().iter();
                    let told = left.filter(|l| l["file"] == *file.to_str().unwrap());
                    let told = told.map(|l| l["reason"].as_str().unwrap().to_owned()).next();
                    let start = format!("drop-left file={} ", file.display());
                    let logged: Vec<&str> = log.lines().filter(|line| line.contains(&start)).collect();
                    let is_logged = match line.is_empty() {
                        true => logged.is_empty(),
                        false => logged.len() == 1 && logged[0].contains(line) && logged[0].contains(hint),
                    };
                    // It is the service that answers, as its own user.
                    let is_told = told.as_deref().unwrap_or_default() == *reason;
                    let why = format!(": {}", if reason.is_empty() { line } else { reason });
                    ("left and reported", (is_there && is_logged && is_told).then_some(why))
                }
                Expect::Refused(reason) => {
                    let mut note = file.clone();
                    note.push(".rejected.txt");
                    let text = fs::read_to_string(self.path(&note)).unwrap_or_default();
                    let mode = fs::metadata(self.path(&note)).map(|m| m.permissions().mode() & 0o777).ok();
                    let is_so = text.contains(reason) && !is_there && mode == Some(0o644);
                    ("refused, with .rejected.txt", is_so.then_some(format!(": {reason}")))
                }
            };
            let mark = if found.is_some() { "yes" } else { "NO" };
            writeln!(table, "{mark:>4}  {what:<38}{expected}{}", found.unwrap_or_default()).unwrap();
            wrong += usize::from(mark == "NO");
        }
        (table, wrong)
    }
}

fn may_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: files of several users can be made by root alone");
    }
    is_root
}

fn every_file_meets_its_end(has_lease: bool) {
    if !may_run() {
        return;
    }
    let mut bench = Bench::new(has_lease);
    let service = bench.run();
    // From here on it hears of every drop.
    bench.rename_in(OsStr::new("first.eml"), &letter("first", b"x\n"), SERVICE, 0o600);
    bench.server.wait_taken(1);
    bench.kinds();
    bench.rights();
    bench.open_files();
    bench.names();
    bench.contents();
    let sent = bench.cases.iter().filter(|case| matches!(case.expect, Expect::Sent(_))).count();
    service.wait_log("WARN drop-left file=empty.eml");
    let last = last_table(|| bench.table(&service));
    let with = if has_lease { "with" } else { "without" };
    println!("a service {with} CAP_LEASE, files of another user:\n{}", last.0);
    assert_eq!(last.1, 0, "\n{}", last.0);
    let subjects = bench.server.subjects();
    let place = |subject: &str| subjects.iter().position(|s| s == subject).unwrap();
    assert!(place("tick-b") < place("tick-a"), "{subjects:?}");
    let many = bench.server.taken().into_iter().find(|a| a.subject() == "many").unwrap();
    assert_eq!(many.forward_paths.len(), 10_000);
    assert_eq!(bench.server.taken().len(), 1 + sent, "{subjects:?}");
    assert!(!service.log().contains("spool-fault"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

/// Asks for a table until nothing in it is wrong, or nothing gets better any more; gives the last one.
fn last_table(mut table: impl FnMut() -> (String, usize)) -> (String, usize) {
    let mut last = table();
    let mut same = 0;
    while last.1 > 0 && same < 30 {
        pass_time(Duration::from_millis(300));
        let next = table();
        same = if next.1 == last.1 { same + 1 } else { 0 };
        last = next;
    }
    last
}

#[test]
fn every_file_meets_its_end_with_cap_lease() {
    every_file_meets_its_end(true);
}

#[test]
fn every_file_meets_its_end_without_cap_lease() {
    every_file_meets_its_end(false);
}

/// A producer that renames the next message over the last, again and again: whatever is taken is whole, nothing is sent twice,
/// the last one is sent, and nothing that it does is a fault of the spool.
#[test]
fn what_is_renamed_over_a_file_that_is_taken_is_taken_or_left_but_whole() {
    if !may_run() {
        return;
    }
    let bench = Bench::new(true);
    let service = bench.run();
    let last = 400;
    for number in 0..=last {
        let text = letter(&format!("over-{number}"), format!("{number}\n").repeat(number).as_bytes());
        bench.rename_in(OsStr::new("over.eml"), &text, PRODUCER, 0o644);
    }
    let is_last = |s: &String| *s == format!("over-{last}");
    until("the last one", || bench.server.subjects().iter().any(is_last));
    let subjects = bench.server.subjects();
    for arrival in bench.server.taken() {
        let number: usize = arrival.subject().strip_prefix("over-").unwrap().parse().unwrap();
        let text = letter(&arrival.subject(), format!("{number}\n").repeat(number).as_bytes());
        assert!(arrival.bytes == wire(&text), "{} is not whole", arrival.subject());
    }
    let mut once = subjects.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), subjects.len(), "sent twice: {subjects:?}");
    println!("renamed over: {} dropped, {} of them taken, each whole and once", last + 1, subjects.len());
    assert!(!service.log().contains("spool-fault"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

/// A producer that writes in place: the header, then for three seconds nothing, then the rest.
#[test]
fn a_header_a_pause_of_three_seconds_and_the_rest_through_one_handle_are_one_message() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "received = false");
    let service = stage.run();
    let bytes = letter("pause", b"first\n.\nlast\n");
    // Cut in the middle of the header, and again in the middle of a line of the text.
    let (head, rest) = bytes.split_at(20);
    let (text, end) = rest.split_at(rest.len() - 3);
    let mut file = File::create_new(stage.pickup().join("pause.eml")).unwrap();
    file.write_all(head).unwrap();
    // What comes behind it passes it by.
    stage.drop_in("other.eml", letter("other", b"x\n"));
    server.wait_taken(1);
    for piece in [text, end] {
        pass_time(Duration::from_secs(3));
        assert_eq!(server.subjects(), ["other"], "it was taken before it was whole");
        file.write_all(piece).unwrap();
    }
    drop(file);
    server.wait_taken(2);
    assert!(server.taken()[1].bytes == wire(&bytes), "{:?}", server.taken()[1]);
    stage.wait_empty();
    assert!(!service.log().contains("refused"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}
