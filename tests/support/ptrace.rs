//! Runs a command under ptrace, counts the file-system calls it makes below one directory, and
//! can kill it with SIGKILL right before or right after any one of them, or let calls fail that were never made.
//!
//! All threads and children are followed; the counter is one for all of them, in the order in
//! which the kernel reports the calls. A call counts if one of its paths, or the file behind one
//! of its descriptors, lies in the directory: loading of libraries, sockets and terminals do not.
//! What cannot be seen this way is stores into a shared mapping. Calls through `io_uring` could
//! not be seen either: a command that sets one up is an error, not a clean result.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libc::{c_int, c_long, c_void, pid_t};

/// On which side of the call the kill falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The call is cancelled: it never happened.
    Before,
    /// The call has happened; the program never sees its result.
    After,
}

/// Calls that fail without being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fail {
    /// The number of the first call that fails, from 1.
    pub(crate) from: usize,
    /// So many fail in a row.
    pub(crate) count: usize,
    /// With this error.
    pub(crate) errno: c_int,
    /// A sync of a file in a directory called this is let through.
    pub(crate) but_no_sync_of: Option<&'static str>,
}

/// Calls below directories whose names begin like this count as well: folders on another filesystem.
pub(crate) const FOREIGN: &str = "/dev/shm/pillarbox-there-";

fn is_foreign(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(FOREIGN.as_bytes())
}

/// What to count, and where to kill.
pub(crate) struct Watch<'a> {
    /// Calls below this directory count. Absolute, without symbolic links.
    pub(crate) dir: &'a Path,
    /// The number of the call, from 1, and the side of it.
    pub(crate) kill: Option<(usize, When)>,
    /// Which calls fail.
    pub(crate) fail: Option<Fail>,
    /// After this long the command is killed and the run is an error.
    pub(crate) limit: Duration,
}

/// One counted call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The kernel's name for it.
    pub(crate) name: &'static str,
    /// The paths it is about, below the directory of the watch.
    pub(crate) paths: Vec<PathBuf>,
    /// What it returned (negative: -errno), if the command lived to see its end.
    pub(crate) result: Option<i64>,
}

/// What was seen.
pub(crate) struct Trace {
    /// The counted calls in order.
    pub(crate) calls: Vec<Call>,
    /// How the command ended.
    pub(crate) status: ExitStatus,
    /// Whether the kill asked for took place.
    pub(crate) killed: bool,
}

impl Trace {
    /// How often each call was seen, by name.
    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for call in &self.calls {
            *names.entry(call.name).or_default() += 1;
        }
        names
    }
}

impl Fail {
    fn covers(&self, nth: usize) -> bool {
        (self.from..self.from + self.count).contains(&nth)
    }

    fn lets_through(&self, call: &Call) -> bool {
        let below = |path: &PathBuf| {
            let parent = path.parent().and_then(Path::file_name);
            parent.is_some_and(|parent| Some(parent) == self.but_no_sync_of.map(AsRef::as_ref))
        };
        call.name == "fsync" && call.paths.iter().any(below)
    }
}

/// A process that cannot be mistaken for another one that got its number.
pub(crate) struct Process(OwnedFd);

impl Process {
    /// The process of `child`, which must not have been waited for.
    pub(crate) fn of(child: &Child) -> io::Result<Process> {
        Process::open(child.id() as pid_t)
    }

    fn open(pid: pid_t) -> io::Result<Process> {
        // SAFETY: pidfd_open takes two integers; a non-negative result is a new descriptor of ours.
        unsafe {
            let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
            Ok(Process(OwnedFd::from_raw_fd(fd as c_int)))
        }
    }

