#!/usr/bin/env python3
"""Holds pillarbox against real servers, over TLS and by every login that each has.

    interop.py --binary PATH [--only SERVER]... [--messages 500]

The servers come from install.sh ($PILLARBOX_PEERS, default target/peers); needs root. One line a check:

    ok   exim starttls: 500 in order, 3.2 s
    FAIL exim smtps: what is wrong
    SKIP exim scram-sha-256: why it cannot run

A check that is skipped must stand in the table "What may be skipped" of docs/TESTING.md. Exit 1 on any FAIL, and on
any other SKIP. All that runs, runs in namespaces of its own (network, processes, mounts): no port can be taken, nothing
reaches another host, and all of it ends with this program, whatever ends that.
"""

import argparse
import fcntl
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
import servers  # noqa: E402
import deliver  # noqa: E402
import drop  # noqa: E402
from deliver import Failure, LEASH, say, wait_for  # noqa: E402
from servers import CLIENT, PASSWORD, USER  # noqa: E402

TESTING = os.path.join(servers.HERE, "..", "..", "docs", "TESTING.md")
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]

# The longest that one thing is waited for: the machine may be busy.
PATIENCE = 30

# deliver.settle() is as patient.
deliver.STALL = PATIENCE

# What pillarbox can log in by, as a server offers it.
KNOWN = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN",
         "OAUTHBEARER", "XOAUTH2", "EXTERNAL"]
TOKENS = ("OAUTHBEARER", "XOAUTH2")


class Box(deliver.Box):
    """The product, with a smarthost as the check wants it."""

    def __init__(self, binary, work, **smarthost):
        os.mkdir(work)
        super().__init__(binary, work, 0)
        with open(self.config, encoding="utf-8") as file:
            self.common = re.sub(r"(?m)^(url|tls) = .*\n", "", file.read())
        self.secret = os.path.join(work, "secret")
        self.set(**smarthost)

    def set(self, secret=None, **smarthost):
        """Writes the secret, if one is given, and the settings of the smarthost."""
        if secret is not None:
            with open(self.secret, "w", encoding="utf-8") as file:
                file.write(secret + "\n")
            os.chmod(self.secret, 0o600)
        lines = [f'{name} = "{value}"' for name, value in smarthost.items() if name not in ("password", "token")]
        lines += [f'{name} = {{ file = "{self.secret}" }}' for name in ("password", "token") if name in smarthost]
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(self.common.replace("[[smarthost]]\n", "[[smarthost]]\n" + "\n".join(lines) + "\n"))

    def reload(self):
        servers.run(self.binary, "reload", "--config", self.config)

    def said_since(self):
        return b"\n".join(self.tail.read()).decode()


