//! The producers in `examples/`: each drops as `spool/README.md` says, whatever the umask, also as a member of the group who may
//! not open the folder, and leaves nothing behind when the disk says no.
//!
//! A language that is not on the machine is left out, and that is said. With `PILLARBOX_ALL_LANGUAGES=1` it is a failure;
//! `tests/examples/install.sh` installs them on Debian.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are producers")]

#[path = "support/ptrace.rs"]
#[expect(dead_code, reason = "sigkill.rs uses the rest")]
mod ptrace;
#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use ptrace::{Call, Fail, Trace, Watch};
use support::LIMIT;
use support::server::Server;
use support::stage::{Stage, plain};

/// A user and a group that own nothing here.
const NOBODY: u32 = 65_534;
const TO: &str = "ops@example.com";
const SUBJECT: &str = "door 3 open";
const BODY: &[u8] = b"Zone 3\n.\nT\xfcr\nno line end";

struct Language {
    name: &'static str,
    /// Programs that it takes.
    needs: &'static [&'static str],
    /// What makes it ready: `SOURCE` and `OUT` stand for the example and a folder.
    build: &'static [&'static str],
    run: &'static [&'static str],
    source: &'static str,
    /// Whether it can sync a folder.
    syncs_folder: bool,
}

const LANGUAGES: [Language; 8] = [
    language("shell", &["sh"], &[], &["sh", "SOURCE"], "producer.sh"),
    language("Python", &["python3"], &[], &["python3", "SOURCE"], "producer.py"),
    language("Node", &["node"], &[], &["node", "SOURCE"], "producer.js"),
    language("PHP", &["php"], &[], &["php", "SOURCE"], "producer.php"),
    language("Go", &["go"], &["go", "build", "-o", "OUT/go", "SOURCE"], &["OUT/go"], "producer.go"),
    Language {
        syncs_folder: false,
        ..language(
            "C#",
            &["mcs", "mono"],
            &["mcs", "-out:OUT/Producer.exe", "SOURCE"],
            &["mono", "OUT/Producer.exe"],
            "Producer.cs",
        )
    },
    language(
        "Java",
        &["javac", "java"],
        &["javac", "-d", "OUT", "SOURCE"],
        &["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", "OUT", "Producer"],
        "Producer.java",
    ),
    language(
        "C",
        &["gcc"],
        &["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", "OUT/c", "SOURCE"],
        &["OUT/c"],
        "producer.c",
    ),
];

const fn language(
    name: &'static str,
    needs: &'static [&'static str],
    build: &'static [&'static str],
    run: &'static [&'static str],
    source: &'static str,
) -> Language {
    Language { name, needs, build, run, source, syncs_folder: true }
}