    /// Sends `signal`; a process that has ended is no error.
    pub(crate) fn signal(&self, signal: c_int) -> io::Result<()> {
        let none = ptr::null::<c_void>();
        // SAFETY: the descriptor is open, and no siginfo is passed.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, none, 0) };
        match check(sent) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether the process ended within `limit`.
    pub(crate) fn ended_within(&self, limit: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd is passed.
        unsafe { libc::poll(&mut poll, 1, limit.as_millis() as c_int) != 0 }
    }
}

/// Runs `command` under the watch until it and all its children have ended.
///
/// `started` is called once with the process before its first instruction. The tracer is the
/// calling thread; it must have no other children. Several threads may trace at the same time.
pub(crate) fn run(
    command: &mut Command,
    watch: &Watch<'_>,
    started: impl FnOnce(Process),
) -> io::Result<Trace> {
    let trace_me = || {
        // SAFETY: PTRACE_TRACEME reads no other argument; ptrace is async-signal-safe.
        check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
    };
    // SAFETY: between fork and exec only one system call is made.
    let child = unsafe { command.pre_exec(trace_me) }.spawn()?;
    let pid = child.id() as pid_t;
    let timed_out = AtomicBool::new(false);
    let watched = Process::open(pid)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            if !watched.ended_within(watch.limit) {
                timed_out.store(true, Ordering::SeqCst);
                // Nothing is left to do if this fails: the run then goes on to its own end.
                watched.signal(libc::SIGKILL).ok();
            }
        });
        let mut tracer = Tracer::new(pid, watch);
        let traced = Process::open(pid).and_then(|process| tracer.follow(|| started(process)));
        if traced.is_err() {
            tracer.kill();
            tracer.reap();
        }
        if timed_out.load(Ordering::SeqCst) {
            let last = tracer.calls.last();
            return Err(io::Error::other(format!(
                "still running after {:?}; last call {last:?}",
                watch.limit
            )));
        }
        traced.map(|status| Trace { calls: tracer.calls, status, killed: tracer.killed })
    })
}

/// What a system-call stop is about (PTRACE_GET_SYSCALL_INFO).
enum Stop {
    Entry { number: c_long, args: [u64; 6] },
    Exit { result: i64 },
    Other,
}

struct Tracer<'a> {
    watch: &'a Watch<'a>,
    root: pid_t,
    live: HashSet<pid_t>,
    /// The call that each thread is in.
    inside: HashMap<pid_t, usize>,
    /// The error that each thread gets from the call that was not made for it.
    failing: HashMap<pid_t, c_int>,
    calls: Vec<Call>,
    killed: bool,
}

