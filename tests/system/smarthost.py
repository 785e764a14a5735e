"""A smarthost that can go away, and that can hold back the reply to a final dot."""

import collections
import re
import socket
import threading


# What stands behind MAIL FROM: and behind each RCPT TO:, and the text with CRLF and without the dots of the wire.
Transaction = collections.namedtuple("Transaction", "mail rcpt text")


class Smarthost:
    """Listens on 127.0.0.1:PORT while it is up; `taken` has the Subject of each message it said 250 to, in order, and
    `transactions` all of it."""

    def __init__(self, port):
        self.port = port
        self.extensions = ()
        self.taken = []
        self.transactions = []
        self.bodies = {}
        self.dots = 0
        self.reply = threading.Event()
        self.reply.set()
        self.changed = threading.Condition()
        self.listener = None
        self.connections = set()

    def up(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(16)
        self.listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def down(self):
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone by itself

    def wait(self, what, condition, seconds=60):
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise SystemExit(f"still waiting for {what} after {seconds} s; taken: {self.taken[-5:]}")

    def _serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.add(connection)
            threading.Thread(target=self._session, args=(connection,), daemon=True).start()

    def _session(self, connection):
        try:
            with connection, connection.makefile("rwb") as wire:
                self._dialogue(wire)
        except OSError:
            pass  # the client is gone, or we are down
        finally:
            self.connections.discard(connection)

    def _dialogue(self, wire):
        def say(line):
            wire.write(line.encode() + b"\r\n")
            wire.flush()

        mail, rcpt = None, []
        say("220 smarthost.example.com")
        for line in iter(wire.readline, b""):
            verb = line[:4].upper()
            if verb == b"DATA":
                say("354 go on")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    more = wire.readline()
                    if not more:
                        return
                    data += more
                with self.changed:
                    self.dots += 1
                    self.changed.notify_all()
                self.reply.wait()
                say("250 2.0.0 taken")
                subject = re.search(rb"^Subject: (.*)\r$", data, re.M).group(1).decode()
                text = re.sub(rb"^\.", b"", data.removesuffix(b".\r\n"), flags=re.M)
                with self.changed:
                    self.taken.append(subject)
                    self.transactions.append(Transaction(mail, rcpt, text))
                    self.bodies.setdefault(subject, []).append(data)
                    self.changed.notify_all()
                mail, rcpt = None, []
            elif verb == b"QUIT":
                say("221 bye")
                return
            elif verb in (b"EHLO", b"HELO"):
                lines = ("smarthost.example.com", *self.extensions)
                for line in lines[:-1]:
                    say(f"250-{line}")
                say(f"250 {lines[-1]}")
            else:
                if verb == b"MAIL":
                    mail, rcpt = line[10:].decode().strip(), []
                elif verb == b"RCPT":
                    rcpt = [*rcpt, line[8:].decode().strip()]
                say("250 ok")
