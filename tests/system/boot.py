#!/usr/bin/env python3
"""A Debian with a systemd that really boots, and pillarbox installed in it.

    tests/system/boot.py --binary target/release/pillarbox [--wait 600] [--keep]

As root on Debian. What is missing is installed from Debian packages; a Debian root is made once in target/system. It boots in
namespaces of its own (process, mount, network, cgroup), which is all that systemd needs. Prints a line for each thing shown.
"""

import argparse
import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from smarthost import Smarthost

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
PORT = 2525
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
BEGUN = time.monotonic()

# Everything that systemd wants to find, and then systemd.
INIT = r"""
set -e
R=$1
mount --make-rprivate /
mount --bind "$R" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
mount -t tmpfs tmpfs "$R/tmp"
for n in null zero full random urandom tty; do touch "$R/dev/$n"; mount --bind "/dev/$n" "$R/dev/$n"; done
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
cd "$R"
mkdir -p .old
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init'
"""


def shown(text):
    print(f"{time.monotonic() - BEGUN:7.1f} s  {text}", flush=True)


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout.strip()


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise SystemExit(f"still waiting for {what} after {seconds} s")
        time.sleep(0.05)


def debian_root():
    """A Debian of this release with systemd and cron, made once."""
    release = run("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME")
    folder = os.path.join(TREE, "target", "system")
    os.makedirs(folder, exist_ok=True)
    root = os.path.join(folder, f"debian-{release}")
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(root):
            make_debian_root(release, root)
    return root


def make_debian_root(release, root):
    if not shutil.which("debootstrap"):
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", "debootstrap")
    site = os.environ.get("PILLARBOX_MIRROR") or mirror(release)
    proxy = run("sh", "-c", 'eval "$(apt-config shell p Acquire::http::Proxy)"; echo "$p"')
    environment = dict(os.environ, **({"http_proxy": proxy} if proxy not in ("", "DIRECT") else {}))
    new = tempfile.mkdtemp(dir=os.path.dirname(root))
    os.chmod(new, 0o755)
    shown(f"making a Debian ({release}) with systemd")
    made = subprocess.run(["debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,cron", release, new, site],
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        shutil.rmtree(new)
        raise SystemExit("debootstrap failed:\n" + made.stdout[-2000:])
    os.rename(new, root)


def mirror(release):
    """As apt knows it: no host is named here."""
    targets = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(COMPONENT) $(CODENAME) $(SITE)",
                  "Created-By: Packages")
    rows = [line.split() for line in targets.splitlines()]
    sites = [row[4] for row in rows if row[:4] == ["Debian", "Debian", "main", release]]
    if not sites:
        raise SystemExit("found no Debian mirror in apt's configuration; set PILLARBOX_MIRROR")
    return sites[0]


