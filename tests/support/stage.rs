//! A spool of its own with its configuration, and the product that works on it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::LIMIT;

/// What would change the configuration of the product under test.
const NOT_INHERITED: [&str; 3] = ["PILLARBOX_CONFIG", "PILLARBOX_SPOOL", "PILLARBOX_SMARTHOST"];

/// The commands that have a configuration.
const ON_A_SPOOL: [&str; 14] = [
    "run", "flush", "send", "import", "status", "list", "show", "retry", "remove", "hold", "release",
    "pause", "resume", "reload",
];

/// A temporary folder with a configuration and a spool.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    binary: PathBuf,
}

/// `[[smarthost]]` without TLS at that port of this host.
pub(crate) fn plain(port: u16) -> String {
    format!("[[smarthost]]\nurl = \"smtp://127.0.0.1:{port}\"\ntls = \"none\"\n")
}

/// A message to these, with its number in the Subject.
pub(crate) fn letter(number: usize, to: &[&str]) -> String {
    format!(
        "From: Panel <panel@example.com>\nTo: {}\nSubject: alarm {number}\n\nZone {number} is open.\n.\n",
        to.join(", ")
    )
}

/// The Subjects of these numbers.
pub(crate) fn alarms(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("alarm {number}")).collect()
}

/// Lets time pass where time is what a test is about; nothing is synchronised with it.
pub(crate) fn pass_time(span: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    receiver.recv_timeout(span).unwrap_err();
}

/// Looks every few milliseconds until `done`; for what tells nobody when it happens.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "still waiting for {what}");
        pass_time(Duration::from_millis(5));
    }
}

impl Stage {
    /// A fresh spool; `delivery` goes below `[delivery]`, `smarthost` is a section.
    pub(crate) fn new(smarthost: &str, delivery: &str) -> Stage {
        let stage = Stage::without_spool();
        stage.configure(smarthost, delivery);
        let init = stage.pillarbox(&["init", "--spool", &stage.spool().display().to_string()]);
        assert_eq!(init.code, 0, "{init:?}");
        stage
    }

    /// An empty folder.
    pub(crate) fn without_spool() -> Stage {
        let dir = tempfile::Builder::new().prefix("pillarbox-test-").tempdir().unwrap();
        Stage { dir, binary: env!("CARGO_BIN_EXE_pillarbox").into() }
    }

    /// The product runs as this binary from now on.
    pub(crate) fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    pub(crate) fn configure(&self, smarthost: &str, delivery: &str) {
        self.configure_all(&format!(
            "[pickup]\nsettle = \"50ms\"\nrescan = \"60s\"\n[identity]\nhostname = \"box.example.com\"\n{smarthost}\
             [delivery]\nretry_interval = \"100ms\"\nkeep_open = \"100ms\"\n{delivery}\n"
        ));
    }