impl<'a> Tracer<'a> {
    fn new(root: pid_t, watch: &'a Watch<'a>) -> Tracer<'a> {
        let live = HashSet::from([root]);
        Tracer {
            watch,
            root,
            live,
            inside: HashMap::new(),
            failing: HashMap::new(),
            calls: Vec::new(),
            killed: false,
        }
    }

    fn follow(&mut self, started: impl FnOnce()) -> io::Result<ExitStatus> {
        let (_, status) = wait_any(self.root)?;
        if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) != libc::SIGTRAP {
            return Err(io::Error::other(format!("expected the stop after exec, found status {status:#x}")));
        }
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACEEXEC
            | libc::PTRACE_O_EXITKILL;
        // SAFETY: the tracee is stopped; options are passed by value.
        check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, self.root, 0, options as c_long) })?;
        started();
        resume(self.root, 0)?;

        let mut ended = None;
        loop {
            let (tid, status) = match wait_any(-1) {
                Ok(found) => found,
                Err(e) if e.raw_os_error() == Some(libc::ECHILD) => break,
                Err(e) => return Err(e),
            };
            if !libc::WIFSTOPPED(status) {
                self.live.remove(&tid);
                self.inside.remove(&tid);
                if tid == self.root {
                    ended = Some(ExitStatus::from_raw(status));
                }
                continue;
            }
            self.live.insert(tid);
            let deliver = match libc::WSTOPSIG(status) {
                signal if signal == libc::SIGTRAP | 0x80 => {
                    self.system_call(tid)?;
                    0
                }
                // Events (a new thread, an exec) and the first stop of what is new.
                libc::SIGTRAP | libc::SIGSTOP => 0,
                signal => signal,
            };
            resume(tid, deliver)?;
        }
        ended.ok_or_else(|| io::Error::other("the command vanished without an exit status"))
    }

    fn system_call(&mut self, tid: pid_t) -> io::Result<()> {
        match self.stop(tid)? {
            Stop::Entry { number, args } => self.entry(tid, number, &args),
            Stop::Exit { result } => {
                let result = match self.failing.remove(&tid) {
                    Some(errno) => {
                        set_result(tid, -i64::from(errno))?;
                        -i64::from(errno)
                    }
                    None => result,
                };
                if let Some(call) = self.inside.remove(&tid) {
                    self.calls[call].result = Some(result);
                    if self.watch.kill == Some((call + 1, When::After)) {
                        self.killed = true;
                        self.kill();
                    }
                }
                Ok(())
            }
            Stop::Other => Ok(()),
        }
    }

    fn entry(&mut self, tid: pid_t, number: c_long, args: &[u64; 6]) -> io::Result<()> {
        if number == libc::SYS_io_uring_setup && !self.killed {
            return Err(io::Error::other("found io_uring_setup: calls made through it cannot be counted"));
        }
        let Some((name, operands)) = shape(number, args) else { return Ok(()) };
        let paths: Vec<PathBuf> = operands
            .iter()
            .filter_map(|operand| operand.resolve(tid, args))
            .filter(|path| path.starts_with(self.watch.dir) || is_foreign(path))
            .collect();
        // After the kill the other threads may still report the calls that they had begun.
        if paths.is_empty() || self.killed {
            return Ok(());
        }
        self.calls.push(Call { name, paths, result: None });
        let nth = self.calls.len();
        // To be asked whether somebody writes is no matter of the disk.
        let is_disk = !matches!(name, "fcntl(F_SETLEASE)" | "flock");
        let fails = |fail: &Fail| is_disk && fail.covers(nth) && !fail.lets_through(&self.calls[nth - 1]);
        if let Some(fail) = self.watch.fail.filter(fails) {
            cancel(tid)?;
            self.failing.insert(tid, fail.errno);
        }
        if self.watch.kill == Some((nth, When::Before)) {
            cancel(tid)?;
            self.killed = true;
            self.kill();
        } else {
            self.inside.insert(tid, nth - 1);
        }
        Ok(())
    }

    fn stop(&self, tid: pid_t) -> io::Result<Stop> {
        // struct ptrace_syscall_info: op u8, padding, arch u32, ip u64, sp u64, then a union of
        // { nr u64, args [u64; 6] } and { rval i64, is_error u8 }.
        const GET_SYSCALL_INFO: c_int = 0x420e;
        let mut info = [0u64; 11];
        let size = mem::size_of_val(&info);
        // SAFETY: the tracee is stopped, and the kernel writes at most `size` bytes.
        let got = unsafe { libc::ptrace(GET_SYSCALL_INFO as _, tid, size, info.as_mut_ptr()) };
        match check(got) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(Stop::Other),
            other => other?,
        };
        Ok(match info[0].to_ne_bytes()[0] {
            1 => {
                let mut args = [0; 6];
                args.copy_from_slice(&info[4..10]);
                Stop::Entry { number: info[3] as c_long, args }
            }
            2 => Stop::Exit { result: info[3] as i64 },
            _ => Stop::Other,
        })
    }

    fn kill(&self) {
        for tid in &self.live {
            // SAFETY: plain kill; every member is a tracee that we have not reaped.
            unsafe { libc::kill(*tid, libc::SIGKILL) };
        }
    }

    fn reap(&self) {
        while let Ok((tid, status)) = wait_any(-1) {
            if libc::WIFSTOPPED(status) {
                // SAFETY: plain kill of a tracee that we have not reaped.
                unsafe { libc::kill(tid, libc::SIGKILL) };
                resume(tid, 0).ok();
            }
        }
    }
}

/// An argument that names a file.
enum Operand {
    /// The descriptor in this argument.
    Fd(usize),
    /// The path in this argument, from the working directory.
    Path(usize),
    /// The descriptor of a directory in the first argument, the path from there in the second.
    At(usize, usize),
}

impl Operand {
    fn resolve(&self, tid: pid_t, args: &[u64; 6]) -> Option<PathBuf> {
        match *self {
            Operand::Fd(fd) => open_file(tid, args[fd]),
            Operand::Path(path) => Some(below(working_directory(tid)?, string_at(tid, args[path])?)),
            Operand::At(fd, path) => {
                let base = match args[fd] as c_int {
                    libc::AT_FDCWD => working_directory(tid),
                    _ => open_file(tid, args[fd]),
                };
                let path = if args[path] == 0 { PathBuf::new() } else { string_at(tid, args[path])? };
                // An absolute path does not need the base, which may be no descriptor at all.
                if path.is_absolute() { Some(below(PathBuf::new(), path)) } else { Some(below(base?, path)) }
            }
        }
    }
}

fn open_file(tid: pid_t, fd: u64) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{tid}/fd/{}", fd as c_int)).ok()
}

fn working_directory(tid: pid_t) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{tid}/cwd")).ok()
}

/// `path` from `base`, `.` and `..` taken out by their letters: links are not looked at.
fn below(base: PathBuf, path: PathBuf) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

