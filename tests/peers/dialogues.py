#!/usr/bin/env python3
"""The dialogues of one round trip a message, each against a real Postfix where that can be made to play them.

    dialogues.py --binary PATH [--only WORDS]

Every case has a spool of its own, a port of the same Postfix with settings of its own (master.cf), and
in between a relay that writes down who said what when. What Postfix says to a recipient or a final dot
is decided by a policy service here, which Postfix asks. A case ends with what Postfix accepted and
passed on, held against what was dropped: which message, for whom, in which order, byte for byte.

Of all dialogues must be true: nothing rides behind a message of which a recipient was deferred or left
over; a dot is only sent when the one before it is answered, and never behind a refused MAIL.

One line a case: ok, FAILED with what is wrong, or why Postfix cannot be made to play it. Exit 1 if one failed.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
import deliver  # noqa: E402
import drop  # noqa: E402
import wire  # noqa: E402
from deliver import Failure, say, wait_for  # noqa: E402

# The longest that a case waits for one thing: the machine may be busy.
PATIENCE = wire.PATIENCE

# What a service of the Postfix says otherwise than the plain one.
SERVICES = {
    "plain": [],
    "two recipients": ["smtpd_recipient_limit=2"],
    "no pipelining": ["smtpd_discard_ehlo_keywords=pipelining"],
    "small": ["message_size_limit=2000"],
    "small, SIZE not said": ["message_size_limit=2000", "smtpd_discard_ehlo_keywords=size"],
    "seven bits": ["smtpd_discard_ehlo_keywords=8bitmime"],
    "one error": ["smtpd_hard_error_limit=1"],
    "impatient": ["smtpd_timeout=1s"],
    "header checks": ["cleanup_service_name=checked"],
    "asked at MAIL": ["smtpd_delay_reject=no", "smtpd_sender_restrictions=check_policy_service inet:127.0.0.1:{policy}"],
}

MAIN_CF = """\
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}
smtpd_end_of_data_restrictions = check_policy_service inet:127.0.0.1:{policy}
"""


class Postfix(deliver.Postfix):
    """With a port for each of SERVICES."""

    def __init__(self, work, policy, headers):
        super().__init__(work)
        self.ports = {name: deliver.free_port() for name in SERVICES}
        with open(self.root + self.config + "/main.cf", "a", encoding="ascii") as file:
            file.write(MAIN_CF.format(policy=policy.port))
        with open(self.root + self.config + "/master.cf", "a", encoding="ascii") as file:
            for name, settings in SERVICES.items():
                file.write(f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd\n")
                for setting in settings:
                    key, _, value = setting.format(policy=policy.port).partition("=")
                    file.write(f"  -o {{ {key} = {value} }}\n")
            file.write("checked unix n - n - 0 cleanup\n"
                       f"  -o {{ header_checks = tcp:127.0.0.1:{headers.port} }}\n")


class Box(deliver.Box):
    """The product with more settings of [delivery]."""

    def __init__(self, binary, work, port, settings):
        super().__init__(binary, work, port)
        with open(self.config, "a", encoding="ascii") as file:
            file.write("".join(f"{setting}\n" for setting in settings))

    def command(self, *words, code=0):
        """Runs a command, and gives what it printed."""
        done = subprocess.run([self.binary, *words, "--config", self.config], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode != code:
            raise Failure(f"pillarbox {' '.join(words)}: exit code {done.returncode}, expected {code}; "
                          f"it said {done.stdout + done.stderr!r}")
        return done.stdout

    def log(self):
        return [line.decode() for line in self.tail.read()]


class Trial:
    """One case: its messages have the numbers from `base` on."""

    def __init__(self, bench, base, work):
        self.bench, self.base, self.work = bench, base, work
        self.policy, self.wrong, self.messages = bench.policy, [], {}
        self.box = self.relay = None
        self.headers = bench.headers
        self.policy.says, self.policy.asked, self.headers.says = {}, [], {}

    def to(self, i, who="ops"):
        """The address of a recipient of the case's message `i`."""
        return f"{who}{self.base + i}@example.com"

    def subject(self, i):
        """The field by which cleanup knows message `i`."""
        return f"Subject: alarm {self.base + i}"

    def add(self, i, *who, header=(), body=(), sender=drop.SENDER):
        """Message `i`, to be dropped by `run`."""
        n, to = self.base + i, [self.to(i, each) for each in who or ("ops",)]
        fields = drop.plain(n, ", ".join(to))
        fields[0] = f"From: {sender}".encode()
        tag = f"number {n} of them".encode()
        self.messages[i] = drop.Message(n, "LF", fields + list(header), [tag, *body], to=to, sender=sender)

    def run(self, *settings, service="plain", resets_after=None):
        """Starts the product with all messages accepted, so that each finds the next one waiting."""
        self.relay = wire.Relay(self.bench.peer.ports[service], resets_after)
        self.box = Box(self.bench.binary, self.work, self.relay.port, settings)
        self.box.command("pause")
        for message in self.messages.values():
            drop.drop(os.path.join(self.box.spool, "pickup"), message)
        self.box.start()
        self.until("all accepted", lambda: self.said("accepted") == len(self.messages))
        self.box.command("resume")

    def until(self, what, condition):
        def looks():
            self.box.check_alive()
            return condition()
        wait_for(what, looks, PATIENCE)

    def said(self, event, i=None):
        """How often the log says so, of message `i` or at all."""
        of = "" if i is None else f'file="{self.name(i)}"'
        return sum(f" {event} " in line and of in line for line in self.box.log())

    def name(self, i):
        return self.messages[i].name.removesuffix(".eml")

    def in_folder(self, folder):
        """The numbers of the messages there."""
        return sorted(i for i in self.messages for name in os.listdir(os.path.join(self.box.spool, folder))
                      if name.endswith(f"_{self.messages[i].name}"))

    def until_empty(self):
        self.until("nothing waits", lambda: not any(
            self.in_folder(folder) for folder in ("pending", "sending")))

    def of(self, i):
        return [each for each in self.relay.transactions() if each.n == self.base + i]

    def check(self, holds, what):
        if not holds:
            self.wrong.append(what)

    def arrived(self):
        """What Postfix took of this case, in its order: the message, and for whom."""
        found = []
        for arrival in self.bench.peer.arrivals():
            n = drop.number_of(arrival.content)
            if n is None or n - self.base not in self.messages:
                continue
            message = self.messages[n - self.base]
            wrong = drop.same(message.manifest(), arrival.content)
            self.check(not wrong, f"message {n - self.base}: {wrong}")
            self.check(arrival.reverse_path == message.reverse_path, f"reverse-path {arrival.reverse_path!r}")
            found.append((n - self.base, *sorted(re.sub(r"\d*@.*", "", to) for to in arrival.forward_paths)))
        return found

    def expect(self, *deliveries, failed=(), nested=0):
        """Ends the case: these came in this order, `i` for (i, "ops"), and those lie in failed/ with a report. So many
        MAILs were answered 503."""
        expected = [(each, "ops") if isinstance(each, int) else each for each in deliveries]
        try:
            wait_for("the deliveries", lambda: len(self.arrived()) >= len(expected), PATIENCE)
        except Failure:
            pass  # What is missing is told below.
        self.wrong += self.box.end()
        arrived = self.arrived()
        self.bench.expected += len(expected)
        self.check(arrived == expected, f"Postfix took {arrived}, expected {expected}")
        self.check(self.in_folder("failed") == sorted(failed),
                   f"in failed/ is {self.in_folder('failed')}, expected {sorted(failed)}")
        left = [name for name in self.box.leftovers() if not re.match("(failed|meta)/", name)]
        self.check(not left, f"left over: {left}")
        self.always()
        found = [each for each in self.relay.transactions() if each.mail.reply.startswith("503")]
        self.check(len(found) == nested, f"expected {nested} MAILs answered 503, found {found}")

    def always(self):
        for connection in self.relay.connections:
            before = None
            for this in connection.transactions():
                if this.rode and before:
                    put_off = [rcpt for rcpt in before.rcpts if re.match("4|552", rcpt.reply)]
                    self.check(not put_off, f"it rode behind a message with {put_off}: {this}")
                if this.dot and before and before.dot:
                    answered = before.dot.reply_at is not None and before.dot.reply_at < this.dot.at
                    self.check(answered, f"a dot before the reply to the last one: {this}")
                self.check(not (this.dot and this.mail.reply.startswith("503")), f"a dot behind a refused MAIL: {this}")
                before = this

    def report(self, i):
        """The text beside a failed message."""
        folder = os.path.join(self.box.spool, "failed")
        return "".join(open(os.path.join(folder, name), encoding="utf-8").read()
                       for name in os.listdir(folder) if name.endswith(".txt") and self.name(i) in name)

    def end(self):
        for event in self.policy.says.values():
            if isinstance(event, threading.Event):
                event.set()
        if self.box and self.box.process:
            deliver.stop(self.box.process)


