#!/usr/bin/env python3
"""A producer without libraries: drops numbered messages into a pickup folder.

Each file is written under a name that starts with a dot, synced, and renamed. The manifest (one
JSON object a line) tells for each message what must arrive: envelope and bytes, as an SMTP server
sees them after DATA with delivery.received = false and identity.from = box@example.com. Fields that
the product has to add may stand anywhere in the header: the manifest names them, and `same` takes
them out before it compares.

    drop.py --pickup SPOOL/pickup --manifest FILE --count 1000 [--first 0]
"""

import argparse
import base64
import json
import os
import re
import sys

SENDER = "panel@example.com"
IDENTITY_FROM = "box@example.com"

# What a field looks like that the product added.
ADDED = {
    "date": rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} "
    rb"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
    "message-id": rb"<[^<>@\s]+@[^<>@\s]+>",
    "from": rb"(<box@example\.com>|box@example\.com)",
}


def plain(n, to=None, leave_out=()):
    """The header lines of an ordinary message, without line ends."""
    fields = [
        ("from", f"From: Panel 7 <{SENDER}>"),
        ("to", f"To: {to or f'ops{n}@example.com'}"),
        ("subject", f"Subject: alarm {n}"),
        ("date", f"Date: Mon, 23 Nov 2026 14:{n // 60 % 60:02}:{n % 60:02} +0000"),
        ("message-id", f"Message-ID: <alarm-{n}@panel.example.com>"),
    ]
    return [line.encode() for name, line in fields if name not in leave_out]


MIME_8BIT = [
    b"MIME-Version: 1.0",
    b"Content-Type: text/plain; charset=utf-8",
    b"Content-Transfer-Encoding: 8bit",
]


class Message:
    """One message. The text is given as lines; `ends` says what the producer writes behind them."""

    def __init__(self, n, kind, header, body, *, ends=b"\n", final=True, before=(), bcc=(), to=None,
                 sender=SENDER, added=(), gap=True):
        self.n, self.kind = n, kind
        self.name = f"alarm-{n:06}.eml"
        self.reverse_path = sender
        self.forward_paths = (to or [f"ops{n}@example.com"]) + [address for _, got in bcc for address in got]
        self.added = list(added)
        # Dropped: what does not travel (an mbox line, an envelope block), the header, Bcc in the
        # middle of it, the body; each line with the end that this producer writes.
        dropped = list(before) + header[:2] + [line for line, _ in bcc] + header[2:]
        arrives = list(header)
        if gap:
            dropped.append(b"")
            arrives.append(b"")
        dropped += body
        arrives += body
        ends = [ends] if isinstance(ends, bytes) else ends
        text = b"".join(line + ends[i % len(ends)] for i, line in enumerate(dropped))
        if not final:
            text = text[: -len(ends[(len(dropped) - 1) % len(ends)])]
        self.dropped = text
        self.wire = b"".join(line + b"\r\n" for line in arrives)

    def manifest(self):
        return {
            "n": self.n,
            "kind": self.kind,
            "name": self.name,
            "reverse_path": self.reverse_path,
            "forward_paths": self.forward_paths,
            "added": self.added,
            "wire": base64.b64encode(self.wire).decode(),
        }


