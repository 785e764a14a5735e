#!/usr/bin/env python3
"""The package in a Debian that really boots: installed, upgraded with a full queue, removed, installed again, purged.

    tests/package/package.py --deb PACKAGE.deb [--keep]

As root on Debian; boots a box as tests/system/boot.py does.
"""

import argparse
import hashlib
import os
import shutil
import stat
import tempfile

from debian import CONFIG, expect, mta_before, on_a_debian, run, running, shown, until

SPOOL_MODES = {"": 0o755, "pickup": 0o3730, "pending": 0o700, "sending": 0o700, "failed": 0o700, "sent": 0o700, "meta": 0o700}
LINKS = {"usr/lib/sendmail": "../sbin/sendmail", "usr/bin/mailq": "pillarbox",
         "usr/bin/newaliases": "pillarbox"}


def tree(folder):
    """Everything below it: path, mode, owner, time and digest."""
    rows = []
    for place, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = os.path.join(place, name)
            row = os.lstat(path)
            digest = hashlib.sha256(open(path, "rb").read()).hexdigest() if stat.S_ISREG(row.st_mode) else ""
            rows.append((os.path.relpath(path, folder), oct(row.st_mode), row.st_uid, row.st_gid, row.st_mtime_ns, digest))
    return sorted(rows)


def messages(box):
    """What of the spool is messages."""
    return [row for row in tree(box.spool()) if row[0].split("/")[0] in ("pickup", "pending", "sending", "failed")]


def active(box):
    until("the service to be active", lambda: box.show("pillarbox", "ActiveState") == "active")
    return box.show("pillarbox", "MainPID")


def delivered(box, host, names):
    """All of these and nothing else, once, in order."""
    before = len(host.taken)
    host.up()
    host.wait("all of them", lambda: len(host.taken) - before >= len(names))
    until("an empty queue", lambda: not box.waiting() and not os.listdir(box.spool("sending")))
    host.down()
    expect(host.taken[before:] == names, host.taken[before:])


def install(box, host):
    expect(box.installed().startswith("dpkg-query: no packages found"), box.installed())
    said = box.add()
    expect("Removing mta-before" in said, said)
    expect(box.installed().startswith("ii "), box.installed())
    active(box)
    expect(box.systemctl("is-enabled", "pillarbox") == "enabled", "enabled")
    expect(box.systemctl("is-enabled", "pillarbox-flush.timer", check=False) == "disabled", "the timer is not")
    for link, to in LINKS.items():
        expect(os.readlink(box.path(link)) == to, link)
        where = "/usr/sbin/sendmail" if link == "usr/lib/sendmail" else "/usr/bin/pillarbox"
        expect(box.inside("readlink", "-f", "/" + link) == where, link)
    expect(box.inside("stat", "-c", "%a %U %G", "/usr/sbin/sendmail") == "2755 root pillarbox", "sendmail is lent the group")
    user = next(line for line in open(box.path("etc/passwd"), encoding="ascii") if line.startswith("pillarbox:")).split(":")
    expect(user[5:] == ["/var/spool/pillarbox", "/usr/sbin/nologin\n"], user)
    for folder, mode in SPOOL_MODES.items():
        row = os.stat(box.spool(folder))
        expect((stat.S_IMODE(row.st_mode), row.st_uid, row.st_gid) == (mode, int(user[2]), int(user[3])), (folder, oct(row.st_mode)))
    expect(f"{CONFIG} " in box.inside("dpkg-query", "-W", "-f", "${Conffiles}\n", "pillarbox") , "a conffile")
    expect(box.inside("dpkg", "--verify", "pillarbox") == "", "what was unpacked is what lies there")
    expect("none is configured: messages are accepted and kept" in box.inside("pillarbox", "status"), "status")
    shown("installed in place of another mail system: active, enabled, its user, its spool, its links, its configuration")
    box.drop("kept")
    until("the drop to be accepted", lambda: len(box.waiting()) == 1)
    host.down()
    box.smarthost()
    delivered(box, host, ["kept"])
    inline_password(box)
    shown("without a mail server what is dropped is accepted and kept; one is named and the service reloaded: delivered")


def inline_password(box):
    """What the program says about a password in the configuration works with that of the package."""
    before = open(box.path(CONFIG[1:]), encoding="ascii").read()
    box.write(CONFIG[1:], before.replace('tls = "none"', 'user = "panel"\npassword = "secret"'))
    said = box.inside("pillarbox", "reload", check=False)
    cure = f"chmod o-r {CONFIG}"
    expect(f"hint: {cure}" in said, said)
    box.inside(*cure.split())
    box.inside("pillarbox", "reload")
    expect(box.inside("pillarbox", "status").count("configuration is wrong") == 0, "status")
    box.inside("chmod", "o+r", CONFIG)
    box.write(CONFIG[1:], before)
    box.inside("pillarbox", "reload")