fn string_at(tid: pid_t, address: u64) -> Option<PathBuf> {
    const PAGE: usize = 4096;
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        let from = address as usize + text.len();
        let mut chunk = [0u8; PAGE];
        // To the end of the page: the next one may not be mapped.
        let len = PAGE - from % PAGE;
        let local = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: len };
        let remote = libc::iovec { iov_base: from as *mut c_void, iov_len: len };
        // SAFETY: `local` is a buffer of ours of at least `len` bytes; `remote` is checked by the kernel.
        let got = unsafe { libc::process_vm_readv(tid, &local, 1, &remote, 1, 0) };
        let got = chunk.get(..usize::try_from(got).ok()?)?;
        if let Some(end) = got.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&got[..end]);
            return Some(OsString::from_vec(text).into());
        }
        text.extend_from_slice(got);
    }
    None
}

/// The name of a counted call and where it names files; `None` for all others.
fn shape(number: c_long, args: &[u64; 6]) -> Option<(&'static str, &'static [Operand])> {
    use Operand::{At, Fd, Path};
    let known: (&'static str, &'static [Operand]) = match number {
        libc::SYS_openat => ("openat", &[At(0, 1)]),
        libc::SYS_openat2 => ("openat2", &[At(0, 1)]),
        libc::SYS_renameat2 => ("renameat2", &[At(0, 1), At(2, 3)]),
        libc::SYS_unlinkat => ("unlinkat", &[At(0, 1)]),
        libc::SYS_linkat => ("linkat", &[At(0, 1), At(2, 3)]),
        libc::SYS_symlinkat => ("symlinkat", &[At(1, 2)]),
        libc::SYS_mkdirat => ("mkdirat", &[At(0, 1)]),
        libc::SYS_mknodat => ("mknodat", &[At(0, 1)]),
        libc::SYS_fchmodat => ("fchmodat", &[At(0, 1)]),
        libc::SYS_fchownat => ("fchownat", &[At(0, 1)]),
        libc::SYS_utimensat => ("utimensat", &[At(0, 1)]),
        libc::SYS_truncate => ("truncate", &[Path(0)]),
        libc::SYS_setxattr => ("setxattr", &[Path(0)]),
        libc::SYS_fsync => ("fsync", &[Fd(0)]),
        libc::SYS_fdatasync => ("fdatasync", &[Fd(0)]),
        libc::SYS_syncfs => ("syncfs", &[Fd(0)]),
        libc::SYS_write => ("write", &[Fd(0)]),
        libc::SYS_writev => ("writev", &[Fd(0)]),
        libc::SYS_pwrite64 => ("pwrite64", &[Fd(0)]),
        libc::SYS_pwritev => ("pwritev", &[Fd(0)]),
        libc::SYS_pwritev2 => ("pwritev2", &[Fd(0)]),
        libc::SYS_sendfile => ("sendfile", &[Fd(0)]),
        libc::SYS_copy_file_range => ("copy_file_range", &[Fd(2)]),
        libc::SYS_ftruncate => ("ftruncate", &[Fd(0)]),
        libc::SYS_fallocate => ("fallocate", &[Fd(0)]),
        libc::SYS_fchmod => ("fchmod", &[Fd(0)]),
        libc::SYS_fchown => ("fchown", &[Fd(0)]),
        libc::SYS_fsetxattr => ("fsetxattr", &[Fd(0)]),
        libc::SYS_ioctl => match args[1] as libc::Ioctl {
            libc::FICLONE => ("ioctl(FICLONE)", &[Fd(0)]),
            libc::FICLONERANGE => ("ioctl(FICLONERANGE)", &[Fd(0)]),
            _ => return None,
        },
        libc::SYS_flock => ("flock", &[Fd(0)]),
        libc::SYS_fcntl => match args[1] as c_int {
            libc::F_SETLEASE => ("fcntl(F_SETLEASE)", &[Fd(0)]),
            libc::F_SETLK | libc::F_SETLKW => ("fcntl(F_SETLK)", &[Fd(0)]),
            libc::F_OFD_SETLK | libc::F_OFD_SETLKW => ("fcntl(F_OFD_SETLK)", &[Fd(0)]),
            _ => return None,
        },
        _ => return shape_here(number),
    };
    Some(known)
}