def make(n):
    """Message number `n`. Every kind carries its number in the body, so that no two are alike."""
    head, tag = plain(n), f"number {n} of them".encode()
    kinds = [
        lambda: Message(n, "LF", head, [tag, b"door 3 opened", b""]),
        lambda: Message(n, "CRLF", head, [tag, b"door 3 opened"], ends=b"\r\n"),
        lambda: Message(n, "leading dots", head, [b".", tag, b"..", b".x", b"", b"...", b"."]),
        lambda: Message(n, "no final line end", head, [tag, b"the last line"], final=False),
        lambda: Message(n, "no final line end, a dot", head, [tag, b"."], final=False),
        lambda: Message(n, "UTF-8", head + MIME_8BIT, [tag, "Türe 3 geöffnet ✓ 警報".encode()]),
        lambda: Message(n, "8 bit, no charset", head, [tag, b"T\xfcre 3 ge\xf6ffnet"]),
        lambda: Message(n, "long lines", head, [tag, b"x" * 998, b"y" * 4000 + b" ", b"." * 2000]),
        lambda: Message(n, "empty body", head, []),
        lambda: Message(n, "header alone", head, [], gap=False),
        lambda: Message(n, "mixed line ends", head, [tag, b"a", b".", b"MAIL FROM:<x@example.com>", b"b"],
                        ends=[b"\n", b"\r\n", b"\n"]),
        lambda: Message(n, "Bcc", head, [tag], bcc=[
            (f"Bcc: night{n}@example.com".encode(), [f"night{n}@example.com"])]),
        lambda: Message(n, "Bcc folded, twice", head, [tag], ends=b"\r\n", bcc=[
            (f"BCC: day{n}@example.com,\r\n\tnight{n}@example.com".encode(),
             [f"day{n}@example.com", f"night{n}@example.com"]),
            (f"bcc: late{n}@example.com".encode(), [f"late{n}@example.com"])]),
        lambda: Message(n, "two recipients", plain(n, f"ops{n}@example.com, Second <b{n}@example.com>"),
                        [tag], to=[f"ops{n}@example.com", f"b{n}@example.com"]),
        lambda: Message(n, "long", head, [tag] + [b"line %d " % i + b"z" * (i % 70) for i in range(1000)]),
        lambda: Message(n, "mbox line", head, [tag, b"From here it goes on"],
                        before=[b"From panel@example.com Mon Nov 23 14:00:00 2026"]),
        lambda: Message(n, "envelope block", head, [tag], sender="bounce@example.com", to=[f"real{n}@example.com"],
                        before=[b"X-Sender: bounce@example.com", f"X-Receiver: real{n}@example.com".encode()]),
        lambda: Message(n, "no Date, no Message-ID", plain(n, leave_out=("date", "message-id")), [tag],
                        added=["date", "message-id"]),
        lambda: Message(n, "no From", plain(n, leave_out=("from",)), [tag], sender=IDENTITY_FROM, added=["from"]),
    ]
    # Most are ordinary, as most of a producer's are; the rest take turns.
    return kinds[0]() if n % 3 == 1 else kinds[(n - n // 3) % len(kinds)]()


def number_of(content):
    """Which message this is, from its own bytes; None if they do not tell."""
    found = re.search(rb"number (\d+) of them\r", content) or re.search(rb"(?m)^Subject: alarm (\d+)\r", content)
    return int(found.group(1)) if found else None


def same(entry, content):
    """None if `content` is what the manifest's entry promises, else what differs."""
    header, gap, body = content.partition(b"\r\n\r\n")
    fields = re.findall(rb"[^\r]*(?:\r(?!\n)[^\r]*)*\r\n(?:[ \t][^\r]*\r\n)*", header + (b"\r\n" if gap else b""))
    for name in entry["added"]:
        mine = [field for field in fields if field.lower().startswith(name.encode() + b":")]
        if len(mine) != 1:
            return f"expected one added {name} field, found {len(mine)}"
        value = re.sub(rb"\r\n(?=[ \t])", b"", mine[0].partition(b":")[2]).strip()
        if not re.fullmatch(ADDED[name], value):
            return f"added {name} field is {value!r}"
        fields.remove(mine[0])
    if entry["added"]:
        content = b"".join(fields) + (b"\r\n" + body if gap else b"")
    wire = base64.b64decode(entry["wire"])
    if content == wire:
        return None
    at = next((i for i, (a, b) in enumerate(zip(content, wire)) if a != b), min(len(content), len(wire)))
    return (f"{len(content)} octets, expected {len(wire)}; from octet {at} it is "
            f"{content[at:at + 40]!r}, expected {wire[at:at + 40]!r}")


def drop(pickup, message):
    """Complete and on disk before the name can be seen."""
    hidden = os.path.join(pickup, "." + message.name)
    with open(hidden, "xb") as file:
        file.write(message.dropped)
        file.flush()
        os.fsync(file.fileno())
    os.rename(hidden, os.path.join(pickup, message.name))


def main():
    parser = argparse.ArgumentParser(description="Drop numbered messages into a pickup folder.")
    parser.add_argument("--pickup", required=True, help="the folder to drop into")
    parser.add_argument("--manifest", required=True, help="file to append what must arrive to")
    parser.add_argument("--count", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    options = parser.parse_args()
    with open(options.manifest, "a", encoding="ascii") as manifest:
        for n in range(options.first, options.first + options.count):
            message = make(n)
            manifest.write(json.dumps(message.manifest()) + "\n")
            manifest.flush()
            drop(options.pickup, message)
    print(f"dropped {options.count} messages")


if __name__ == "__main__":
    sys.exit(main())
