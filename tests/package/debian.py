"""A booted Debian with our package and with other packages of Debian.

    on_a_debian(deb, show, packages=["mutt"])    calls show(box, host)

Nothing but loopback is reachable from the box; `host` is the mail server there (tests/system/smarthost.py). At first it has another
mail system, `mta-before`, which is a package without a file; `box.add(deb)` puts ours in its place. `box.inside(command...)` runs a
command as root, `box.as_user(name, command...)` as somebody else.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "system"))

from boot import ENV, PORT, TREE, Box, debian_root, expect, on_a_box, run, shown, until  # noqa: E402
from cron import running  # noqa: E402

# The variables of who installs without being asked.
QUIET = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]
MTA_BEFORE = """Package: mta-before
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.com>
Provides: mail-transport-agent, default-mta
Conflicts: mail-transport-agent
Replaces: mail-transport-agent
Description: what a Debian has before ours
"""
CONFIG = "/etc/pillarbox/pillarbox.toml"


def on_a_debian(deb, show, packages=(), keep=False):
    """Boots a Debian that has these packages, and `deb` as /var/tmp/pillarbox.deb, not installed."""
    class Chosen(DebBox):
        extra = tuple(sorted(packages))

    on_a_box(deb, show, keep, Chosen, lambda: root_with(Chosen.extra))


def mta_before(folder):
    """The package of that name."""
    tree = os.path.join(folder, "mta-before")
    os.makedirs(os.path.join(tree, "DEBIAN"))
    with open(os.path.join(tree, "DEBIAN", "control"), "w", encoding="ascii") as file:
        file.write(MTA_BEFORE)
    run("dpkg-deb", "--root-owner-group", "-b", tree, tree + ".deb")
    return tree + ".deb"


def root_with(packages):
    """A Debian root with these packages and `mta-before`, made once."""
    base = debian_root()
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    root = f"{base}-with-{name}"
    if os.path.isdir(root):
        return root
    shown(f"making a Debian with {' '.join(packages) or 'nothing more'}")
    new = tempfile.mkdtemp(dir=os.path.dirname(root))
    os.chmod(new, 0o755)
    try:
        run("cp", "-a", "--reflink=auto", base + "/.", new)
        # Those of the base have been installed, and there may be later ones now.
        run("chroot", new, "apt-get", "clean")
        shutil.copy(mta_before(os.path.join(new, "var/tmp")), os.path.join(new, "var/cache/apt/archives"))
        if packages:
            download(new, packages)
        chroot(new, "find /var/cache/apt/archives -name '*.deb' -exec apt-get install -q -y --no-install-recommends {} +")
        run("rm", "-rf", *(os.path.join(new, place) for place in ("var/tmp/mta-before", "var/tmp/mta-before.deb")))
        run("chroot", new, "apt-get", "clean")
        # What is kept was never started.
        for made in ("etc/ssh", "var/lib/dbus/machine-id"):
            run("rm", "-rf", os.path.join(new, made))
        os.rename(new, root)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return root


def download(root, packages):
    """The packages and what they need there, with the sources and lists of this machine's apt."""
    status = os.path.join(root, "var/lib/dpkg/status")
    with open(status, encoding="utf-8") as file:
        before = file.read()
    # As if another mail system were installed already, so that none is chosen.
    pretended = tempfile.NamedTemporaryFile("w", suffix=".status", encoding="utf-8")
    with pretended:
        pretended.write(before + "\n" + MTA_BEFORE + "Status: install ok installed\n")
        pretended.flush()
        archives = os.path.join(root, "var/cache/apt/archives")
        done = subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only", "-o", "APT::Sandbox::User=root",
             "-o", f"Dir::State::status={pretended.name}", "-o", f"Dir::Cache::archives={archives}", *packages],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit("apt-get failed; are its lists there (apt-get update)?\n" + done.stdout[-3000:])


def chroot(root, script):
    """Runs it there; no service is started."""
    policy = os.path.join(root, "usr/sbin/policy-rc.d")
    with open(policy, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexit 101\n")
    os.chmod(policy, 0o755)
    run("mount", "-t", "proc", "proc", os.path.join(root, "proc"))
    try:
        done = subprocess.run(["chroot", root, *QUIET, "PATH=" + ENV["PATH"], "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    finally:
        run("umount", os.path.join(root, "proc"))
        os.remove(policy)
    if done.returncode:
        raise SystemExit(f"{script} ended with {done.returncode}:\n{done.stdout[-3000:]}")


class DebBox(Box):
    """A box that gets its pillarbox from a package, while it runs."""

    extra = ()

    def base(self):
        return root_with(self.extra)

    def install(self, deb):
        self.make()
        self.write("etc/hosts", "127.0.0.1 localhost box\n")
        self.write("etc/mailname", "box.example.com\n")
        shutil.copy(deb, self.path("var/tmp/pillarbox.deb"))
        for user in ("panel", "stranger"):
            run("chroot", self.root, "useradd", "--create-home", "--shell", "/bin/sh", user)

    def apt(self, *arguments):
        """apt-get, which keeps what an administrator has edited."""
        return self.inside(*QUIET, "apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
                           "--no-install-recommends", *arguments)

    def add(self, deb="/var/tmp/pillarbox.deb"):
        """Installs a package that lies in the box."""
        said = self.apt("install", "--allow-downgrades", deb)
        self.inside("usermod", "-aG", "pillarbox", "panel")
        self.learn_ids()
        return said

    def as_user(self, user, *command, check=True):
        return self.inside("runuser", "-u", user, "--", *command, check=check)

    def smarthost(self):
        """Names the mail server of this test in the configuration, as an administrator does: by editing it."""
        with open(self.path(CONFIG[1:]), "a", encoding="ascii") as file:
            file.write(f'\n# Edited here.\n[[smarthost]]\nurl = "smtp://127.0.0.1:{PORT}"\ntls = "none"\n')
        with open(self.path(CONFIG[1:]), encoding="ascii") as file:
            text = file.read().replace('# retry_interval = "30s"', 'retry_interval = "1s"')
        with open(self.path(CONFIG[1:]), "w", encoding="ascii") as file:
            file.write(text)
        self.systemctl("reload", "pillarbox")

    def waiting(self):
        """The names in pending/, in order."""
        return sorted(name for name in os.listdir(self.spool("pending")) if not name.startswith("."))

    def installed(self):
        """The version that dpkg has, or how it stands."""
        said = self.inside("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", "pillarbox", check=False)
        return " ".join(said.split())


__all__ = ["CONFIG", "DebBox", "expect", "mta_before", "on_a_debian", "run", "running", "shown", "until"]