def three(t):
    """Three messages for one recipient each."""
    for i in (1, 2, 3):
        t.add(i)


LATER = "450 4.2.1 not now"


def one_round_trip(t):
    "one round trip a message: the next one's replies are there before the outcome is on disk"
    for i in range(1, 7):
        t.add(i)
    t.run()
    t.until_empty()
    riders = [t.of(i) for i in range(2, 7)]
    t.check(all(len(each) == 1 for each in riders), f"expected one transaction each, found {riders}")
    for rider in [each[0] for each in riders if each]:
        t.check(rider.rode_in_one_write, f"MAIL was not in one write with the dot before it: {rider}")
        t.check(rider.answered_in_one_read(), f"354 did not come with the reply to the dot before it: {rider}")
    t.expect(1, 2, 3, 4, 5, 6)


def recipient_deferred(t):
    "a recipient deferred among taken ones holds the line: nothing rides, each gets it once"
    t.add(1, "first", "later", "third")
    t.add(2)
    t.add(3)
    t.policy.says["RCPT", t.to(1, "later")] = LATER
    t.run('keep_open = "100ms"')
    t.until("deferred twice", lambda: t.said("deferred", 1) >= 2)
    t.check(not t.of(2), f"sent while the line was held: {t.of(2)}")
    t.policy.says.clear()
    t.until_empty()
    again = [rcpt.text for each in t.of(1)[1:] for rcpt in each.rcpts if "later" not in rcpt.text]
    t.check(not again, f"taken already, and sent to again: {again}")
    t.expect((1, "first", "third"), (1, "later"), 2, 3)