class Check:
    """One check of one server, with a spool of its own. Gives up with Failure."""

    def __init__(self, bench, server, name):
        self.bench, self.server, self.name = bench, server, name
        self.work = os.path.join(bench.work, f"{server.name}-{name}".replace(" ", "-"))
        self.before, self.logins_before = server.count(), len(server.logins())
        self.entries, self.box = {}, None

    # deliver.settle() looks at a peer: this is the server, from the beginning of the check on.
    def count(self):
        return self.server.count() - self.before

    def settings(self, port, mechanism=None):
        scheme = "smtps" if port == "smtps" else "smtp"
        found = {"url": f"{scheme}://localhost:{self.server.ports[port]}"}
        if port == "plain":
            return {**found, "tls": "none"}
        found["ca_file"] = os.path.join(self.server.tls, "ca.pem")
        if mechanism == "EXTERNAL":
            return {**found, "auth": mechanism, "user": CLIENT, "client_cert": f"{self.server.tls}/client.pem",
                    "client_key": f"{self.server.tls}/client.key"}
        found.update({"user": USER, ("token" if mechanism in TOKENS else "password"): True})
        return {**found, "auth": mechanism} if mechanism else found

    def start(self, secret=PASSWORD, **smarthost):
        self.box = Box(self.bench.binary, self.work, secret=secret, **smarthost)
        self.box.start()
        self.box.ready()

    def drop(self, messages):
        for n in range(messages):
            message = drop.make(n)
            self.entries[n] = message.manifest()
            drop.drop(os.path.join(self.box.spool, "pickup"), message)

    def all_arrive(self):
        """Once, in order, byte for byte, and nothing is left."""
        violations = deliver.settle(self.box, self, len(self.entries))
        arrivals = self.server.arrivals()[self.before:]
        entries = {n: self.server.expects(entry) for n, entry in self.entries.items()}
        violations += deliver.judge(entries, arrivals, [])[0]
        violations += [f"left over: {name}" for name in self.box.leftovers()]
        if violations:
            more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
            raise Failure("; ".join(violations[:3]) + more)

    def logged_in_by(self, mechanism):
        seen = self.server.logins()[self.logins_before:]
        if not seen or set(seen) != {mechanism}:
            raise Failure(f"expected logins by {mechanism}, the server saw {seen or 'none'}")

    def all_wait(self, step, cause):
        """The smarthost cannot be used for this reason, and everything waits, in order."""
        wait_for(f"the line that says that the smarthost is unusable, while {step}", lambda: self.box.check_alive() or re.search(
            f"smarthost-unusable .*{step}.*{cause}", self.box.said_since()), PATIENCE)
        messages = len(self.entries)
        wait_for("the acceptance of all", lambda: len(os.listdir(self.box.spool + "/pending")) == messages, PATIENCE)
        names = [name.split("_")[-1].removesuffix(".eml") for name in sorted(os.listdir(self.box.spool + "/pending"))]
        wanted = [self.entries[n]["name"].removesuffix(".eml") for n in sorted(self.entries)]
        if names != wanted:
            raise Failure(f"expected {wanted} in pending/, found {names}")
        elsewhere = [name for name in self.box.waiting() if not name.startswith("pending/")]
        if elsewhere or self.count():
            raise Failure(f"expected all to wait in pending/, found {elsewhere}, and {self.count()} at the server")

    def last_warning(self):
        found = re.findall(r"^\S+ +(?:WARN|ERROR) (.*)$", self.box.said_since(), re.M) if self.box and self.box.tail else []
        return found[-1] if found else "no warning"

    def end(self):
        if self.box and self.box.process:
            deliver.stop(self.box.process)


class Bench:
    """All checks of all servers, and what came of them."""

    def __init__(self, options, work):
        self.binary, self.messages, self.work = os.path.abspath(options.binary), options.messages, work
        self.failed, self.skipped = 0, []
        self.tls = os.path.join(work, "tls")
        servers.make_certificates(self.tls)

    def skip(self, server, name, reason):
        self.skipped.append((server, name.lower()))
        say(f"SKIP {server} {name.lower()}: {reason}")

    def check(self, server, name, doing):
        check, began = Check(self, server, name.lower()), time.monotonic()
        try:
            what = doing(check)
            say(f"ok   {server.name} {check.name}: {what}, {time.monotonic() - began:.1f} s")
        except (Failure, OSError, subprocess.CalledProcessError) as failure:
            self.failed += 1
            say(f"FAIL {server.name} {check.name}: {failure}; the service said last: {check.last_warning()}")
        finally:
            check.end()

    def many(self, port):
        def doing(check):
            check.start(**check.settings(port))
            check.drop(self.messages)
            check.all_arrive()
            return f"{self.messages} in order" + (f", logged in by {check.server.logins()[-1]}" if port != "plain" else "")
        return doing

    @staticmethod
    def login(mechanism):
        def doing(check):
            check.start(**check.settings("starttls", mechanism))
            check.drop(5)
            check.all_arrive()
            check.logged_in_by(mechanism)
            return "5 in order, and the server saw it"
        return doing

    @staticmethod
    def wrong_secret(mechanism):
        def doing(check):
            check.start(secret="guessed", **check.settings("starttls", mechanism))
            check.drop(5)
            check.all_wait("logging in", "")
            check.box.set(secret=PASSWORD, **check.settings("starttls", mechanism))
            check.box.reload()
            check.all_arrive()
            check.logged_in_by(mechanism)
            return "5 waited in order, and left when it was mended"
        return doing

    @staticmethod
    def unknown_authority(port):
        def doing(check):
            mended = check.settings(port)
            check.start(**{name: value for name, value in mended.items() if name != "ca_file"})
            check.drop(5)
            check.all_wait("TLS", "certificate")
            check.box.set(**mended)
            check.box.reload()
            check.all_arrive()
            return "5 waited in order, and left when ca_file was set"
        return doing

    def offered(self, server):
        """What the server itself says that it can, to a client with a certificate."""
        context = ssl.create_default_context(cafile=f"{self.tls}/ca.pem")
        context.load_cert_chain(f"{self.tls}/client.pem", f"{self.tls}/client.key")
        with smtplib.SMTP("localhost", server.ports["starttls"], timeout=PATIENCE) as client:
            client.starttls(context=context)
            client.ehlo()
            return client.esmtp_features.get("auth", "").upper().split()

    def serve(self, make, first_port):
        server = make(os.path.join(self.work, make.name), self.tls, first_port)
        try:
            server.start()
            self.check(server, "starttls", self.many("starttls"))
            self.check(server, "smtps", self.many("smtps"))
            self.check(server, "no tls", self.many("plain"))
            offered = self.offered(server)
            for mechanism in KNOWN:
                if mechanism in offered:
                    self.check(server, mechanism, self.login(mechanism))
                    if mechanism != "EXTERNAL":
                        self.check(server, f"wrong secret by {mechanism}", self.wrong_secret(mechanism))
                elif mechanism in server.known_for:
                    self.skip(server.name, mechanism, server.may_skip().get(mechanism, f"not offered: {' '.join(offered)}"))
            for port in ("starttls", "smtps"):
                self.check(server, f"unknown authority by {port}", self.unknown_authority(port))
        finally:
            server.stop()


