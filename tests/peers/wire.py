"""What dialogues.py puts around a Postfix: what it asks before it answers, and a relay that writes down who said what."""

import collections
import re
import socket
import struct
import threading
import time
import urllib.parse

# The longest that an answer is kept back.
PATIENCE = 30


class Listener:
    """A port with a thread for each connection."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()


class Policy(Listener):
    """What Postfix asks (its SMTPD_POLICY_README): `says` maps an address to a verdict at a state.

    A verdict is the action as text, or a threading.Event, which is waited for before it is taken.
    """

    def __init__(self):
        self.says, self.asked = {}, []
        super().__init__()

    def serve(self, connection):
        with connection, connection.makefile("rwb") as stream:
            while True:
                asked = {}
                for line in iter(stream.readline, b"\n"):
                    if not line:
                        return
                    name, _, value = line.decode().rstrip("\n").partition("=")
                    asked[name] = value
                state = asked["protocol_state"]
                about = asked["sender"] if state == "MAIL" else asked["recipient"]
                self.asked.append((state, about))
                verdict = self.says.get((state, about), "DUNNO")
                if isinstance(verdict, threading.Event):
                    verdict.wait(PATIENCE)
                    verdict = "DUNNO"
                stream.write(f"action={verdict}\n\n".encode())
                stream.flush()

    def times(self, state, about):
        return self.asked.count((state, about))


class Headers(Listener):
    """What Postfix' cleanup asks of each field (its header_checks(5) by tcp_table(5)): `says` maps a field to an action."""

    def __init__(self):
        self.says = {}
        super().__init__()

    def serve(self, connection):
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                field = urllib.parse.unquote_to_bytes(line.rstrip(b"\n").removeprefix(b"get ")).decode("latin-1")
                action = self.says.get(field)
                answer = f"200 {urllib.parse.quote(action)}" if action else "500 nothing"
                stream.write(answer.encode() + b"\n")
                stream.flush()


class Command:
    """A request with its reply, and when each passed: `at` counts what passed on the connection."""

    def __init__(self, at, text, write, when):
        self.at, self.text, self.write, self.when = at, text, write, when
        self.reply, self.reply_at, self.reply_read = "", None, None

    def __repr__(self):
        return f"{self.text} -> {self.reply or 'nothing'}"


class Transaction:
    """What was said between two MAILs."""

    def __init__(self, mail, dot_before):
        self.mail, self.rcpts, self.data, self.dot = mail, [], None, None
        self.rode = dot_before is not None and (dot_before.reply_at is None or dot_before.reply_at > mail.at)
        self.rode_in_one_write = self.rode and dot_before.write == mail.write
        self.answered_in_one_read = lambda: (
            self.rode and self.data is not None and dot_before.reply_read == self.data.reply_read)

    @property
    def n(self):
        found = re.search(r"(\d+)@", self.rcpts[0].text if self.rcpts else self.mail.text)
        return int(found.group(1)) if found else None

    def __repr__(self):
        parts = [self.mail, *self.rcpts, *filter(None, (self.data, self.dot))]
        return f"{'behind a dot: ' if self.rode else ''}{parts}"


class Connection:
    """What passed on one connection, each read as it came."""

    def __init__(self):
        self.reads, self.lock = [], threading.Lock()

    def note(self, side, octets):
        with self.lock:
            self.reads.append((side, octets, time.monotonic()))

    def commands(self):
        with self.lock:
            reads = list(self.reads)
        waiting = collections.deque([Command(0, "(connected)", None, None)])
        found, rest, in_body, at = [], {"C": b"", "S": b""}, False, 0
        for number, (side, octets, when) in enumerate(reads):
            *lines, rest[side] = (rest[side] + octets).split(b"\r\n")
            for line in lines:
                at += 1
                text = line.decode("latin-1")
                if side == "S":
                    if text[3:4] == "-":
                        continue
                    command = waiting.popleft() if waiting else Command(at, "(nothing)", None, when)
                    command.reply, command.reply_at, command.reply_read = text, at, number
                    in_body |= command.text == "DATA" and text.startswith("354")
                elif not in_body or text == ".":
                    in_body = False
                    found.append(Command(at, text, number, when))
                    waiting.append(found[-1])
        return found

    def transactions(self):
        found, dot = [], None
        for command in self.commands():
            verb = command.text[:4].upper()
            if verb == "MAIL":
                found.append(Transaction(command, dot))
            elif verb == "RCPT":
                found[-1].rcpts.append(command)
            elif verb == "DATA":
                found[-1].data = command
            elif verb == ".":
                found[-1].dot = dot = command
        return found


class Relay(Listener):
    """Passes everything on to `port`, and writes it down before it does."""

    def __init__(self, port, resets_after=None):
        self.to, self.resets_after, self.connections = port, resets_after, []
        super().__init__()

    def serve(self, client):
        connection = Connection()
        self.connections.append(connection)
        server = socket.create_connection(("127.0.0.1", self.to))
        threading.Thread(target=self.pump, args=(connection, "S", server, client), daemon=True).start()
        self.pump(connection, "C", client, server)

    def pump(self, connection, side, source, sink):
        try:
            while octets := source.recv(1 << 16):
                is_last = side == "S" and self.resets_after and self.resets_after in octets
                if is_last:
                    end = octets.index(b"\n", octets.index(self.resets_after)) + 1
                    octets = octets[:end]
                connection.note(side, octets)
                sink.sendall(octets)
                if is_last:
                    # Closed so, it sends RST.
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sink.shutdown(socket.SHUT_RD)
                    sink.close()
                    source.close()
                    return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # The other end went: so does this one.
            for end in (source, sink):
                end.close()

    def transactions(self):
        return [each for connection in list(self.connections) for each in connection.transactions()]

    def commands(self):
        return [each for connection in list(self.connections) for each in connection.commands()]
