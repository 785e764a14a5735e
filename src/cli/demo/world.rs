//! The stage: a temporary folder, the smarthost in this process, the service as a child process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::broken;
use super::ledger::{Arrived, Dropped, Ledger};
use super::show::now;
use crate::catch::{AnswerMode, Catch, Caught, Options};
use crate::cli::{Failure, exit};

/// How often folders and processes are looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// For commands, and for the service to come up or to end.
const SOON: Duration = Duration::from_secs(10);

/// What would change the configuration or the manners of the program that is shown.
const NOT_INHERITED: [&str; 4] =
    ["PILLARBOX_CONFIG", "PILLARBOX_SPOOL", "PILLARBOX_SMARTHOST", "NOTIFY_SOCKET"];

pub(super) struct World {
    dir: PathBuf,
    program: PathBuf,
    catch: Catch,
    service: Option<Child>,
    interrupted: Receiver<()>,
    pub(super) ledger: Ledger,
}

impl World {
    /// A folder for its owner alone, a smarthost on a free port, a configuration.
    /// What comes out of `interrupted` ends the next wait.
    pub(super) fn make(interrupted: Receiver<()>) -> Result<World, Failure> {
        let unavailable = |what: &str, e: &dyn std::fmt::Display| {
            Failure::new(exit::UNAVAILABLE, format!("demo: cannot {what}: {e}"))
        };
        let program = std::env::current_exe().map_err(|e| unavailable("find this program", &e))?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let catch = Catch::start(Options { listen, store: None, answer: AnswerMode::Accept })
            .map_err(|e| unavailable("start a smarthost to talk to", &e))?;
        let unique = uuid::Uuid::new_v4().as_u128() as u32;
        let dir = std::env::temp_dir().join(format!("pillarbox-demo-{unique:08x}"));
        let world = World { dir, program, catch, service: None, interrupted, ledger: Ledger::default() };
        let made = DirBuilder::new().mode(0o700).create(&world.dir);
        made.and_then(|()| new_file(&world.path("pillarbox.toml"))?.write_all(world.config().as_bytes()))
            .map_err(|e| {
                Failure::new(exit::CANTCREAT, format!("demo: cannot make {}: {e}", world.dir.display()))
            })?;
        Ok(world)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The configuration file, as its user would write it.
    pub(super) fn config(&self) -> String {
        format!(
            "[spool]\ndir = \"{}\"\n\n[identity]\nhostname = \"demo.example.com\"\n\n\
             [[smarthost]]\nurl = \"smtp://{}\"\ntls = \"none\"\n\n[delivery]\nretry_interval = \"1s\"\n",
            self.path("spool").display(),
            self.catch.address()
        )
    }

    /// What goes behind `--config`.
    pub(super) fn config_path(&self) -> String {
        self.path("pillarbox.toml").display().to_string()
    }

    /// Whether the smarthost answers or is not there at all.
    pub(super) fn set_smarthost(&self, answer: AnswerMode) -> Result<(), Failure> {
        self.catch.set_answer(answer).map_err(|e| {
            Failure::new(exit::UNAVAILABLE, format!("demo: cannot change the smarthost to {answer}: {e}"))
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program to its end; what it printed, on both outputs.
    pub(super) fn run(&mut self, arguments: &[&str]) -> Result<String, Failure> {
        let what = format!("pillarbox {}", arguments.join(" "));
        let output = self.path(&format!("{}.output", arguments.first().unwrap_or(&"pillarbox")));
        let into = new_file(&output).map_err(|e| broken(format!("cannot make {}: {e}", output.display())))?;
        let mut child = spawn(self.command(arguments), into).map_err(|e| broken(format!("{what}: {e}")))?;
        let mut status = None;
        let ended = self.wait(&format!("the end of `{what}`"), SOON, |_| {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if ended.is_err() {
            end(&mut child);
        }
        ended?;
        let printed = read(&output);
        match status {
            Some(status) if status.success() => Ok(printed),
            _ => Err(broken(format!("`{what}` failed:\n{}", printed.trim_end()))),
        }
    }

    /// Starts the service and waits until it says that it is ready; its process id.
    pub(super) fn start_service(&mut self) -> Result<u32, Failure> {
        let log = self.path("log");
        let before = read(&log).len();
        let into = OpenOptions::new().append(true).create(true).mode(0o600).open(&log);
        let child =
            into.and_then(|into| spawn(self.command(&["run", "--config", &self.config_path()]), into));
        let child = child.map_err(|e| broken(format!("cannot start the service: {e}")))?;
        let pid = child.id();
        self.service = Some(child);
        let is_ready = |line: &str| line.split(' ').any(|word| word == "ready");
        self.wait("\"ready\" in the log of the service", SOON, |_| {
            read(&log).get(before..).is_some_and(|new| new.lines().any(is_ready))
        })?;
        Ok(pid)
    }

    /// The process id of the service; 0 if none runs.
    pub(super) fn service_id(&self) -> u32 {
        self.service.as_ref().map_or(0, Child::id)
    }

    /// kill -9: the service gets no chance to put anything in order.
    pub(super) fn kill_service(&mut self) {
        if let Some(mut child) = self.service.take() {
            end(&mut child);
        }
    }

    /// Asks the service to end, as a service manager does.
    pub(super) fn stop_service(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.service.take() else { return Ok(()) };
        let pid = rustix::process::Pid::from_child(&child);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let mut status = None;
        let ended = self.wait("the end of the service after SIGTERM", SOON, |_| {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        end(&mut child);
        ended?;
        match (asked, status) {
            (Ok(()), Some(status)) if status.success() => Ok(()),
            (_, status) => Err(broken(format!("the service ended badly after SIGTERM: {status:?}"))),
        }
    }

    /// Drops a message as a careful producer does: written under a name that starts with a dot, then renamed.
    pub(super) fn drop_file(&mut self, name: &str, subject: &str, text: String) -> Result<(), Failure> {
        let pickup = self.path("spool/pickup");
        let (hidden, shown) = (pickup.join(format!(".{name}")), pickup.join(name));
        let written = new_file(&hidden).and_then(|mut file| file.write_all(text.as_bytes()));
        let at = now();
        written
            .and_then(|()| rename(&hidden, &shown))
            .map_err(|e| broken(format!("cannot drop {}: {e}", shown.display())))?;
        self.ledger.dropped.push(Dropped { subject: subject.into(), text, at });
        Ok(())
    }

    /// The names in one of the folders of the spool, sorted, without those that start with a dot.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        // One that cannot be read shows as empty, and what is waited for in it does not come.
        let entries = std::fs::read_dir(self.path("spool").join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// The text of a file in one of the folders of the spool.
    pub(super) fn text(&self, folder: &str, name: &str) -> String {
        read(&self.path("spool").join(folder).join(name))
    }

    /// Messages and their places in the ledger start here for what is dropped from now on.
    pub(super) fn mark(&self) -> usize {
        self.ledger.dropped.len()
    }

    /// How many messages wait or are in flight.
    pub(super) fn waiting(&self) -> usize {
        self.names("pending").len() + self.names("sending").len()
    }

    /// Waits until `met`, which is asked after each final dot and every few milliseconds. Fails with `what`
    /// after `limit`, when the service ends by itself, and when the user ends the demo.
    pub(super) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut met: impl FnMut(&World) -> bool,
    ) -> Result<(), Failure> {
        let start = now();
        loop {
            if met(self) {
                return Ok(());
            }
            if self.interrupted.try_recv().is_ok() {
                return Err(Failure::new(exit::TEMPFAIL, "demo: ended by a signal"));
            }
            if now().duration_since(start) > limit {
                let passed = limit.as_secs();
                let waiting = self.waiting();
                let arrived = self.ledger.arrived.len();
                return Err(broken(format!(
                    "waited {passed} s in vain for {what} ({arrived} arrived so far, {waiting} in the spool)\n{}",
                    self.log_tail()
                )));
            }
            if let Some(Ok(Some(status))) = self.service.as_mut().map(Child::try_wait) {
                self.service = None;
                return Err(broken(format!("the service ended by itself: {status}\n{}", self.log_tail())));
            }
            self.listen(LOOK)?;
        }
    }

    /// Takes one event of the smarthost, if one comes soon.
    fn listen(&mut self, limit: Duration) -> Result<(), Failure> {
        match self.catch.events().recv_timeout(limit) {
            Ok(Caught::Message { bytes, answered: 250, .. }) => {
                self.ledger.arrived.push(Arrived { bytes, at: now() });
                Ok(())
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(broken("the smarthost of the demo has stopped")),
        }
    }

    fn log_tail(&self) -> String {
        let log = read(&self.path("log"));
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(15)..];
        format!("the last lines of its log:\n  {}", tail.join("\n  "))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_service();
    }
}

/// SIGKILL, and waits for it to have worked.
fn end(child: &mut Child) {
    // Fails only for a child that has been waited for already: then it has ended.
    drop(child.kill());
    drop(child.wait());
}

fn spawn(mut command: Command, into: File) -> io::Result<Child> {
    command.stdout(into.try_clone()?).stderr(into).spawn()
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[expect(clippy::disallowed_methods, reason = "the demo plays the producer, and this is what producers do")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// What a file holds; nothing if it is not there yet.
fn read(path: &Path) -> String {
    std::fs::read(path).map_or(String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::mpsc;

    use super::*;

    /// In the tests the program beside the demo is this test binary.
    fn world() -> (World, mpsc::Sender<()>) {
        let (interrupt, interrupted) = mpsc::channel();
        (World::make(interrupted).unwrap(), interrupt)
    }

    fn remove(world: World) {
        let dir = world.dir().to_owned();
        drop(world);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_folder_is_for_its_owner_alone_and_holds_a_configuration() {
        let (world, _interrupt) = world();
        let mode = std::fs::metadata(world.dir()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let config: toml::Table = read(Path::new(&world.config_path())).parse().unwrap();
        assert_eq!(config["delivery"]["retry_interval"].as_str(), Some("1s"));
        let url = config["smarthost"][0]["url"].as_str().unwrap();
        assert!(url.starts_with("smtp://127.0.0.1:") && !url.ends_with(":0"), "{url}");
        remove(world);
    }

    #[test]
    fn what_a_command_printed_is_returned_and_its_failure_is_ours() {
        let (mut world, _interrupt) = world();
        assert!(world.run(&["--list"]).unwrap().contains("what_a_command_printed"));
        let failure = world.run(&["--no-such-option"]).unwrap_err();
        assert_eq!(failure.code, exit::SOFTWARE);
        assert!(failure.message.contains("`pillarbox --no-such-option` failed"), "{failure}");
        remove(world);
    }

    #[test]
    fn a_service_that_ends_by_itself_is_told_with_its_log() {
        let (mut world, _interrupt) = world();
        let failure = world.start_service().unwrap_err();
        assert!(failure.message.contains("the service ended by itself"), "{failure}");
        assert!(failure.message.contains("config"), "the log is missing in {failure}");
        remove(world);
    }

    #[test]
    fn a_wait_says_what_it_waited_for_and_ends_when_interrupted() {
        let (mut world, interrupt) = world();
        let failure = world.wait("rain", Duration::ZERO, |_| false).unwrap_err();
        assert!(failure.message.contains("in vain for rain"), "{failure}");
        interrupt.send(()).unwrap();
        let failure = world.wait("rain", SOON, |_| false).unwrap_err();
        assert_eq!(failure.code, exit::TEMPFAIL);
        remove(world);
    }

    #[test]
    fn a_file_is_dropped_whole_and_entered() {
        let (mut world, _interrupt) = world();
        assert!(world.drop_file("a.eml", "a", "x".into()).is_err());
        DirBuilder::new().recursive(true).create(world.path("spool/pickup")).unwrap();
        world.drop_file("a.eml", "a", "Subject: a\n".into()).unwrap();
        assert_eq!((world.names("pickup"), world.mark()), (vec!["a.eml".to_owned()], 1));
        assert_eq!(world.text("pickup", "a.eml"), "Subject: a\n");
        remove(world);
    }
}