def recipient_aside(t):
    'a recipient deferred with hold_line = "0s": the others pass at once'
    t.add(1, "first", "later")
    t.add(2)
    t.add(3)
    t.policy.says["RCPT", t.to(1, "later")] = LATER
    t.run('hold_line = "0s"')
    t.until("the others passed", lambda: t.said("delivered", 3))
    t.check(t.said("message-stepped-aside") == 1, "it did not step aside")
    t.policy.says.clear()
    t.box.command("flush")
    t.until_empty()
    t.expect((1, "first"), 2, 3, (1, "later"))


def hold_line_used_up(t):
    'hold_line = "3s" is used up: held until then, and then the others pass'
    three(t)
    t.policy.says["RCPT", t.to(1)] = LATER
    t.run('hold_line = "3s"')
    t.until("the others passed", lambda: t.said("delivered", 3))
    first, second = t.of(1)[0].mail.when, t.of(2)[0].mail.when
    t.check(second - first > 2.5, f"the line was held for {second - first:.1f} s")
    t.check(len([each for each in t.of(1) if each.mail.when < second]) >= 2, "it was not tried again before")
    t.policy.says.clear()
    t.box.command("flush")
    t.until_empty()
    t.expect(2, 3, 1)


def left_over(t):
    "recipients left over (452): the rest in transactions of their own, ahead of the next message"
    t.add(1, "a", "b", "c", "d", "e")
    t.add(2)
    t.add(3)
    t.run(service="two recipients")
    t.until_empty()
    t.check(any(rcpt.reply.startswith("452 4.5.3") for rcpt in t.of(1)[0].rcpts), f"no 452: {t.of(1)}")
    t.expect((1, "a", "b"), (1, "c", "d"), (1, "e"), 2, 3)


