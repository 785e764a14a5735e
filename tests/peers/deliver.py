#!/usr/bin/env python3
"""Delivers through real peers, and holds what arrived against what was dropped.

    deliver.py --binary PATH --peer aiosmtpd|postfix [--messages 1000] [--kills 50] [--seed N]

Two scenarios, each with a spool of its own:

outage  The smarthost is down. The service runs, all messages are dropped, then the smarthost
        starts. Each must arrive once, in the order dropped, byte for byte.
kills   The smarthost is up. While messages are dropped and drained, the service is killed with
        SIGKILL at random instants and started again. None may be lost; first arrivals in order; at
        most one message twice for each kill: the last that had arrived when the kill came, the copy right
        behind it and the same to the byte.

The peers come from install.sh ($PILLARBOX_PEERS, default target/peers). Postfix runs in its root
and relays to a capturing aiosmtpd: its queue ids in its own log, at acceptance, give the order; what
it relays gives the bytes. One line of summary a scenario; exit 0 if nothing was violated, else 1.
deliver.py --self-test shows that the judge sees what it must, without any peer.
"""

import argparse
import base64
import collections
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # drop.py lies in the source tree
import drop  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
PEERS = os.path.abspath(os.environ.get("PILLARBOX_PEERS", os.path.join(TREE, "target", "peers")))

# The longest that nothing may happen at all before a scenario is given up.
STALL = 60

Arrival = collections.namedtuple("Arrival", "reverse_path forward_paths content")


class Failure(Exception):
    """The scenario could not be run to its end."""


def say(text):
    print(text, flush=True)


def wait_for(what, condition, limit):
    """Polls: the peers and the product are other processes."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {limit} s")
        time.sleep(0.01)


# What is started behind this ends with us, also if we are killed without a word.
LEASH = ["setpriv", "--pdeathsig", "KILL"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process, limit=15):
    """SIGTERM, then SIGKILL; returns the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Tail:
    """The complete lines of a file that grows."""

    def __init__(self, path):
        self.path, self.at, self.lines = path, 0, []

    def read(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.at)
                new = file.read()
        except FileNotFoundError:
            return self.lines
        new = new[: new.rfind(b"\n") + 1]
        self.at += len(new)
        self.lines += new.splitlines()
        return self.lines