/// A language, ready, with a spool of its own.
struct Bench<'a> {
    language: &'a Language,
    stage: Stage,
    server: Server,
    out: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    fn new(language: &'a Language) -> Bench<'a> {
        let server = Server::start();
        let stage = Stage::new(&plain(server.port()), "");
        stage.set("hostname", "\"box.example.com\"\nfrom = \"panel@example.com\"");
        let out = tempfile::tempdir().unwrap();
        fs::set_permissions(out.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(stage.dir().join("body"), BODY).unwrap();
        let bench = Bench { language, stage, server, out };
        if !language.build.is_empty() {
            let mut command = bench.command(language.build);
            command.env("GO111MODULE", "off");
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}: {output:?}", language.name);
        }
        bench
    }

    fn command(&self, words: &[&str]) -> Command {
        // By a copy that everybody may read, whatever the checkout's mode is.
        let source = self.out.path().join(self.language.source);
        if !source.exists() {
            let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(self.language.source);
            fs::copy(original, &source).unwrap();
        }
        let out = self.out.path().display().to_string();
        let word = |word: &&str| word.replace("SOURCE", &source.display().to_string()).replace("OUT", &out);
        let words: Vec<String> = words.iter().map(word).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// The producer under that umask, dropping into `spool`.
    fn producer(&self, umask: &str, spool: &Path, subject: &str) -> Command {
        let producer = self.command(self.language.run);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("umask {umask}; exec \"$@\"")).arg("sh");
        command.arg(producer.get_program()).args(producer.get_args());
        command.arg(spool).args([TO, subject]);
        // Its descriptors would be waited on by calls that the tracer cannot count.
        command.env("UV_USE_IO_URING", "0");
        command.stdin(Stdio::from(fs::File::open(self.stage.dir().join("body")).unwrap()));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn spool(&self) -> PathBuf {
        self.stage.spool().canonicalize().unwrap()
    }

    fn traced(&self, umask: &str, fail: Option<Fail>) -> Trace {
        let spool = self.spool();
        let watch = Watch { dir: &spool, kill: None, fail, limit: LIMIT };
        let mut command = self.producer(umask, &spool, SUBJECT);
        ptrace::run(command.stderr(Stdio::null()), &watch, drop).unwrap()
    }

    /// The same, where `fail` meets that call. A runtime of several threads may make one more before it, or one less: then what it
    /// left is taken away, and it is run again.
    fn failed_at(&self, what: &str, at: usize, fail: Fail) -> Trace {
        let before = self.stage.names("pickup");
        for _ in 0..8 {
            let trace = self.traced("022", Some(fail));
            let failed = trace.calls.get(at).map(|call| (call.name, call.result));
            if failed
                .is_some_and(|(call, result)| call.starts_with(what) && result == Some(-i64::from(libc::EIO)))
            {
                return trace;
            }
            for name in self.stage.names("pickup").iter().filter(|name| !before.contains(name)) {
                fs::remove_file(self.stage.pickup().join(name)).unwrap();
            }
        }
        panic!("{}: call {at} is never {what}", self.language.name);
    }

    fn expected(&self) -> Vec<u8> {
        [format!("To: {TO}\nSubject: {SUBJECT}\n\n").as_bytes(), BODY].concat()
    }

    /// What lies in pickup/ is these many messages, whole, readable by the group, and nothing else.
    fn check_dropped(&self, count: usize) {
        let names = self.stage.names("pickup");
        assert_eq!(names.len(), count, "{}: {names:?}", self.language.name);
        for name in names {
            let path = self.stage.pickup().join(&name);
            assert!(name.ends_with(".eml") && !name.starts_with('.'), "{}: {name}", self.language.name);
            let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o640, "{}: {name} has mode {mode:o}", self.language.name);
            assert!(fs::read(&path).unwrap() == self.expected(), "{}: {name}", self.language.name);
        }
    }
}

fn of<'c>(
    calls: &'c [Call],
    name: &'c str,
    is_it: impl Fn(&Path) -> bool + 'c,
) -> impl Iterator<Item = usize> + 'c {
    calls
        .iter()
        .enumerate()
        .filter(move |(_, call)| {
            call.name.starts_with(name) && call.paths.first().is_some_and(|path| is_it(path))
        })
        .map(|(number, _)| number)
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Where the file was synced, and where it was renamed; everything written before, the folder synced behind.
fn order(bench: &Bench<'_>, calls: &[Call]) -> (usize, usize) {
    let shown = || format!("{}: {calls:#?}", bench.language.name);
    let written = [of(calls, "write", is_temporary).last(), of(calls, "pwrite", is_temporary).last()];
    let copied =
        [of(calls, "sendfile", is_temporary).last(), of(calls, "copy_file_range", is_temporary).last()];
    let written = written.into_iter().chain(copied).flatten().max();
    let written = written.unwrap_or_else(|| panic!("nothing was written: {}", shown()));
    let synced = of(calls, "fsync", is_temporary).last();
    let synced = synced.unwrap_or_else(|| panic!("the file was not synced: {}", shown()));
    let renamed: Vec<usize> = of(calls, "rename", is_temporary).collect();
    assert!(renamed.len() == 1 && written < synced && synced < renamed[0], "{}", shown());
    let pickup = bench.spool().join("pickup");
    let folder = of(calls, "fsync", |path| path == pickup).any(|at| at > renamed[0]);
    assert!(folder || !bench.language.syncs_folder, "the folder was not synced: {}", shown());
    (synced, renamed[0])
}

