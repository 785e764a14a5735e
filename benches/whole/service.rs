//! The real binary with a spool of its own.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// A spool on the disk that the build is on.
pub(super) struct Spool {
    pub(super) dir: PathBuf,
}

impl Spool {
    /// An empty one, made by `init`.
    pub(super) fn new(name: &str) -> io::Result<Spool> {
        let dir = scratch(name)?.join("spool");
        let made = Command::new(env!("CARGO_BIN_EXE_pillarbox"))
            .args(["init", "--spool"])
            .arg(&dir)
            .stdout(Stdio::null())
            .status()?;
        match made.success() {
            true => Ok(Spool { dir }),
            false => Err(io::Error::other(format!("pillarbox init failed: {made}"))),
        }
    }

    /// Puts messages in line as an acceptance would have left them, without asking it to.
    pub(super) fn fill(&self, messages: u64, text: &[u8]) -> io::Result<()> {
        for n in 0..messages {
            let name = name(n);
            fs::write(self.dir.join("pending").join(name), text)?;
        }
        fs::File::open(self.dir.join("pending"))?.sync_all()
    }
}

/// `<queue id>_<time>_<label>.eml`, with the number in the first 48 bits of the queue id (a UUIDv7).
fn name(n: u64) -> String {
    let millis = 1_767_225_600_000_u64 + n;
    format!("{:08x}{:04x}70008000000000000000_1767225600_m{n:08}.eml", millis >> 16, millis & 0xffff)
}

/// An empty directory.
pub(super) fn scratch(name: &str) -> io::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole").join(name);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&dir)?,
    }
    Ok(dir)
}

/// `pillarbox run`, killed when it is dropped.
pub(super) struct Service {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
}

impl Service {
    /// Starts it; with a port it sends there.
    pub(super) fn start(spool: &Spool, port: Option<u16>) -> io::Result<Service> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
        command.arg("run").arg("--spool").arg(&spool.dir).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("PILLARBOX_CONFIG");
        let config = spool.dir.with_extension("toml");
        let smarthost = port.map_or(String::new(), |port| {
            format!("[[smarthost]]\nurl = \"smtp://127.0.0.1:{port}\"\ntls = \"none\"\n")
        });
        fs::write(&config, format!("[identity]\nhostname = \"box.example.com\"\n{smarthost}"))?;
        let mut child = command.arg("--config").arg(&config).spawn()?;
        let log = child.stderr.take().map(BufReader::new);
        Ok(Service { child, log })
    }

    /// Reads its log until `events` of this name were logged; the rest of the log is read by nobody but a thread.
    pub(super) fn wait_for(&mut self, event: &str, events: u64) -> io::Result<()> {
        let Some(mut log) = self.log.take() else { return Ok(()) };
        let (mut found, mut line) = (0, String::new());
        while found < events {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("the service ended after {found} times {event}")));
            }
            found += u64::from(line.split_whitespace().nth(2) == Some(event));
        }
        self.log = Some(log);
        Ok(())
    }

    /// Has its log read by a thread, so that it never waits for us.
    pub(super) fn let_it_talk(&mut self) {
        if let Some(mut log) = self.log.take() {
            std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        }
    }

    /// Resident memory, KiB.
    pub(super) fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let word = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        word.parse().map_err(io::Error::other)
    }

    /// The most that it ever had resident, KiB.
    pub(super) fn memory_peak(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let word = line.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        word.parse().map_err(io::Error::other)
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|n| words.get(*n)?.parse::<u64>().ok()).sum();
        // USER_HZ is 100 on Linux.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