def may_be_skipped():
    """The rows of the table in docs/TESTING.md: (server, check)."""
    with open(TESTING, encoding="utf-8") as file:
        section = re.search(r"^#+ What may be skipped\n(.*?)(?=^#|\Z)", file.read(), re.M | re.S)
    if not section:
        raise Failure("expected a section \"What may be skipped\" in docs/TESTING.md")
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| [^|]+ \|$", section.group(1), re.M)
    return {(server, check) for server, check in rows if server != "server"}


def lift_loopback():
    """Brings up `lo` in a network namespace that is new (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def inside(options):
    lift_loopback()
    wanted = [make for make in servers.ALL if not options.only or make.name in options.only]
    bench = Bench(options, options.inside)
    for i, make in enumerate(wanted):
        try:
            bench.serve(make, 2500 + 10 * i)
        except Exception as failure:  # a server that cannot be run is a finding, and the others go on
            bench.failed += 1
            say(f"FAIL {make.name} server: {failure}")
            if not isinstance(failure, Failure):
                traceback.print_exc()
    strangers = [skipped for skipped in bench.skipped if skipped not in may_be_skipped()]
    for server, check in strangers:
        say(f"FAIL {server} {check}: it was skipped, and does not stand in the table of docs/TESTING.md")
    return 1 if bench.failed or strangers else 0


def main():
    parser = argparse.ArgumentParser(description="Deliver to real servers, over TLS and by every login that they have.")
    parser.add_argument("--binary", required=True, help="the pillarbox to test")
    parser.add_argument("--only", action="append", choices=[make.name for make in servers.ALL], help="this server")
    parser.add_argument("--messages", type=int, default=500, help="messages a transport (500)")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside(options)
    if os.geteuid() != 0:
        parser.error("expected root: the servers run in roots of their own")
    work = tempfile.mkdtemp(prefix="pillarbox-interop-")
    os.chmod(work, 0o755)
    child = subprocess.Popen(LEASH + NAMESPACES + [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--inside", work],
                             start_new_session=True)
    status = None
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        status = child.wait()
    finally:
        # It takes its namespaces, and all that runs in them, along.
        child.kill()
        child.wait()
        if status == 1:
            say(f"interop: what all said is kept in {work}")
        else:
            shutil.rmtree(work)
    return status


if __name__ == "__main__":
    sys.exit(main())
