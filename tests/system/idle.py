#!/usr/bin/env python3
"""What an idle `run` does: strace of it, which shows the slow look at pickup/ and nothing else.

    tests/system/idle.py --binary target/release/pillarbox [--seconds 300]

Installs strace where it is missing (Debian, as root). One message was delivered before, so that every part has run once.
"""

import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# The slow look: is it the same directory still, and what is in it?
LOOK = {"statx", "stat", "newfstatat", "fstat", "openat", "getdents64", "close", "lseek", "fstatfs", "statfs", "fcntl"}
# Waiting, and what wakes the waiting thread.
WAIT = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "futex", "poll", "ppoll", "restart_syscall", "clock_nanosleep"}
# notify hears of the look itself: the directory was opened and closed.
HEARD = {"read", "ioctl"}
RESCAN = 60


def until(what, check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit(f"still waiting for {what} after {seconds} s")
        time.sleep(0.05)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def start(binary, place):
    """A service that has delivered one message and has closed its session."""
    sink_log, log = os.path.join(place, "sink.log"), os.path.join(place, "run.log")
    with open(sink_log, "w", encoding="utf-8") as out:
        sink = subprocess.Popen([binary, "catch", "--listen", "127.0.0.1:0", "--store", place], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    until("the sink", lambda: re.search(r"127\.0\.0\.1:(\d+)", read(sink_log)))
    port = re.search(r"127\.0\.0\.1:(\d+)", read(sink_log))[1]
    spool, config = os.path.join(place, "spool"), os.path.join(place, "pillarbox.toml")
    subprocess.run([binary, "init", "--spool", spool], check=True, stdout=subprocess.DEVNULL)
    with open(config, "w", encoding="utf-8") as file:
        file.write(f'[spool]\ndir = "{spool}"\n[[smarthost]]\nurl = "smtp://127.0.0.1:{port}"\ntls = "none"\n')
        file.write('[delivery]\nkeep_open = "1s"\n')
    with open(log, "w", encoding="utf-8") as out:
        run = subprocess.Popen([binary, "run", "--config", config], stdout=out, stderr=out)
    until("the service", lambda: " ready " in read(log))
    hidden = os.path.join(spool, "pickup", ".one")
    with open(hidden, "w", encoding="utf-8") as file:
        file.write("From: a@example.com\nTo: b@example.com\n\nbefore it is idle\n")
    os.rename(hidden, os.path.join(spool, "pickup", "one.eml"))
    until("the delivery", lambda: " delivered " in read(log))
    time.sleep(3)  # the session is closed after one
    return run, sink


def calls_while_idle(run, seconds, place):
    """(second, name of the call) of every call that ended in that time."""
    trace = os.path.join(place, "trace")
    strace = subprocess.Popen(["strace", "-f", "-ttt", "-o", trace, "-p", str(run.pid)], stderr=subprocess.DEVNULL)
    until("strace", lambda: os.path.exists(trace) and read(trace))
    begun = time.time()
    time.sleep(seconds)
    strace.send_signal(signal.SIGINT)
    strace.wait()
    # PID TIME name(...   or   PID TIME <... name resumed>
    line = re.compile(r"^\d+\s+(\d+\.\d+) (?:<\.\.\. )?(\w+)(?:\(| resumed)")
    found = [line.match(text) for text in read(trace).splitlines()]
    return [(float(m[1]) - begun, m[2]) for m in found if m and 0.5 < float(m[1]) - begun < seconds]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=int, default=300)
    args = parser.parse_args()
    if not shutil.which("strace"):
        subprocess.run("apt-get update -q && apt-get install -y -q strace", shell=True, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="pillarbox-idle-") as place:
        run, sink = start(os.path.abspath(args.binary), place)
        try:
            calls = calls_while_idle(run, args.seconds, place)
            run.send_signal(signal.SIGTERM)
            ended = run.wait(timeout=30)
        finally:
            run.kill()
            sink.kill()
    looks = []
    for at, _ in calls:
        if not looks or at - looks[-1][-1] > 2:
            looks.append([])
        looks[-1].append(at)
    names = collections.Counter(name for _, name in calls)
    for look in looks:
        print(f"  {look[0]:6.1f} s: {len(look)} calls within {(look[-1] - look[0]) * 1000:.0f} ms")
    print(f"{args.seconds} s idle: {len(looks)} looks, {len(calls)} calls: {dict(names)}")
    strange = set(names) - LOOK - WAIT - HEARD
    if strange or len(looks) > args.seconds // RESCAN + 1 or ended != 0:
        sys.exit(f"FAILED: {'unexpected calls ' + str(sorted(strange)) if strange else 'it woke up too often'}, exit {ended}")
    print("idle: ok")


if __name__ == "__main__":
    main()