def dot_refused(t):
    "n answered 550 at the dot (header_checks): n+1, which rode, goes on"
    three(t)
    t.headers.says[t.subject(1)] = "REJECT not this one"
    t.run(service="header checks")
    t.until_empty()
    t.check(t.of(1)[0].dot.reply.startswith("550"), f"no 550: {t.of(1)}")
    t.check(t.of(2)[0].rode and len(t.of(2)) == 1, f"expected one that rode: {t.of(2)}")
    t.check("not this one" in t.report(1), f"the report does not say why: {t.report(1)!r}")
    t.expect(2, 3, failed=[1])


def dot_deferred_aside(t):
    'n answered 4yz at the dot (header_checks), hold_line = "0s": n+1, which rode, goes on'
    three(t)
    t.headers.says[t.subject(1)] = "REJECT 4.7.1 not now"
    t.run('hold_line = "0s"', service="header checks")
    t.until("the others passed", lambda: t.said("delivered", 3))
    t.check(t.of(1)[0].dot.reply.startswith("4"), f"no 4yz: {t.of(1)}")
    t.check(t.of(2)[0].rode and len(t.of(2)) == 1, f"expected one that rode: {t.of(2)}")
    t.headers.says.clear()
    t.box.command("flush")
    t.until_empty()
    t.expect(2, 3, 1)


def dot_deferred_holds(t):
    "n answered 4yz at the dot, and holds the line: n+1, which rode, is abandoned and comes behind"
    three(t)
    t.headers.says[t.subject(1)] = "REJECT 4.7.1 not now"
    t.run(service="header checks")
    t.until("deferred twice", lambda: t.said("deferred", 1) >= 2)
    t.check(t.of(2)[0].rode, f"expected one that rode: {t.of(2)}")
    t.check(not any(each.dot for each in t.of(2)), f"a dot while the line was held: {t.of(2)}")
    t.headers.says.clear()
    t.until_empty()
    t.expect(1, 2, 3)


NOT_NOW = "451 4.3.0 not now"


def kept_open(t):
    """n answered 451 at the dot by smtpd_end_of_data_restrictions, behind which Postfix keeps the transaction open \
(503 nested MAIL): nothing of n+1, which rode, goes to n's recipients"""
    three(t)
    t.policy.says["END-OF-MESSAGE", t.to(1)] = NOT_NOW
    t.run()
    t.until("deferred twice", lambda: t.said("deferred", 1) >= 2)
    t.check(t.of(2)[0].rode and t.of(2)[0].mail.reply.startswith("503"), f"expected 503 to what rode: {t.of(2)}")
    t.policy.says.clear()
    t.until_empty()
    t.expect(1, 2, 3, nested=1)


def kept_open_in_lockstep(t):
    "the same without PIPELINING: RSET before the next MAIL, and the session goes on"
    three(t)
    t.policy.says["END-OF-MESSAGE", t.to(2)] = "550 5.7.1 not this one"
    t.run(service="no pipelining")
    t.until_empty()
    said = [command.text for command in t.relay.commands()]
    t.check(said.count("RSET") == 1, f"expected one RSET, found {said}")
    t.check(len(t.relay.connections) == 1, "the session did not go on")
    t.expect(1, 3, failed=[2])