/// The calls that only this architecture has, or that the crate `libc` numbers only here.
#[cfg(target_arch = "x86_64")]
fn shape_here(number: c_long) -> Option<(&'static str, &'static [Operand])> {
    use Operand::{At, Fd, Path};
    Some(match number {
        libc::SYS_open => ("open", &[Path(0)]),
        libc::SYS_creat => ("creat", &[Path(0)]),
        libc::SYS_rename => ("rename", &[Path(0), Path(1)]),
        libc::SYS_renameat => ("renameat", &[At(0, 1), At(2, 3)]),
        libc::SYS_unlink => ("unlink", &[Path(0)]),
        libc::SYS_rmdir => ("rmdir", &[Path(0)]),
        libc::SYS_link => ("link", &[Path(0), Path(1)]),
        libc::SYS_symlink => ("symlink", &[Path(1)]),
        libc::SYS_mkdir => ("mkdir", &[Path(0)]),
        libc::SYS_mknod => ("mknod", &[Path(0)]),
        libc::SYS_chmod => ("chmod", &[Path(0)]),
        libc::SYS_chown => ("chown", &[Path(0)]),
        libc::SYS_lchown => ("lchown", &[Path(0)]),
        libc::SYS_sync_file_range => ("sync_file_range", &[Fd(0)]),
        _ => return None,
    })
}

/// The calls that only this architecture has, or that the crate `libc` does not number here.
#[cfg(target_arch = "aarch64")]
fn shape_here(number: c_long) -> Option<(&'static str, &'static [Operand])> {
    use Operand::{At, Fd};
    // The numbers are those of the kernel's include/uapi/asm-generic/unistd.h.
    const RENAMEAT: c_long = 38;
    const SYNC_FILE_RANGE: c_long = 84;
    Some(match number {
        RENAMEAT => ("renameat", &[At(0, 1), At(2, 3)]),
        SYNC_FILE_RANGE => ("sync_file_range", &[Fd(0)]),
        _ => return None,
    })
}

/// Makes the system call that `tid` is about to enter one that does not exist.
#[cfg(target_arch = "x86_64")]
fn cancel(tid: pid_t) -> io::Result<()> {
    let offset = libc::ORIG_RAX as c_long * 8;
    // SAFETY: the tracee is stopped; the word written is its own register.
    check(unsafe { libc::ptrace(libc::PTRACE_POKEUSER, tid, offset, -1 as c_long) }).map(drop)
}

/// Makes the system call that `tid` is about to enter one that does not exist.
#[cfg(target_arch = "aarch64")]
fn cancel(tid: pid_t) -> io::Result<()> {
    const NT_ARM_SYSTEM_CALL: c_long = 0x404;
    let mut number: c_int = -1;
    let mut part = libc::iovec { iov_base: (&raw mut number).cast(), iov_len: mem::size_of::<c_int>() };
    // SAFETY: the tracee is stopped; the kernel reads one int through `part`.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &raw mut part) }).map(drop)
}

/// Sets what the system call that `tid` is about to leave has returned.
#[cfg(target_arch = "x86_64")]
fn set_result(tid: pid_t, result: i64) -> io::Result<()> {
    let offset = libc::RAX as c_long * 8;
    // SAFETY: the tracee is stopped; the word written is its own register.
    check(unsafe { libc::ptrace(libc::PTRACE_POKEUSER, tid, offset, result) }).map(drop)
}

/// Sets what the system call that `tid` is about to leave has returned.
#[cfg(target_arch = "aarch64")]
fn set_result(tid: pid_t, result: i64) -> io::Result<()> {
    const NT_PRSTATUS: c_long = 1;
    // x0 to x30, sp, pc, pstate.
    let mut registers = [0u64; 34];
    let mut all =
        libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: mem::size_of_val(&registers) };
    // SAFETY: the tracee is stopped; the kernel reads and writes no more than `registers` holds.
    unsafe {
        check(libc::ptrace(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &raw mut all))?;
        registers[0] = result as u64;
        check(libc::ptrace(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, &raw mut all)).map(drop)
    }
}

/// Waits for a change of `pid` (-1: of any child or tracee of this thread, and of no other thread).
fn wait_any(pid: pid_t) -> io::Result<(pid_t, c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place.
        let found = unsafe { libc::waitpid(pid, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        match check(found.into()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => return other.map(|tid| (tid as pid_t, status)),
        }
    }
}

/// Lets `tid` run to its next stop. That it was killed meanwhile is no error: the wait tells.
fn resume(tid: pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: the arguments are integers.
    match check(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, tid, 0, c_long::from(signal)) }) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