fn examine(language: &Language) {
    let bench = Bench::new(language);
    let name = language.name;
    let trace = bench.traced("077", None);
    assert_eq!(trace.status.code(), Some(0), "{name}");
    bench.check_dropped(1);
    let (synced, renamed) = order(&bench, &trace.calls);
    assert_eq!(bench.producer("022", &bench.spool(), SUBJECT).status().unwrap().code(), Some(0), "{name}");
    bench.check_dropped(2);
    for (what, at) in [("fsync", synced), ("rename", renamed)] {
        let fail = Fail { from: at + 1, count: 1, errno: libc::EIO, but_no_sync_of: None };
        let trace = bench.failed_at(what, at, fail);
        assert_eq!(trace.status.code(), Some(75), "{name}: {what} failed: {:#?}", trace.calls);
        bench.check_dropped(2);
    }
    let nowhere = bench.stage.dir().join("nowhere");
    for (spool, subject, code) in [(nowhere, SUBJECT, 75), (bench.spool(), "x\nBcc: evil@example.com", 64)] {
        let output = bench.producer("022", &spool, subject).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert!(!output.stderr.is_empty(), "{name} does not say why");
    }
    bench.check_dropped(2);
    let count = 2 + drop_as_a_member_of_the_group(&bench);
    let flush = bench.stage.pillarbox(&["flush", "--strict"]);
    assert_eq!(flush.code, 0, "{name}: {flush:?}");
    bench.server.wait_taken(count);
    for arrival in bench.server.taken() {
        assert_eq!((arrival.subject().as_str(), &arrival.forward_paths[..]), (SUBJECT, &[TO.to_owned()][..]));
        assert!(
            arrival.bytes.ends_with(b"\r\n\r\nZone 3\r\n.\r\nT\xfcr\r\nno line end\r\n"),
            "{name}: {arrival:?}"
        );
    }
    assert!(bench.stage.is_empty(), "{name}");
}

/// As it is where it is installed: the group may drop and not list. How many were dropped.
fn drop_as_a_member_of_the_group(bench: &Bench<'_>) -> usize {
    if !rustix::process::geteuid().is_root() {
        say("SKIPPED: a producer of another user: only root can be both");
        return 0;
    }
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(bench.stage.dir(), 0o755);
    mode(&bench.stage.spool(), 0o755);
    chown(bench.stage.pickup(), None, Some(NOBODY)).unwrap();
    mode(&bench.stage.pickup(), 0o3730);
    let mut command = bench.producer("077", &bench.spool(), SUBJECT);
    let output = command.uid(NOBODY).gid(NOBODY).env("HOME", bench.out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}: {output:?}", bench.language.name);
    bench.check_dropped(3);
    1
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Past the test harness, which swallows what a test that passes prints.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

#[test]
fn a_producer_in_each_language_drops_whole_messages_and_leaves_nothing_else() {
    let (there, missing): (Vec<&Language>, Vec<&Language>) =
        LANGUAGES.iter().partition(|language| language.needs.iter().all(|program| is_there(program)));
    for language in &missing {
        say(&format!("SKIPPED: examples/{}: there is no {}", language.source, language.needs.join(" and ")));
    }
    let names: Vec<&str> = missing.iter().map(|language| language.name).collect();
    assert!(std::env::var_os("PILLARBOX_ALL_LANGUAGES").is_none() || names.is_empty(), "missing: {names:?}");
    assert!(there.iter().any(|language| language.name == "shell"), "not even a shell");
    thread::scope(|scope| {
        for language in there {
            scope.spawn(|| examine(language));
        }
    });
}