def while_its_data_is_open(t):
    """Message 1's outcome is kept back until message 2 rode behind it; gives the event that lets it come."""
    three(t)
    let_go = t.policy.says["END-OF-MESSAGE", t.to(1)] = threading.Event()
    t.run()
    t.until("message 2 rides", lambda: any(each.data for each in t.of(2)))
    t.box.command("hold", t.name(1), code=75)
    return let_go


def hold_rider(t):
    "hold of n+1 while its DATA is open: n and n+2 pass, n+1 when it is released; hold of n is refused"
    let_go = while_its_data_is_open(t)
    t.box.command("hold", t.name(2))
    let_go.set()
    t.until("the one behind it passed", lambda: t.said("delivered", 3))
    t.check(t.in_folder("pending") == [2], f"in pending/ is {t.in_folder('pending')}")
    t.box.command("release", t.name(2))
    t.until_empty()
    t.expect(1, 3, 2)


def remove_rider(t):
    "remove of n+1 while its DATA is open: nothing of it arrives"
    let_go = while_its_data_is_open(t)
    t.box.command("remove", t.name(2))
    let_go.set()
    t.until_empty()
    t.expect(1, 3)


def pause_with_rider(t):
    "pause while DATA of n+1 is open: n ends, n+1 waits until resume"
    let_go = while_its_data_is_open(t)
    t.box.command("pause")
    let_go.set()
    t.until("message 1 passed", lambda: t.said("delivered", 1))
    t.until("the session ended", lambda: t.bench.peer_said(b"lost connection after DATA", t.since)
            or t.bench.peer_said(b"disconnect from", t.since))
    t.check(t.in_folder("pending") == [2, 3], f"in pending/ is {t.in_folder('pending')}")
    t.box.command("resume")
    t.until_empty()
    t.expect(1, 2, 3)


def rate(t):
    'rate = "2/4s": nothing rides beyond it'
    for i in range(1, 6):
        t.add(i)
    t.run('rate = "2/4s"')
    t.until_empty()
    began = [each.mail.when for each in t.relay.transactions()]
    short = [f"{b - a:.2f} s" for a, b in zip(began, began[2:]) if b - a < 3.9]
    t.check(not short, f"three MAILs within {short}")
    t.check(t.said("quota-reached"), "the log does not say quota-reached")
    t.check(t.of(2)[0].rode, "nothing rode within the rate")
    t.expect(1, 2, 3, 4, 5)


def closes_after_each(t):
    "the server closes behind each message by RST (done by the relay, Postfix does not): once each, in order"
    for i in range(1, 6):
        t.add(i)
    t.run(resets_after=b"queued as")
    t.until_empty()
    t.check(len(t.relay.connections) >= 5, f"{len(t.relay.connections)} sessions, expected five")
    t.check(not t.said("outcome-unknown"), "a reply that was there was not read")
    rode = [each for each in t.relay.transactions() if each.rode]
    t.check(len(rode) == 1, f"expected one that rode, and none after that was seen to fail: {rode}")
    t.expect(1, 2, 3, 4, 5)


def idle_closed(t):
    "the server closes an idle session (421 4.4.2): the next drop is charged nothing"
    t.add(1)
    t.run('keep_open = "20s"', service="impatient")
    t.until_empty()
    t.until("421", lambda: any(b"421 4.4.2" in octets for side, octets, _ in t.relay.connections[0].reads
                               if side == "S"))
    t.add(2)
    drop.drop(os.path.join(t.box.spool, "pickup"), t.messages[2])
    t.until("message 2 passed", lambda: t.said("delivered", 2))
    t.check(not t.said("smarthost-unusable"), "an idle session that ended was called a fault")
    t.expect(1, 2)


def all_refused(t):
    "554 to DATA behind refused recipients, and RSET before the next MAIL (no nested MAIL)"
    for i in range(1, 6):
        t.add(i)
    for i in (2, 4):
        t.policy.says["RCPT", t.to(i)] = "550 5.1.1 nobody"
    t.run()
    t.until_empty()
    for i in (2, 4):
        (refused,) = t.of(i)
        t.check(refused.rode and refused.data.reply.startswith("554") and not refused.dot,
                f"expected 554 to the DATA of one that rode, and no dot: {refused}")
    said = [command.text[:4] for command in t.relay.commands()]
    t.check(said.count("RSET") == 2, f"expected two RSETs, found {said}")
    t.check(len(t.relay.connections) == 1, "the session did not go on")
    t.expect(1, 3, 5, failed=[2, 4])