class Aiosmtpd:
    """The capturing aiosmtpd."""

    def __init__(self, work, port=None):
        self.port = port or free_port()
        self.path = os.path.join(work, "captured")
        self.tail, self.process = Tail(self.path), None
        self.python = os.path.join(PEERS, "venv", "bin", "python")
        if not os.path.exists(self.python):
            raise Failure(f"expected {self.python}; run tests/peers/install.sh")

    def start(self):
        command = LEASH + [self.python, os.path.join(HERE, "capture.py"), str(self.port), self.path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise Failure("aiosmtpd did not start")

    def stop(self):
        if self.process:
            stop(self.process)
            self.process.stdout.close()

    def count(self):
        """How many messages it has taken so far."""
        return len(self.tail.read())

    def arrivals(self):
        found = []
        for line in self.tail.read():
            entry = json.loads(line)
            found.append(Arrival(entry["reverse_path"], entry["forward_paths"], base64.b64decode(entry["content"])))
        return found


MAIN_CF = """\
compatibility_level = 3.6
enable_long_queue_ids = yes
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {log}
maillog_file_prefixes = /var
myhostname = smarthost.example.com
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
smtp_host_lookup = native
default_transport = smtp:[127.0.0.1]:{sink}
local_transport = error:nothing is local here
smtp_line_length_limit = 0
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtp_generic_maps =
notify_classes =
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A real Postfix in its own root, an instance of its own there."""

    def __init__(self, work):
        self.root = os.path.join(PEERS, "postfix-root")
        if not os.path.isdir(self.root):
            raise Failure(f"expected {self.root}; run tests/peers/install.sh")
        if os.geteuid() != 0:
            raise Failure("expected root: Postfix runs in a root of its own")
        self.sink = Aiosmtpd(work)
        self.said = open(os.path.join(work, "postfix.out"), "wb")
        self.sweep()
        self.port, self.process = free_port(), None
        self.name = f"pillarbox-{os.getpid()}"
        self.config, self.queue, self.data, self.log = self.places(self.name)
        self.tail = Tail(self.root + self.log)
        self.accepted, self.seen, self.by_id = set(), [], 0
        os.mkdir(self.root + self.config)
        with open(self.root + self.config + "/main.cf", "w", encoding="ascii") as file:
            file.write(MAIN_CF.format(queue=self.queue, data=self.data, log=self.log, sink=self.sink.port))
        with open(self.root + self.config + "/master.cf", "w", encoding="ascii") as file:
            file.write(MASTER_CF.format(port=self.port))
        os.mkdir(self.root + self.queue)
        os.mkdir(self.root + self.data)
        self.run(["chown", "postfix", self.data])

    @staticmethod
    def places(name):
        return f"/etc/{name}", f"/var/spool/{name}", f"/var/lib/{name}", f"/var/log/{name}.log"

    def remove(self, name):
        *trees, log = self.places(name)
        for path in trees:
            shutil.rmtree(self.root + path, ignore_errors=True)
        if os.path.exists(self.root + log):
            os.unlink(self.root + log)

    def sweep(self):
        """Ends the instances of runs that were killed: Postfix goes into a session of its own."""
        for name in os.listdir(self.root + "/etc"):
            owner = re.fullmatch(r"pillarbox-(\d+)", name)
            if owner and not os.path.exists(f"/proc/{owner.group(1)}"):
                self.run(["postfix", "-c", self.places(name)[0], "stop"])
                self.remove(name)

    def run(self, command):
        return subprocess.run(["chroot", self.root] + command, stdout=self.said, stderr=self.said, check=False)

    def start(self):
        self.sink.start()
        self.process = subprocess.Popen(["chroot", self.root, "postfix", "-c", self.config, "start-fg"],
                                        stdout=self.said, stderr=self.said, start_new_session=True)

        def listens():
            if self.process.poll() is not None:
                raise Failure(f"postfix ended with {self.process.returncode}; see {self.said.name}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    return probe.makefile("rb").readline().startswith(b"220")
            except OSError:
                return False

        wait_for("the greeting of postfix", listens, 30)

    def stop(self):
        if self.process:
            self.run(["postfix", "-c", self.config, "stop"])
            stop(self.process)
            shutil.copy(self.root + self.log, self.said.name.replace(".out", ".log"))
        self.said.close()
        self.sink.stop()
        self.remove(self.name)

    def ids(self):
        """The queue ids of accepted messages, in the order in which cleanup saw them.

        cleanup names a message when it reads its header; qmgr, when it is whole in the queue. One
        that the client broke off in the middle has the first of these lines only.
        """
        lines = self.tail.read()
        for line in lines[self.by_id:]:
            named = re.search(rb"/cleanup\[\d+\]: (\w+): message-id=", line)
            whole = re.search(rb"/qmgr\[\d+\]: (\w+): from=<", line)
            if named:
                self.seen.append(named.group(1))
            elif whole:
                self.accepted.add(whole.group(1))
        self.by_id = len(lines)
        return [queue_id for queue_id in self.seen if queue_id in self.accepted]

    def count(self):
        return len(self.ids())

    def arrivals(self):
        """In the order of acceptance, with the bytes that Postfix relayed, its own field taken off."""
        wait_for("all that postfix accepted, relayed", lambda: self.sink.count() >= self.count(), STALL)
        relayed = {}
        for arrival in self.sink.arrivals():
            # Received: from ... by smarthost.example.com (Postfix) with ESMTP id QUEUEID ...
            field = re.match(rb"Received: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", arrival.content)
            queue_id = field and re.search(rb"\bid (\w+)\b", field.group(0))
            if not queue_id:
                raise Failure(f"relayed without postfix's Received field: {arrival.content[:200]!r}")
            if queue_id.group(1) in relayed:
                raise Failure(f"postfix relayed {queue_id.group(1)} twice: the sink is not reliable")
            relayed[queue_id.group(1)] = arrival._replace(content=arrival.content[field.end():])
        missing = [queue_id for queue_id in self.ids() if queue_id not in relayed]
        if missing:
            raise Failure(f"postfix accepted {missing} and relayed something else")
        return [relayed[queue_id] for queue_id in self.ids()]


class Box:
    """The product with a spool of its own."""

    def __init__(self, binary, work, port):
        self.binary, self.work = os.path.abspath(binary), work
        self.spool = os.path.join(work, "spool")
        self.config = os.path.join(work, "pillarbox.toml")
        self.said = os.path.join(work, "pillarbox.log")
        self.process, self.tail = None, None
        subprocess.run([self.binary, "init", "--spool", self.spool], check=True, stdout=subprocess.DEVNULL)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"""\
[spool]
dir = "{self.spool}"
[identity]
hostname = "box.example.com"
from = "{drop.IDENTITY_FROM}"
[[smarthost]]
url = "smtp://127.0.0.1:{port}"
tls = "none"
[delivery]
retry_interval = "1s"
received = false
""")

    def start(self):
        with open(self.said, "ab") as said:
            self.tail = Tail(self.said)
            self.tail.at = said.tell()
            self.process = subprocess.Popen(LEASH + [self.binary, "run", "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def ready(self):
        """Waits for the line that the service says since its last start."""
        wait_for("the service's ready line",
                 lambda: any(b" INFO ready" in line for line in self.tail.read()) or self.check_alive(), 30)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure(f"the service ended by itself with {self.process.returncode}; see {self.said}")

    def kill(self):
        self.check_alive()
        self.process.kill()
        self.process.wait()

    def end(self):
        status = stop(self.process)
        return [] if status == 0 else [f"the service ended with {status} on SIGTERM"]

    def waiting(self):
        return [f"{place}/{name}" for place in ("pickup", "pending", "sending", "failed", "sent")
                if os.path.isdir(os.path.join(self.spool, place))
                for name in sorted(os.listdir(os.path.join(self.spool, place)))]

    def leftovers(self):
        # Room that is set aside for the next outcome, and holds nothing.
        meta = [name for name in os.listdir(os.path.join(self.spool, "meta")) if name != ".reserve.tmp"]
        return self.waiting() + ["meta/" + name for name in meta
                                 if re.search(r"[0-9a-f]{32}|^\.|\.tmp|~$", name)]


def judge(entries, arrivals, kills):
    """What is violated, each a sentence, and how many messages came twice.

    `kills` has for each kill the least and the most that may have arrived when it came. A copy is
    excused by a kill that came when exactly the arrivals before the copy were there: the dot of the
    last one was out. Each kill excuses one copy.
    """
    violations = []
    places = collections.defaultdict(list)
    for place, arrival in enumerate(arrivals):
        n = drop.number_of(arrival.content)
        if n not in entries:
            violations.append(f"arrival {place} is no message that was dropped: {arrival.content[:200]!r}")
            continue
        entry, who = entries[n], f"message {n} ({entries[n]['kind']})"
        places[n].append(place)
        wrong = drop.same(entry, arrival.content)
        if wrong:
            violations.append(f"{who}, arrival {place}: {wrong}")
        if arrival.reverse_path != entry["reverse_path"]:
            violations.append(f"{who}: reverse-path {arrival.reverse_path!r}, expected {entry['reverse_path']!r}")
        if sorted(arrival.forward_paths) != sorted(entry["forward_paths"]):
            violations.append(f"{who}: forward-paths {arrival.forward_paths}, expected {entry['forward_paths']}")
    highest, again = -1, 0
    for n in sorted(entries):
        if n not in places:
            violations.append(f"message {n} ({entries[n]['kind']}) is lost")
            continue
        first, copies = places[n][0], places[n][1:]
        if first < highest:
            violations.append(f"message {n} arrived as number {first}, ahead of one dropped before it")
        highest = max(highest, first)
        again += len(copies)
        for i, copy in enumerate(copies):
            if copy != first + 1 + i:
                violations.append(f"message {n} arrived at {places[n]}: others came between the copies")
            if arrivals[copy] != arrivals[first]:
                violations.append(f"message {n}: the copies differ")
    excuses = sorted(kills)
    for copy in sorted(copy for at in places.values() for copy in at[1:]):
        excuse = next((kill for kill in excuses if kill[0] <= copy <= kill[1]), None)
        if excuse:
            excuses.remove(excuse)
        else:
            violations.append(f"arrival {copy} is there again, and no kill explains it")
    return violations, again


def settle(box, peer, messages):
    """Waits until all is through, as long as there is progress; then for the service to end."""
    last, since = None, time.monotonic()
    while True:
        box.check_alive()
        waiting, count = box.waiting(), peer.count()
        if count >= messages and not waiting:
            break
        # What is missing is a finding, and the judge's to tell.
        patience = STALL if waiting else 5
        if (len(waiting), count) != last:
            last, since = (len(waiting), count), time.monotonic()
        elif time.monotonic() - since > patience:
            break
        time.sleep(0.05)
    return box.end()


def steady(peer):
    """How many have arrived, once that has not changed for a while."""
    count, since = peer.count(), time.monotonic()
    while time.monotonic() - since < 0.05:
        time.sleep(0.01)
        if peer.count() != count:
            count, since = peer.count(), time.monotonic()
    return count


def outage(options, work, make_peer):
    entries = {}
    peer, box = make_peer(work), None
    try:
        box = Box(options.binary, work, peer.port)
        box.start()
        box.ready()
        for n in range(options.messages):
            message = drop.make(n)
            entries[n] = message.manifest()
            drop.drop(os.path.join(box.spool, "pickup"), message)
        box.check_alive()
        peer.start()
        violations = settle(box, peer, options.messages)
        found, again = judge(entries, peer.arrivals(), [])
        violations += found + [f"left over: {name}" for name in box.leftovers()]
        return violations, f"{options.messages} messages dropped in an outage, {again} twice"
    finally:
        if box and box.process:
            stop(box.process)
        peer.stop()


def kills(options, work, make_peer):
    entries = {}
    chance = random.Random(options.seed)
    peer, box = make_peer(work), None
    # So many are dropped ahead of the arrivals at most; the last kills fall on the drain alone.
    ahead = max(50, options.messages * 3 // 10)
    arrived, over, broken = threading.Condition(), threading.Event(), []

    def produce():
        """Drops all the time, but not all at once: kills fall among drops and deliveries."""
        try:
            for n in range(options.messages):
                with arrived:
                    arrived.wait_for(lambda: n < progress[0] + ahead or over.is_set())
                if over.is_set():
                    return
                message = drop.make(n)
                entries[n] = message.manifest()
                drop.drop(os.path.join(box.spool, "pickup"), message)
        except OSError as error:
            broken.append(f"the producer: {error}")

    # Half of the kills come at a number of arrivals and a little later, the other half soon after
    # the start that follows, while the service recovers.
    progress = [0]
    numbers = [int((i + chance.random()) * options.messages / ((options.kills + 1) // 2) * 0.95)
               for i in range((options.kills + 1) // 2)]
    producer = threading.Thread(target=produce)
    counts, during_drops = [], 0

    def look():
        box.check_alive()
        with arrived:
            progress[0] = peer.count()
            arrived.notify_all()
        return progress[0]

    try:
        peer.start()
        box = Box(options.binary, work, peer.port)
        box.start()
        producer.start()
        for i in range(options.kills):
            if i % 2 == 0:
                wait_for(f"{numbers[i // 2]} arrivals", lambda: look() >= numbers[i // 2], STALL)
                time.sleep(chance.uniform(0, 0.03))
            else:
                time.sleep(chance.uniform(0, 0.08))
            during_drops += producer.is_alive()
            least = peer.count()
            box.kill()
            # One more than is on record by now can be under way in the peer.
            counts.append((least, steady(peer) + 1))
            box.start()
        box.ready()
        wait_for("the producer's last drop", lambda: look() >= 0 and not producer.is_alive(), STALL * 5)
        violations = broken + settle(box, peer, options.messages)
        found, again = judge(entries, peer.arrivals(), counts)
        violations += found + [f"left over: {name}" for name in box.leftovers()]
        return violations, (f"{options.messages} messages, {options.kills} kills (seed {options.seed}; "
                            f"{during_drops} during the drops), {again} twice")
    finally:
        over.set()
        with arrived:
            arrived.notify_all()
        if producer.ident:
            producer.join()
        if box and box.process:
            stop(box.process)
        peer.stop()


def self_test():
    """The judge accepts what is promised, and sees every breach."""
    entries, good = {}, []
    for n in range(60):
        message = drop.make(n)
        entries[n] = message.manifest()
        content = message.wire
        extra = {"date": b"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\n",
                 "message-id": b"Message-ID: <%d@box.example.com>\r\n" % n,
                 "from": b"From: <box@example.com>\r\n"}
        content = b"".join(extra[name] for name in message.added) + content
        good.append(Arrival(message.reverse_path, message.forward_paths, content))
    kinds = {entry["kind"] for entry in entries.values()}

    def replaced(at, **change):
        return good[:at] + [good[at]._replace(**change)] + good[at + 1:]

    def one_of(kind):
        return next(n for n in entries if entries[n]["kind"] == kind)

    def edited(kind, old, new):
        n = one_of(kind)
        assert old in good[n].content, (kind, old)
        return replaced(n, content=good[n].content.replace(old, new, 1))

    added = one_of("no Date, no Message-ID")
    def kills_at(count):
        return [(count, count)]

    accepted = [
        ("all once, in order", good, []),
        ("all once, in order, with kills", good, [(5, 6), (9, 9)]),
        ("one twice after a kill", good[:8] + good[7:], [(8, 8)]),
        ("one three times after two kills", good[:8] + [good[7]] + good[7:], [(7, 8), (9, 10)]),
    ]
    refused = [
        ("one lost", good[:7] + good[8:], kills_at(8)),
        ("the last lost", good[:-1], kills_at(8)),
        ("two swapped", good[:7] + [good[8], good[7]] + good[9:], kills_at(8)),
        ("one twice without a kill", good[:8] + good[7:], []),
        ("two twice in one kill", good[:8] + [good[7], good[8]] + good[8:], kills_at(8)),
        ("one twice, the kill came earlier", good[:8] + good[7:], [(5, 7)]),
        ("one three times after one kill", good[:8] + [good[7]] + good[7:], [(8, 9)]),
        ("a copy out of place", good[:9] + [good[7]] + good[9:], kills_at(8)),
        ("the copy with another Message-ID", good[:added + 1] + [good[added]._replace(
            content=good[added].content.replace(b"@box", b"@bax"))] + good[added + 1:], kills_at(added + 1)),
        ("a stranger", good + [Arrival("x@example.com", ["y@example.com"], b"Subject: x\r\n\r\n")], kills_at(8)),
        ("another sender", replaced(3, reverse_path="other@example.com"), kills_at(8)),
        ("a recipient too few", replaced(one_of("Bcc"), forward_paths=good[one_of("Bcc")].forward_paths[:1]), kills_at(8)),
        ("a blank line too many", replaced(3, content=good[3].content + b"\r\n"), kills_at(8)),
        ("Bcc left in", edited("Bcc", b"Subject:", b"Bcc: x@example.com\r\nSubject:"), kills_at(8)),
        ("a dot too many", edited("leading dots", b"\r\n.x", b"\r\n..x"), kills_at(8)),
        ("a dot too few", edited("leading dots", b"\r\n..\r\n", b"\r\n.\r\n"), kills_at(8)),
        ("a bare LF", edited("LF", b"opened\r\n", b"opened\n"), kills_at(8)),
        ("a long line broken", edited("long lines", b"y" * 998, b"y" * 998 + b"\r\n"), kills_at(8)),
        ("8 bit made 7 bit", edited("UTF-8", "ü".encode(), b"=C3=BC"), kills_at(8)),
        ("a Date that is none", edited("no Date, no Message-ID", b"Date: Mon, ", b"Date: today "), kills_at(8)),
        ("no Date added", edited("no Date, no Message-ID", b"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\n", b""), kills_at(8)),
        ("two Dates", edited("LF", b"Subject:", b"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\nSubject:"), kills_at(8)),
    ]
    wrong = [name for name, arrivals, killed in accepted if judge(entries, arrivals, killed)[0]]
    wrong += [name for name, arrivals, killed in refused if not judge(entries, arrivals, killed)[0]]
    for name in wrong:
        say(f"self-test: the judge is wrong about: {name}")
    say(f"self-test: {len(accepted) + len(refused)} cases, {len(kinds)} kinds of message, {len(wrong)} wrong")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description="Deliver through a real peer and check what arrived.")
    parser.add_argument("--binary", help="the pillarbox to test")
    parser.add_argument("--peer", choices=["aiosmtpd", "postfix"], help="what the smarthost is")
    parser.add_argument("--messages", type=int, default=1000, help="messages a scenario (1000)")
    parser.add_argument("--kills", type=int, default=50, help="kills of the second scenario (50); 0: leave it out")
    parser.add_argument("--seed", type=int, default=None, help="seed of the kills (a new one each time)")
    parser.add_argument("--self-test", action="store_true", help="test the judge alone")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.binary or not options.peer:
        parser.error("expected --binary and --peer, or --self-test")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    # So that the peers are stopped when we are.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    make_peer = {"aiosmtpd": Aiosmtpd, "postfix": Postfix}[options.peer]
    status = 0
    for scenario in (outage, kills) if options.kills else (outage,):
        work = tempfile.mkdtemp(prefix=f"pillarbox-{options.peer}-{scenario.__name__}-")
        began = time.monotonic()
        if scenario is kills:
            say(f"{options.peer} {scenario.__name__}: seed {options.seed}")
        try:
            violations, summary = scenario(options, work, make_peer)
        except (Failure, OSError, subprocess.CalledProcessError) as failure:
            violations, summary = [str(failure)], "not finished"
        for violation in violations[:20]:
            say(f"{options.peer} {scenario.__name__}: {violation}")
        if violations:
            status = 1
            say(f"{options.peer} {scenario.__name__}: logs are kept in {work}")
        else:
            shutil.rmtree(work)
        verdict = f"{len(violations)} VIOLATIONS" if violations else "ok"
        say(f"{options.peer} {scenario.__name__}: {summary}; {time.monotonic() - began:.0f} s: {verdict}")
    return status


if __name__ == "__main__":
    sys.exit(main())
