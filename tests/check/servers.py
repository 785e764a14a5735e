"""The servers that causes.py puts in the way: a name server, and mail servers that do as they are told."""

import socket
import ssl
import struct
import threading


def in_thread(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()


class NameServer:
    """Answers for a zone: name -> {"A": [...], "AAAA": [...]} or a number, the RCODE."""

    def __init__(self, address, zone):
        self.zone = zone
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        in_thread(self.serve)

    def serve(self):
        while True:
            question, client = self.socket.recvfrom(1500)
            self.socket.sendto(self.answer(question), client)

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
            at += question[at] + 1
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        held = self.zone.get(".".join(labels), 3)
        code, records = (held, []) if isinstance(held, int) else (0, [])
        if code == 0:
            family, name = {1: (socket.AF_INET, "A"), 28: (socket.AF_INET6, "AAAA")}.get(kind, (None, ""))
            for address in held.get(name, []):
                octets = socket.inet_pton(family, address)
                records.append(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(octets)) + octets)
        header = question[:2] + bytes([0x81, 0x80 | code]) + struct.pack(">HHHH", 1, len(records), 0, 0)
        return header + question[12 : at + 5] + b"".join(records)


class Listener:
    """Takes connections on a port of its own and gives each to `talk`."""

    def __init__(self, talk, address="127.0.0.1", port=0):
        self.talk = talk
        self.socket = socket.create_server((address, port))
        self.port = self.socket.getsockname()[1]
        in_thread(self.serve)

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            in_thread(self.guarded, connection)

    def guarded(self, connection):
        try:
            self.talk(connection)
        except OSError:
            pass
        finally:
            connection.close()


def silent(connection):
    """Takes what comes and says nothing."""
    while connection.recv(4096):
        pass


def ssh(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
    silent(connection)


def http(connection):
    if connection.recv(4096):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


class Smtp:
    """A mail server. `replies` by verb: text, "close" or "silent"; "220" is the greeting."""

    def __init__(self, offers=(), implicit=None, starttls=None, hears=None, **replies):
        self.offers, self.implicit, self.starttls = offers, implicit, starttls
        self.replies = {"greeting": "220 mx.test ESMTP", **replies}
        self.hears = hears if hears is not None else []

    def __call__(self, connection):
        if self.implicit:
            connection = self.implicit.wrap_socket(connection, server_side=True)
        if not self.say(connection, self.replies["greeting"]):
            return
        stream, inside_tls = connection.makefile("rb"), bool(self.implicit)
        while line := stream.readline():
            words = line.decode(errors="replace").split()
            verb = words[0].upper() if words else ""
            self.hears.append(verb)
            offers = [f"STARTTLS"] * (bool(self.starttls) and not inside_tls) + list(self.offers)
            ok = {
                "EHLO": "\r\n".join([f"250-{text}" for text in ["mx.test", *offers]] + ["250 HELP"]),
                "LHLO": "500 5.5.1 what?",
                "STARTTLS": "220 go on",
                "AUTH": "235 2.7.0 welcome",
                "QUIT": "221 2.0.0 bye",
                "DATA": "354 go on",
            }.get(verb, "250 2.0.0 ok")
            reply = self.replies.get(verb, ok)
            if not self.say(connection, reply):
                return
            if verb == "QUIT":
                return
            if verb == "STARTTLS" and reply.startswith("220"):
                connection = self.starttls.wrap_socket(connection, server_side=True)
                stream, inside_tls = connection.makefile("rb"), True

    @staticmethod
    def say(connection, reply):
        if reply == "close":
            connection.shutdown(socket.SHUT_RDWR)
            return False
        if reply == "silent":
            silent(connection)
            return False
        connection.sendall(reply.encode() + b"\r\n")
        return True


def context(certificate, key, **settings):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    for name, value in settings.items():
        setattr(made, name, value)
    return made