def mail_refused(t):
    "MAIL of what rode is refused: 503 to its RCPT and DATA are no fault of the session"
    t.add(1)
    t.add(2, sender="unwanted@example.com")
    t.add(3)
    t.policy.says["MAIL", "unwanted@example.com"] = "550 5.7.1 not from you"
    t.run(service="asked at MAIL")
    t.until_empty()
    (refused,) = t.of(2)
    t.check(refused.rode and refused.mail.reply.startswith("550"), f"expected 550 to MAIL: {refused}")
    t.check(refused.data.reply.startswith("503"), f"expected 503 to DATA: {refused}")
    t.check("not from you" in t.report(2), f"the report does not say why: {t.report(2)!r}")
    t.expect(1, 3, failed=[2])


def going(t):
    "421 to the RCPT of what rode: charged to nobody"
    three(t)
    t.policy.says["RCPT", t.to(2)] = "421 4.3.0 going"
    t.run()
    t.until("421", lambda: any(rcpt.reply.startswith("421") for each in t.of(2) for rcpt in each.rcpts))
    t.policy.says.clear()
    t.until_empty()
    t.check(not t.said("deferred"), "a message was charged with the session's end")
    t.expect(1, 2, 3)


def going_at_the_dot(t):
    "421 to the dot of n while n+1 rides: n comes again, n+1 behind it"
    three(t)
    t.policy.says["END-OF-MESSAGE", t.to(1)] = "421 4.3.0 going"
    t.run()
    t.until("421", lambda: any(each.dot and each.dot.reply.startswith("421") for each in t.of(1)))
    t.policy.says.clear()
    t.until_empty()
    t.check(not t.said("deferred"), "a message was charged with the session's end")
    t.expect(1, 2, 3)


def closes_after_an_error(t):
    "the server closes after one refusal (smtpd_hard_error_limit): the refused one fails, the others pass"
    three(t)
    t.policy.says["RCPT", t.to(2)] = "550 5.1.1 nobody"
    t.run(service="one error")
    t.until_empty()
    t.check(any("421" in str(each) for each in t.of(2)), f"no 421: {t.of(2)}")
    t.expect(1, 3, failed=[2])


def no_pipelining(t):
    "no PIPELINING: one request at a time, nothing rides"
    for i in range(1, 5):
        t.add(i)
    t.run(service="no pipelining")
    t.until_empty()
    for connection in t.relay.connections:
        commands = connection.commands()
        early = [b for a, b in zip(commands, commands[1:]) if a.reply_at is None or b.at < a.reply_at]
        t.check(not early, f"a request before the reply to the one before: {early}")
    t.expect(1, 2, 3, 4)


LONG = [b"x" * 70] * 60


def size_exceeded(t):
    "SIZE exceeded: it fails unsent, and is no reason for what is around it"
    t.add(1)
    t.add(2, body=LONG)
    t.add(3)
    t.run(service="small")
    t.until_empty()
    t.check(not t.of(2), f"sent in breach of SIZE: {t.of(2)}")
    t.check("2000" in t.report(2), f"the report does not say the limit: {t.report(2)!r}")
    t.expect(1, 3, failed=[2])


def size_not_said(t):
    "too large for a server that did not say SIZE: 552 at the dot, and the next one, which rode, goes on"
    t.add(1)
    t.add(2, body=LONG)
    t.add(3)
    t.run(service="small, SIZE not said")
    t.until_empty()
    t.check(t.of(2)[0].dot.reply.startswith("552"), f"no 552: {t.of(2)}")
    t.check(t.of(3)[0].rode and len(t.of(3)) == 1, f"expected one that rode: {t.of(3)}")
    t.expect(1, 3, failed=[2])