def upgrade(box, host, count=200):
    names = [f"upgrade-{n}" for n in range(count)]
    box.drop(*names)
    until("all to be accepted", lambda: len(box.waiting()) == count)
    before, pid, config = messages(box), active(box), open(box.path(CONFIG[1:]), "rb").read()
    box.add("/var/tmp/next.deb")
    expect(box.installed().endswith("next1"), box.installed())
    expect(active(box) != pid, "the service is the new one")
    expect(messages(box) == before, "the queue is as it was")
    expect(open(box.path(CONFIG[1:]), "rb").read() == config, "the configuration is as it was edited")
    expect(b"new in this version" in open(box.path(CONFIG[1:] + ".dpkg-dist"), "rb").read(), "the new one lies beside it")
    delivered(box, host, names)
    shown(f"upgraded with {count} waiting: service started anew, edited configuration kept, queue the same to the byte and the name; "
          "then delivered, each once, in order")


def upgrade_disabled(box):
    box.systemctl("disable", "--now", "pillarbox")
    box.add()
    expect(box.systemctl("is-enabled", "pillarbox", check=False) == "disabled", "disabled")
    expect(box.show("pillarbox", "ActiveState") == "inactive", "inactive")
    box.systemctl("enable", "--now", "pillarbox")
    active(box)
    shown("a service that an administrator has disabled stays so through an upgrade")


def remove(box, host):
    names = [f"removed-{n}" for n in range(50)]
    box.drop(*names)
    until("all to be accepted", lambda: len(box.waiting()) == len(names))
    box.systemctl("stop", "pillarbox")
    before = tree(box.spool())
    box.systemctl("start", "pillarbox")
    active(box)
    said = box.apt("remove", "pillarbox")
    expect("there are messages in /var/spool/pillarbox; they are kept" in said, said)
    expect(box.installed().startswith("rc "), box.installed())
    expect(not os.path.lexists(box.path("usr/sbin/sendmail")) and not os.path.exists(box.path("usr/bin/pillarbox")), "files are gone")
    expect(not running(box), "nobody runs")
    queue = ("pickup/", "pending/", "sending/", "failed/", "sent/")
    expect([row for row in tree(box.spool()) if row[0].startswith(queue)] == [row for row in before if row[0].startswith(queue)],
           "the queue is as it was")
    box.drop("while-removed")
    box.add()
    active(box)
    delivered(box, host, names + ["while-removed"])
    shown(f"removed with {len(names)} waiting: queue the same to the byte, mode and time, and it says so; installed again: delivered in "
          "order, and what was dropped meanwhile behind them")


def another(box, host):
    box.drop("other-mta")
    until("the drop to be accepted", lambda: len(box.waiting()) == 1)
    box.apt("install", "/var/tmp/mta-before.deb")
    expect(box.installed().startswith("rc ") and len(box.waiting()) == 1, box.installed())
    box.add()
    active(box)
    delivered(box, host, ["other-mta"])
    shown("another mail system in its place, and ours again: the queue outlived both")


def purge(box, host):
    box.write("etc/pillarbox/password", "secret\n")
    names = ["purged-0", "purged-1", "purged-2"]
    box.drop(*names)
    until("all to be accepted", lambda: len(box.waiting()) == len(names))
    before = messages(box)
    said = box.apt("purge", "pillarbox")
    expect("there are messages in /var/spool/pillarbox; that folder is kept as it is" in said, said)
    expect(not os.path.exists(box.path("etc/pillarbox")), "the configuration is gone")
    expect(messages(box) == before, "the queue is as it was")
    box.add()
    active(box)
    expect("none is configured" in box.inside("pillarbox", "status"), "the configuration is new")
    box.smarthost()
    delivered(box, host, names)
    shown("purged with messages waiting: configuration and passwords are gone, the queue is kept; installed again: delivered")
    said = box.apt("purge", "pillarbox")
    expect("messages" not in said and not os.path.exists(box.spool()), said)
    left = box.inside("find", "/etc", "/usr", "/var/lib/systemd", "/var/spool", "/run", "-xdev", "-name", "*pillarbox*", check=False)
    expect(left == "", left)
    expect(box.systemctl("list-units", "--failed", "--plain", "--no-legend") == "", "no unit has failed")
    shown("purged with an empty queue: nothing of it is left")


def next_version(deb, folder):
    """The same package as a later version, with another default configuration."""
    unpacked = os.path.join(folder, "next")
    run("dpkg-deb", "-R", deb, unpacked)
    control = os.path.join(unpacked, "DEBIAN", "control")
    lines = [line + "+next1" if line.startswith("Version: ") else line for line in open(control, encoding="utf-8").read().splitlines()]
    with open(control, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    with open(os.path.join(unpacked, CONFIG[1:]), "a", encoding="ascii") as file:
        file.write("# new in this version\n")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", unpacked, os.path.join(folder, "next.deb"))
    return os.path.join(folder, "next.deb")


def show_all(deb, box, host):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(next_version(deb, folder), box.path("var/tmp/next.deb"))
        shutil.copy(mta_before(folder), box.path("var/tmp/mta-before.deb"))
    install(box, host)
    upgrade(box, host)
    upgrade_disabled(box)
    remove(box, host)
    another(box, host)
    purge(box, host)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--deb", required=True)
    arguments.add_argument("--keep", action="store_true", help="keep the box's files")
    options = arguments.parse_args()
    on_a_debian(options.deb, lambda box, host: show_all(options.deb, box, host), keep=options.keep)


if __name__ == "__main__":
    main()