class Box:
    """The box with its systemd."""

    def __init__(self, work):
        self.work = work
        self.root = os.path.join(work, "root")
        self.cgroups = os.path.join(work, "cgroup")
        self.outer = self.init = None
        os.mkdir(self.cgroups)
        run("mount", "-t", "cgroup2", "cgroup2", self.cgroups)
        self.cgroup = os.path.join(self.cgroups, f"pillarbox-test-{os.getpid()}")
        os.mkdir(self.cgroup)

    def base(self):
        return debian_root()

    def make(self):
        """The files of a Debian that has never run."""
        run("cp", "-a", "--reflink=auto", self.base(), self.root)
        self.write("etc/hostname", "box\n")
        self.write("etc/machine-id", "")

    def install(self, binary):
        self.make()
        shutil.copy(binary, self.path("usr/bin/pillarbox"))
        os.chmod(self.path("usr/bin/pillarbox"), 0o755)
        units = os.path.join(TREE, "systemd")
        for name in os.listdir(units):
            if name.endswith((".service", ".timer", ".path")):
                shutil.copy(os.path.join(units, name), self.path("usr/lib/systemd/system"))
        shutil.copy(os.path.join(units, "pillarbox.sysusers"), self.path("usr/lib/sysusers.d/pillarbox.conf"))
        shutil.copy(os.path.join(units, "pillarbox.tmpfiles"), self.path("usr/lib/tmpfiles.d/pillarbox.conf"))
        # As docs/OPERATING.md says.
        run("chroot", self.root, "systemd-sysusers", stderr=subprocess.DEVNULL)
        run("mount", "-t", "proc", "proc", self.path("proc"))
        run("chroot", self.root, "systemd-tmpfiles", "--create", "pillarbox.conf")
        run("umount", self.path("proc"))
        os.mkdir(self.path("etc/pillarbox"))
        run("chroot", self.root, "pillarbox", "init", "--config", "/etc/pillarbox/pillarbox.toml")
        self.write("etc/pillarbox/conf.d/test.toml",
                   f'[identity]\nhostname = "box.example.com"\n[delivery]\nretry_interval = "1s"\n'
                   f'[[smarthost]]\nurl = "smtp://127.0.0.1:{PORT}"\ntls = "none"\n')
        run("chroot", self.root, "useradd", "--system", "--groups", "pillarbox", "panel")
        self.learn_ids()

    def learn_ids(self):
        ids = {line.split(":")[0]: line.split(":") for line in open(self.path("etc/passwd"))}
        self.panel, self.group = int(ids["panel"][2]), int(ids["pillarbox"][3])

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def spool(self, *parts):
        return self.path("var/spool/pillarbox", *parts)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def boot(self):
        def into_cgroup():
            with open(os.path.join(self.cgroup, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

        self.outer = subprocess.Popen(
            ["unshare", "--pid", "--mount", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
             "sh", "-c", INIT, "init", self.root],
            preexec_fn=into_cgroup, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        children = f"/proc/{self.outer.pid}/task/{self.outer.pid}/children"
        self.init = until("a child of unshare", lambda: open(children, encoding="ascii").read().strip())
        state = until("the system to be up", lambda: self.state_of_system() in ("running", "degraded") and
                      self.state_of_system(), 120)
        if state != "running":
            raise SystemExit(self.systemctl("list-units", "--failed", check=False))

    def state_of_system(self):
        if self.outer.poll() is not None:
            raise SystemExit(f"the box ended: {self.outer.returncode}")
        return self.systemctl("is-system-running", check=False)

    def inside(self, *command, check=True):
        done = subprocess.run(["nsenter", "-t", self.init, "-m", "-p", "-i", "-u", "-C", *command],
                              env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}: {done.stdout}\n{self.journal()}")
        return done.stdout.strip()

    def systemctl(self, *arguments, check=True):
        return self.inside("systemctl", *arguments, check=check)

    def show(self, unit, what):
        return self.systemctl("show", "-p", what, "--value", unit)

    def journal(self, unit="pillarbox*"):
        return self.inside("journalctl", "-o", "cat", "--no-pager", "-n", "300", "-u", unit, check=False)

    def drop_in(self, unit, text):
        """A drop-in of the unit; an empty text takes it away."""
        folder = self.path("etc/systemd/system", f"{unit}.d")
        shutil.rmtree(folder, ignore_errors=True)
        if text:
            self.write(f"etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def drop(self, *numbers):
        """As a program of another user does, who is in the group."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([self.group])
                os.setresgid(self.group, self.group, self.group)
                os.setresuid(self.panel, self.panel, self.panel)
                os.umask(0o027)
                for number in numbers:
                    hidden = self.spool("pickup", f".{number}")
                    with open(hidden, "w", encoding="ascii") as file:
                        file.write(f"From: panel@example.com\nTo: ops@example.com\nSubject: {number}\n\nopen\n")
                    os.rename(hidden, self.spool("pickup", f"{number}.eml"))
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("a member of the group could not drop")

    def off(self):
        if self.outer and self.outer.poll() is None:
            self.outer.kill()
            self.outer.wait()
        end = time.monotonic() + 10
        while "populated 1" in open(os.path.join(self.cgroup, "cgroup.events")).read() and time.monotonic() < end:
            time.sleep(0.05)
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(folder)
        run("umount", self.cgroups)


def main_pid(box):
    """The main process as this side sees it."""
    inner = box.show("pillarbox", "MainPID")
    if inner == "0":
        return None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                ids = re.search(r"^NSpid:\t(.*)$", file.read(), re.M).group(1).split()
            if len(ids) > 1 and ids[-1] == inner and in_box(box, pid):
                return int(pid)
        except OSError:
            continue  # it has ended
    return None


def in_box(box, pid):
    return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{box.init}/ns/pid")


def hang_thread(pid, name):
    """Stops one thread of a process for good, by ptrace; only a signal that kills gets through."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    seize, interrupt = 0x4206, 0x4207
    thread = next(int(tid) for tid in os.listdir(f"/proc/{pid}/task")
                  if open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii").read().strip() == name)
    stopped = threading.Event()

    def hold():
        if libc.ptrace(seize, thread, None, None) or libc.ptrace(interrupt, thread, None, None):
            raise SystemExit(f"ptrace: {os.strerror(ctypes.get_errno())}")
        os.waitpid(thread, 0x40000000)
        stopped.set()
        # Its end: until the tracer has heard of it the process cannot go.
        os.waitpid(thread, 0x40000000)

    threading.Thread(target=hold, daemon=True).start()
    if not stopped.wait(10):
        raise SystemExit(f"the thread {name} was not stopped")


def ready_only_when_it_is(box, host):
    # A message was in flight when the power went, and the disk refuses to take it back to pending/.
    name = "018f0000000070008000000000000001_1767225600_first.eml"
    box.systemctl("stop", "pillarbox", check=False)
    with open(box.spool("sending", name), "w", encoding="ascii") as file:
        file.write("From: panel@example.com\nTo: ops@example.com\nSubject: first\n\nopen\n")
    owner = os.stat(box.spool("sending"))
    os.chown(box.spool("sending", name), owner.st_uid, owner.st_gid)
    run("chattr", "+i", box.spool("pending"))
    try:
        box.systemctl("start", "--no-block", "pillarbox")
        until("the recovery to fail", lambda: "spool-fault" in box.journal())
        for _ in range(20):
            state = box.show("pillarbox", "ActiveState")
            if state != "activating":
                raise SystemExit(f"the spool is not recovered, and the service is {state}")
            time.sleep(0.1)
        text = box.show("pillarbox", "StatusText")
    finally:
        run("chattr", "-i", box.spool("pending"))
    shown(f"while recovery fails the service is activating; systemctl status says: {text}")
    until("the service to be active", lambda: box.show("pillarbox", "ActiveState") == "active")
    journal = box.journal()
    if journal.index("spool-fault") > journal.index(" ready "):
        raise SystemExit(journal)
    host.wait("the message that was in flight", lambda: "first" in host.taken)
    status = until("a status", lambda: "usable" in box.show("pillarbox", "StatusText") and
                   box.show("pillarbox", "StatusText"))
    shown(f"recovered: active, and what was in flight was delivered; it says: {status}")


def capability(box):
    pid = main_pid(box)
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    bits = [re.search(rf"^{name}:\t(\w+)", status, re.M).group(1) for name in ("CapEff", "CapBnd", "CapAmb")]
    if {int(value, 16) for value in bits} != {1 << 28}:
        raise SystemExit(f"capabilities are {bits}")
    box.drop("foreign")
    shown(f"it runs as uid {os.stat(f'/proc/{pid}').st_uid} with CAP_LEASE and no other capability")


def watchdog(box, host):
    box.drop_in("pillarbox.service", "[Service]\nWatchdogSec=2s\nRestartSec=1s\nTimeoutAbortSec=5s\n")
    box.systemctl("restart", "pillarbox")
    time.sleep(7)
    if box.show("pillarbox", "NRestarts") != "0":
        raise SystemExit("the watchdog ended an idle service\n" + box.journal())
    shown("idle for three times WatchdogSec: not restarted")
    ways = [("the whole process (SIGSTOP)", lambda pid: os.kill(pid, signal.SIGSTOP)),
            ("the pickup's thread alone (ptrace)", lambda pid: hang_thread(pid, "pickup"))]
    for number, (what, hang) in enumerate(ways, 1):
        begun = time.monotonic()
        hang(main_pid(box))
        until("a restart", lambda: box.show("pillarbox", "NRestarts") == str(number))
        until("the service to be active", lambda: box.show("pillarbox", "ActiveState") == "active")
        took = time.monotonic() - begun
        expect(box.inside("journalctl", "-o", "cat", "-u", "pillarbox").count("Watchdog timeout") == number, box.journal())
        box.drop(f"after-hang-{number}")
        host.wait("a drop after the hang", lambda: host.taken[-1] == f"after-hang-{number}")
        shown(f"hung: {what}: restarted and active after {took:.1f} s, and the next drop was delivered")
    box.drop_in("pillarbox.service", "")
    box.systemctl("restart", "pillarbox")


def stop_in_mid_transaction(box, host):
    host.reply.clear()
    before = host.dots
    box.drop("stop-answered")
    host.wait("the dot", lambda: host.dots == before + 1)
    box.systemctl("stop", "--no-block", "pillarbox")
    until("the service to stop", lambda: box.show("pillarbox", "ActiveState") == "deactivating")
    time.sleep(1)
    host.reply.set()
    until("the end", lambda: box.show("pillarbox", "ActiveState") == "inactive", 30)
    expect(box.show("pillarbox", "Result") == "success", box.journal())
    expect(host.taken.count("stop-answered") == 1 and not os.listdir(box.spool("sending")), host.taken[-3:])
    shown("stopped with a dot out: waits for the reply, which comes; delivered once, and ended in order")

    box.systemctl("start", "pillarbox")
    host.reply.clear()
    before = host.dots
    box.drop("stop-unanswered")
    host.wait("the dot", lambda: host.dots == before + 1)
    begun = time.monotonic()
    box.systemctl("stop", "pillarbox")
    took = time.monotonic() - begun
    expect(box.show("pillarbox", "Result") == "success", box.journal())
    host.reply.set()
    box.systemctl("start", "pillarbox")
    host.wait("the second copy", lambda: host.dots == before + 2 and host.taken[-1] == "stop-unanswered")
    copies = host.bodies["stop-unanswered"]
    expect(len(copies) <= 2 and len(set(copies)) == 1, copies)
    shown(f"stopped with a dot out and no reply: ended by itself after {took:.1f} s, sent again at the next start, "
          f"{len(copies)} copies the same to the byte")


def expect(holds, what):
    if not holds:
        raise SystemExit(f"not as it should be: {what}")


def reboot_with_a_full_queue(box, host, count=200):
    box.systemctl("enable", "pillarbox")
    host.down()
    taken = len(host.taken)
    box.drop(*(f"queued-{n}" for n in range(count // 2)))
    until("all to be accepted", lambda: len(os.listdir(box.spool("pending"))) == count // 2)
    box.systemctl("reboot", check=False)
    box.outer.wait(60)
    # Dropped while the box is down: a shared disk, a program that starts first.
    box.drop(*(f"queued-{n}" for n in range(count // 2, count)))
    box.boot()
    until("the service to be active", lambda: box.show("pillarbox", "ActiveState") == "active")
    until("all to be accepted", lambda: len(os.listdir(box.spool("pending"))) == count)
    says = until("a status", lambda: "NOT USABLE" in box.show("pillarbox", "StatusText") and
                 box.show("pillarbox", "StatusText"))
    host.up()
    host.wait("all of them", lambda: len(host.taken) >= taken + count)
    until("an empty queue", lambda: not os.listdir(box.spool("pending")) and not os.listdir(box.spool("sending")))
    expect(host.taken[taken:] == [f"queued-{n}" for n in range(count)], host.taken[taken:])
    shown(f"rebooted with a full queue (it said: {says}): {count} delivered, each once, in order")


def path_and_timer(box, host, wait):
    box.systemctl("disable", "--now", "pillarbox")
    shown_files = {"ignored.tmp": 0o640, "empty.eml": 0o640, "unreadable.eml": 0o000}
    for name, mode in shown_files.items():
        with open(box.spool("pickup", name), "w", encoding="ascii") as file:
            file.write("" if name == "empty.eml" else "From: a@example.com\nTo: b@example.com\n\n")
        os.chmod(box.spool("pickup", name), mode)
    # The path unit alone, so that nothing else can have been the one.
    box.systemctl("start", "pillarbox-flush.path")
    box.drop("by-path")
    host.wait("a drop by the path unit", lambda: host.taken[-1] == "by-path", 30)
    burst = [f"burst-{n}" for n in range(300)]
    for name in burst:
        box.drop(name)
    until("the last pass to end", lambda: box.show("pillarbox-flush", "ActiveState") == "inactive")
    expect(box.show("pillarbox-flush.path", "ActiveState") == "active", box.journal())
    shown("the path unit with an ignored, an empty and an unreadable file: the next drop was delivered at once; still "
          f"active after 300 drops in a row, {sum(name in host.taken for name in burst)} of them delivered by it alone")
    if wait < 120:
        box.drop_in("pillarbox-flush.timer", "[Timer]\nOnUnitInactiveSec=\nOnUnitInactiveSec=2\nOnBootSec=1\nAccuracySec=1\n")
    box.systemctl("enable", "--now", "pillarbox-flush.path", "pillarbox-flush.timer")
    host.wait("the rest by the timer", lambda: set(burst) <= set(host.taken), 90)
    expect(sorted(burst) == sorted(name for name in host.taken if name in burst), "each once")
    if [name for name in host.taken if name in burst] != burst:
        raise SystemExit("not in order")
    begun = time.monotonic()
    passes = 0
    while time.monotonic() - begun < wait:
        time.sleep(min(10, wait))
        expect(box.show("pillarbox-flush.path", "ActiveState") == "active", box.journal())
    journal = box.inside("journalctl", "-o", "cat", "-u", "pillarbox-flush.service")
    passes = journal.count("Finished ")
    expect(box.systemctl("list-units", "--failed", "--plain", "--no-legend") == "", "a unit has failed")
    box.systemctl("stop", "pillarbox-flush.timer")
    box.drop("by-path-again")
    host.wait("a drop by the path unit", lambda: host.taken[-1] == "by-path-again", 30)
    shown(f"after {time.monotonic() - begun:.0f} s with these files ({passes} passes so far) the path unit is active, no unit "
          "has failed, and the next drop was delivered by it")
    box.systemctl("stop", "pillarbox-flush.path")
    box.drop("by-timer")
    box.systemctl("start", "pillarbox-flush.timer")
    host.wait("a drop by the timer", lambda: host.taken[-1] == "by-timer", 90)
    left = sorted(name for name in os.listdir(box.spool("pickup")) if not name.endswith(".rejected.txt"))
    expect(left == sorted(shown_files), left)
    shown("a drop while only the timer runs was delivered; the three files lie where they lay")


def refused(box):
    box.systemctl("stop", "pillarbox-flush.timer", "pillarbox-flush.path")
    os.chmod(box.spool("meta"), 0o755)
    box.systemctl("start", "pillarbox", check=False)
    until("a refusal", lambda: box.show("pillarbox", "ActiveState") == "failed")
    expect(box.show("pillarbox", "ExecMainStatus") == "77", box.journal())
    expect("hint: chmod 0700 /var/spool/pillarbox/meta" in box.journal(), box.journal())
    box.inside("sh", "-c", "chmod 0700 /var/spool/pillarbox/meta")
    box.systemctl("start", "pillarbox")
    shown("a spool that is open to others: refused with 77 and not tried again; the command in the journal mends it")


def on_a_box(installed, show, keep=False, kind=Box, before=debian_root):
    """Boots a box with this pillarbox, shows it, and takes it away; `before` is called while there is a network."""
    if os.geteuid():
        raise SystemExit("expected root: a system is booted")
    if "PILLARBOX_BOOT_INSIDE" not in os.environ:
        before()
        command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", command, dict(os.environ, PILLARBOX_BOOT_INSIDE="1"))
    run("ip", "link", "set", "lo", "up")
    work = tempfile.mkdtemp(prefix="pillarbox-boot-")
    os.chmod(work, 0o755)
    host = Smarthost(PORT)
    box = kind(work)
    try:
        box.install(os.path.abspath(installed))
        box.boot()
        version = box.systemctl("--version").splitlines()[0]
        shown(f"booted: {version}, process 1 of {box.path('')}")
        host.up()
        show(box, host)
        shown("all shown")
    except BaseException:
        if box.init:
            print(box.journal(), file=sys.stderr)
        raise
    finally:
        box.off()
        if keep:
            print(work)
        else:
            shutil.rmtree(work)


def show_all(box, host, wait):
    ready_only_when_it_is(box, host)
    capability(box)
    host.wait("a file of another user", lambda: host.taken[-1] == "foreign")
    watchdog(box, host)
    stop_in_mid_transaction(box, host)
    reboot_with_a_full_queue(box, host)
    path_and_timer(box, host, wait)
    refused(box)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--wait", type=float, default=600, help="seconds that the path unit is watched (600)")
    arguments.add_argument("--keep", action="store_true", help="keep the box's files")
    options = arguments.parse_args()
    on_a_box(options.binary, lambda box, host: show_all(box, host, options.wait), options.keep)


if __name__ == "__main__":
    main()