def eight_bit(t):
    "no 8BITMIME: a signed 8-bit message fails unsent with that reason"
    t.add(1)
    signed = [b"MIME-Version: 1.0", b"Content-Type: multipart/signed; boundary=b"]
    t.add(2, header=signed, body=[b"--b", b"", "Türe 3".encode(), b"--b--"])
    t.add(3)
    t.run(service="seven bits")
    t.until_empty()
    t.check(not t.of(2), f"sent in breach of RFC 6152: {t.of(2)}")
    t.check("8BITMIME" in t.report(2), f"the report does not say why: {t.report(2)!r}")
    t.expect(1, 3, failed=[2])


CASES = [
    one_round_trip, recipient_deferred, recipient_aside, hold_line_used_up, left_over, dot_refused,
    dot_deferred_aside, dot_deferred_holds, kept_open, kept_open_in_lockstep, hold_rider, remove_rider, pause_with_rider, rate, closes_after_each,
    idle_closed, all_refused, mail_refused, going, going_at_the_dot, closes_after_an_error, no_pipelining,
    size_exceeded, size_not_said, eight_bit,
]

NOT_PROVOKED = {
    "354 behind refused recipients": "Postfix answers DATA by 554 when it took no recipient; see src/smtp/dialogues.txt",
    "MAILMAX": "Postfix does not say LIMITS; see src/smtp/dialogues.txt",
}


class Bench:
    """What the cases share."""

    def __init__(self, binary, work):
        self.binary, self.work, self.expected = binary, work, 0
        self.policy, self.headers = wire.Policy(), wire.Headers()
        self.peer = Postfix(work, self.policy, self.headers)

    def peer_said(self, words, since):
        """Whether the log of Postfix has the words behind its first `since` lines."""
        return any(words in line for line in self.peer.tail.read()[since:])

    def play(self, number, case):
        work = os.path.join(self.work, case.__name__)
        os.mkdir(work)
        trial = Trial(self, (number + 1) * 100, work)
        trial.since = len(self.peer.tail.read())
        began = time.monotonic()
        try:
            case(trial)
        except (Failure, OSError, subprocess.CalledProcessError) as failure:
            trial.wrong.append(str(failure))
        except (IndexError, ValueError, AttributeError):
            # A transaction that should be there is not.
            trial.wrong.append(traceback.format_exc(limit=-1))
        finally:
            trial.end()
        words = "FAILED" if trial.wrong else "ok"
        say(f"{words:7} {case.__doc__} ({time.monotonic() - began:.1f} s)")
        for wrong in trial.wrong:
            say(f"        {wrong}")
        if trial.wrong and trial.relay:
            for connection in trial.relay.connections[:5]:
                say(f"        {connection.commands()}")
        return not trial.wrong


def main():
    parser = argparse.ArgumentParser(description="Play the dialogues of one round trip a message against Postfix.")
    parser.add_argument("--binary", required=True, help="the pillarbox to test")
    parser.add_argument("--only", default="", help="only the cases whose name has this in it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="pillarbox-dialogues-")
    began, failed = time.monotonic(), 0
    bench = Bench(options.binary, work)
    try:
        bench.peer.start()
        played = [(n, case) for n, case in enumerate(CASES) if options.only in case.__name__]
        for number, case in played:
            failed += not bench.play(number, case)
        count = len(bench.peer.arrivals())
        if not failed and count != bench.expected:
            failed += 1
            say(f"FAILED  Postfix took {count} messages in all, expected {bench.expected}")
    finally:
        bench.peer.stop()
    for what, why in NOT_PROVOKED.items():
        say(f"{what}: cannot be provoked: {why}")
    if failed:
        say(f"logs are kept in {work}")
    else:
        shutil.rmtree(work)
    say(f"{len(played)} dialogues with Postfix, {failed} failed; {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
