#!/usr/bin/env python3
"""Debian's cron, a real crontab with `pillarbox flush` in it, and a sendmail that nobody may call.

    tests/system/cron.py --binary target/release/pillarbox [--minutes 10]

As root on Debian; boots a box as boot.py does. Two lines of the crontab start a pass each minute, so that two meet each time.
"""

import argparse
import os
import time

from boot import expect, in_box, on_a_box, shown, until

CALLS = "var/log/sendmail-calls"
SENDMAIL = f"#!/bin/sh\n{{ echo \"== $*\"; cat; }} >>/{CALLS}\n"
LINE = "* * * * * pillarbox flush\n"
MINUTE = 75


def started(box):
    """How many passes cron has started."""
    return box.inside("journalctl", "-o", "cat", "-u", "cron").count("CMD (pillarbox flush)")


def running(box):
    """The pillarboxes of the box."""
    return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if is_pillarbox(box, pid)]


def is_pillarbox(box, pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read() == "pillarbox\n" and in_box(box, pid)
    except OSError:
        return False  # it has ended


def calls(box):
    with open(box.path(CALLS), encoding="utf-8") as file:
        return file.read()


def show_cron(box, host, minutes):
    box.write("usr/sbin/sendmail", SENDMAIL)
    os.chmod(box.path("usr/sbin/sendmail"), 0o755)
    box.write(CALLS, "")
    os.chmod(box.path(CALLS), 0o666)
    box.write("tmp-crontab", LINE + LINE)
    host.down()
    # What cron would mail is seen: this one is.
    box.write("tmp-control", "* * * * * echo said by the control\n")
    box.inside("crontab", "-u", "panel", "/tmp-control")
    box.inside("crontab", "-u", "pillarbox", "/tmp-crontab")
    begun, dropped, seen_control = time.monotonic(), 0, False
    while time.monotonic() - begun < minutes * 60 or not seen_control or started(box) < 2 * minutes:
        expect(time.monotonic() - begun < minutes * 60 + 2 * MINUTE, f"cron started {started(box)} passes")
        box.drop(f"outage-{dropped}")
        dropped += 1
        time.sleep(5)
        if not seen_control and "said by the control" in calls(box):
            box.inside("crontab", "-u", "panel", "-r")
            seen_control = True
    expect(calls(box).count("== ") == calls(box).count("\nsaid by the control"), calls(box))
    box.write(CALLS, "")
    os.chmod(box.path(CALLS), 0o666)
    shown(f"cron mails what a line prints (the control's, seen); {started(box)} passes in an outage of {minutes} min, "
          f"{dropped} drops, nothing lost: {len(os.listdir(box.spool('pending')))} accepted already")

    # The first of the two that gets the lock stops at its first dot; the other finds it held.
    before = started(box)
    host.reply.clear()
    host.up()
    host.wait("the first dot", lambda: host.dots >= 1, MINUTE)
    until("cron to have started its two", lambda: started(box) >= before + 2)
    until("one of the two to have ended", lambda: len(running(box)) == 1)
    shown("two passes met: one is in transaction, the other has ended and has said nothing")
    host.reply.set()
    host.wait("all of them", lambda: len(host.taken) >= dropped)
    until("the pass to end", lambda: not running(box))
    expect(host.taken == [f"outage-{n}" for n in range(dropped)], host.taken)
    shown(f"the outage is over: {dropped} delivered, each once, in order")

    box.systemctl("start", "pillarbox")
    before = started(box)
    names = [f"with-run-{n}" for n in range(20)]
    for name in names[:-1]:
        box.drop(name)
    until("cron to start its two", lambda: started(box) >= before + 2, MINUTE)
    until("the two to end", lambda: len(running(box)) == 1)
    box.drop(names[-1])
    host.wait("all of them", lambda: len(host.taken) >= dropped + len(names))
    time.sleep(1)
    expect(host.taken[dropped:] == names, host.taken[dropped:])
    box.inside("crontab", "-u", "pillarbox", "-r")
    shown(f"passes from cron while `run` holds the lock: {len(names)} delivered, each once, in order")
    expect(calls(box) == "", calls(box))
    shown("cron has mailed nothing")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--minutes", type=int, default=10, help="how long the smarthost is away (10)")
    options = arguments.parse_args()
    on_a_box(options.binary, lambda box, host: show_cron(box, host, options.minutes))


if __name__ == "__main__":
    main()