    /// `text` is everything but `[spool]`.
    pub(crate) fn configure_all(&self, text: &str) {
        let spool = self.spool().display().to_string();
        // What is free on the disk of whoever runs the tests is not their matter.
        fs::write(self.config(), format!("[spool]\ndir = {spool:?}\nmin_free = \"0\"\n{text}")).unwrap();
        // It may hold a password.
        fs::set_permissions(self.config(), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Gives a setting that is in the configuration another value.
    pub(crate) fn set(&self, key: &str, value: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        let is_it = |line: &&str| line.starts_with(&format!("{key} = "));
        assert_eq!(text.lines().filter(is_it).count(), 1, "{key} in {text}");
        let line = |line: &str| if is_it(&line) { format!("{key} = {value}\n") } else { format!("{line}\n") };
        fs::write(self.config(), text.lines().map(line).collect::<String>()).unwrap();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir().join("pillarbox.toml")
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir().join("spool")
    }

    pub(crate) fn pickup(&self) -> PathBuf {
        self.spool().join("pickup")
    }

    /// The names in one directory of the spool, sorted.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.spool().join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The records in meta/, without what the sender says about the smarthost, tokens and the room that is set aside.
    pub(crate) fn records(&self) -> Vec<String> {
        let of_no_message =
            |name: &String| name.contains("sender.") || name == ".reserve.tmp" || name.starts_with("oauth-");
        self.names("meta").into_iter().filter(|name| !of_no_message(name)).collect()
    }

    pub(crate) fn read(&self, directory: &str, name: &str) -> String {
        let bytes = fs::read(self.spool().join(directory).join(name)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The one report in failed/, and the message beside it; waits for the two.
    pub(crate) fn the_failed_one(&self) -> (String, String) {
        until("a failed message", || self.names("failed").iter().any(|name| name.ends_with(".eml")));
        let names = self.names("failed");
        let [message, report] = &names[..] else { panic!("expected one failed message, found {names:?}") };
        assert_eq!(message.strip_suffix(".eml"), report.strip_suffix(".txt"), "{names:?}");
        (self.read("failed", report), self.read("failed", message))
    }

    /// Nothing waits, is on its way, or is kept about what is gone.
    pub(crate) fn is_empty(&self) -> bool {
        let directories = ["pickup", "pending", "sending"];
        directories.iter().all(|dir| self.names(dir).is_empty()) && self.records().is_empty()
    }

    pub(crate) fn wait_empty(&self) {
        until("an empty spool", || self.is_empty());
    }

    /// Drops a message the way a careful producer does.
    pub(crate) fn drop_in(&self, name: impl AsRef<OsStr>, bytes: impl AsRef<[u8]>) {
        let hidden = self.dir().join("being written");
        fs::write(&hidden, bytes).unwrap();
        fs::rename(hidden, self.pickup().join(name.as_ref())).unwrap();
    }

    /// Drops `1.eml`, `2.eml`... to one recipient, no two within one tick of the filesystem's clock.
    pub(crate) fn drop_letters(&self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            self.drop_in(format!("{number}.eml"), letter(number, &["ops@example.com"]));
            self.next_tick();
        }
    }

    /// Waits until what is dropped has another time than what was dropped before: a file that no event told of is
    /// put in its place by its time.
    pub(crate) fn next_tick(&self) {
        let probe = self.dir().join("probe");
        let now = || {
            fs::write(&probe, "").unwrap();
            fs::metadata(&probe).map(|stat| (stat.ctime(), stat.ctime_nsec())).unwrap()
        };
        let before = now();
        until("a tick of the filesystem's clock", || now() > before);
    }

    /// The product with its configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.dir()).stdin(Stdio::null());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // Every command that works on a spool; `--help` and the like have none.
        if arguments.first().is_some_and(|first| ON_A_SPOOL.contains(first))
            && !arguments.contains(&"--config")
        {
            command.arg("--config").arg(self.config());
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn pillarbox(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments))
    }

    /// Starts the service and waits until it is ready.
    pub(crate) fn run(&self) -> Service {
        let service = self.start(self.command(&["run"]));
        service.wait_log("ready");
        service
    }

    /// Starts `command`, which is the service.
    pub(crate) fn start(&self, mut command: Command) -> Service {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().unwrap();
        let for_thread = Arc::clone(&log);
        thread::spawn(move || for_thread.follow(stderr));
        Service { child, log }
    }

    /// `status --json`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let ran = self.pillarbox(&["status", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// `list --json`, a value a line.
    pub(crate) fn list(&self) -> Vec<serde_json::Value> {
        let ran = self.pillarbox(&["list", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `command` to its end.
pub(crate) fn finish(mut command: Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let gather = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stderr = thread::spawn(move || gather(&mut err));
    let stdout = thread::spawn(move || gather(&mut out));
    let status = end_of(&mut child, &format!("{command:?}"));
    let code = status.code().unwrap_or_else(|| panic!("{command:?} ended with {status}"));
    Ran { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn end_of(child: &mut Child, what: &str) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().ok();
            panic!("{what} still runs after {LIMIT:?}");
        }
        pass_time(Duration::from_millis(5));
    }
}

#[derive(Default)]
struct Log {
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Log {
    fn follow(&self, from: impl Read) {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            let read = from.read_until(b'\n', &mut line).unwrap_or(0);
            let mut text = self.text.lock().unwrap();
            text.0.push_str(&String::from_utf8_lossy(&line));
            text.1 |= read == 0;
            let ended = text.1;
            drop(text);
            self.changed.notify_all();
            if ended {
                return;
            }
        }
    }
}

/// The running service; it is killed when this is dropped.
pub(crate) struct Service {
    child: Child,
    log: Arc<Log>,
}

impl Service {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it said so far.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().0.clone()
    }

    /// Waits for a line of the log that has all of these words in this order.
    pub(crate) fn wait_log(&self, words: &str) {
        self.wait_log_times(words, 1);
    }

    /// Waits for that many lines of the log that have all of these words in this order.
    pub(crate) fn wait_log_times(&self, words: &str, times: usize) {
        let missing = |text: &String| text.lines().filter(|line| has(line, words)).count() < times;
        let waited =
            self.log.changed.wait_timeout_while(self.log.text.lock().unwrap(), LIMIT, |(text, ended)| {
                missing(text) && !*ended
            });
        let text = waited.unwrap().0.0.clone();
        assert!(!missing(&text), "{words:?} is not {times} times in the log:\n{text}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for its end, and gives its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        let status = end_of(&mut self.child, "the service");
        status.code().unwrap_or_else(|| panic!("the service ended with {status}:\n{}", self.log()))
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            std::io::stderr().write_all(self.log().as_bytes()).ok();
        }
    }
}

/// Whether the words stand in `line` in this order. The level and the event in front stand alone.
pub(crate) fn has(line: &str, words: &str) -> bool {
    // An event without fields ends its line.
    let line = format!("{line} ");
    let mut rest = line.as_str();
    words.split(' ').enumerate().all(|(number, word)| {
        let is_level = ["ERROR", "WARN", "INFO"].iter().any(|level| words.starts_with(level));
        let found = match is_level && number < 2 {
            true => rest.find(&format!(" {word} ")),
            false => rest.find(word),
        };
        match found {
            Some(at) => {
                rest = &rest[at + word.len()..];
                true
            }
            None => false,
        }
    })
}
