#!/usr/bin/env python3
"""The programs that call sendmail, as Debian has them, on a Debian that really boots and has pillarbox as its mail system.

    tests/package/callers.py --deb PACKAGE.deb [--keep]

As root on Debian; boots a box as tests/system/boot.py does. Each program is run as root and as a user in the group, and what a mail
server gets is held against what it was told: envelope, From, To, Subject, the body's bytes, each once, in the order of the calls. The
same without a service, which is started later. A user who is not in the group gets 75; after the command that is printed then, the
same calls arrive.
"""

import argparse
import email
import email.header
import os
import re
import shlex

from debian import expect, on_a_debian, shown, until

PACKAGES = ["at", "git-email", "libmime-lite-perl", "mailutils", "mdadm", "mutt", "php-cli", "s-nail", "smartmontools"]
CONFIG = """[identity]
hostname = "box.example.com"
domain = "example.com"
from = "{user}@example.com"

[aliases]
root = "ops@example.org"
"""
# Dots, what an mbox would quote, bytes that are not ASCII, a blank line at the end.
BODY = "one\n.\n..\n.two dots: ..\nFrom here\nGrüße, 木\n\n"
PIPE = r"""
open(my $body, "<:raw", "/var/tmp/callers/body") or die;
open(my $mail, "|-", "/usr/sbin/sendmail -t -oi") or die;
print $mail "From: Ann <ann\@example.org>\nTo: Bob <bob\@example.org>\nCc: eve\@example.org, Ops <bob\@example.org>\n",
    "Bcc: boss\@example.org\nSubject: $ARGV[0]\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n",
    "Content-Transfer-Encoding: 8bit\n\n", <$body>;
close($mail) or exit($? >> 8);
"""
MIME_LITE = r"""
use MIME::Lite;
open(my $body, "<:raw", "/var/tmp/callers/body") or die;
my $mail = MIME::Lite->new(From => 'Ann <ann@example.org>', To => 'bob@example.org', Bcc => 'boss@example.org', Subject => $ARGV[0],
    Type => 'text/plain; charset=UTF-8', Encoding => '8bit', Data => join('', <$body>));
$mail->send or exit 1;
"""
PHP = r"""<?php
$header = "From: Ann <ann@example.org>\r\nBcc: boss@example.org\r\nMIME-Version: 1.0\r\n" .
    "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit";
exit(mail("Bob <bob@example.org>", $argv[1], file_get_contents("/var/tmp/callers/body"), $header, $argv[2] ?? "") ? 0 : 1);
"""
GIT = r"""
set -e
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org
rm -rf repository
git init -q repository
cd repository
cp /var/tmp/callers/body file
git add file
printf '%s\n\n' "$1" | cat - /var/tmp/callers/body | git commit -q --cleanup=verbatim -F -
git format-patch -q -1 -o ../patch --start-number 1
git send-email --quiet --confirm=never --to='Bob <bob@example.org>' --bcc=boss@example.org ../patch/*
sed '1,/^$/d' ../patch/* >"/var/tmp/callers/patch-$(id -un)"
rm -rf ../patch
"""
SMARTD = """
export SMARTD_MAILER=%s SMARTD_ADDRESS=root SMARTD_MESSAGE="$1: 8 Currently unreadable (pending) sectors" \
SMARTD_FAILTYPE=CurrentPendingSector SMARTD_TFIRST= SMARTD_TFIRSTEPOCH=0 SMARTD_PREVCNT=0 SMARTD_NEXTDAYS=1 SMARTD_DEVICE=/dev/sda \
SMARTD_DEVICESTRING=/dev/sda SMARTD_DEVICETYPE=sat SMARTD_DEVICEINFO='Disk 7, S/N:1' SMARTD_SUBJECT=
exec /usr/share/smartmontools/smartd_warning.sh
"""
FILES = {"body": BODY, "pipe.pl": PIPE, "lite.pl": MIME_LITE, "mail.php": PHP, "git.sh": GIT,
         "smartd-mail.sh": SMARTD % "", "smartd-runner.sh": SMARTD % "/usr/share/smartmontools/smartd-runner"}
# From as Ann; as the account, by us; as the account at this host.
ANN = {"mail": "ann@example.org", "sender": "Ann <ann@example.org>"}
ACCOUNT = {"mail": "{user}@example.com", "sender": "{user} <{user}@example.com>"}
HOST = {"mail": "{user}@box.example.com", "sender": "{user}@box.example.com"}
OUTSIDE = "stranger"
EVERYBODY = ("root", "panel", OUTSIDE)


class Caller:
    """A program: a shell script that hands one message over, and what arrives of it.

    `{user}` and `{subject}` stand in the texts; `part` is enough of the body where most of it is the program's; `later`: the script
    returns before sendmail is called.
    """

    def __init__(self, name, script, rcpt, to, *, mail, sender, subject="{subject}", body=BODY, part=None, users=EVERYBODY, later=False):
        self.name, self.script, self.rcpt, self.to, self.mail, self.sender = name, script, rcpt.split(), to, mail, sender
        self.subject, self.body, self.part, self.users, self.later = subject, body, part, users, later


CALLERS = [
    Caller("perl, a pipe to sendmail -t -oi", "perl /var/tmp/callers/pipe.pl {subject}",
           "bob@example.org eve@example.org boss@example.org", "Bob <bob@example.org>", **ANN),
    Caller("perl, MIME::Lite", "perl /var/tmp/callers/lite.pl {subject}", "bob@example.org boss@example.org", "bob@example.org", **ANN),
    # It ends the body with a line end of its own.
    Caller("php mail()", "php /var/tmp/callers/mail.php {subject}", "bob@example.org boss@example.org", "Bob <bob@example.org>",
           body=BODY + "\n", **ANN),
    Caller("php mail() with -f", "php /var/tmp/callers/mail.php {subject} -fbounce@example.org", "bob@example.org boss@example.org",
           "Bob <bob@example.org>", body=BODY + "\n", mail="bounce@example.org", sender="Ann <ann@example.org>"),
    Caller("s-nail", "s-nail -:/ -Ssendwait -s {subject} -c eve@example.org -b boss@example.org bob@example.org </var/tmp/callers/body",
           "bob@example.org eve@example.org boss@example.org", "bob@example.org", **ACCOUNT),
    Caller("s-nail -r, to a bare name", "s-nail -:/ -Ssendwait -r ann@example.org -s {subject} root </var/tmp/callers/body",
           "ops@example.org", "root", mail="ann@example.org", sender="ann@example.org"),
    Caller("mailutils", "mail.mailutils -s {subject} -a 'Bcc: boss@example.org' bob@example.org </var/tmp/callers/body",
           "boss@example.org bob@example.org", "<bob@example.org>", **HOST),
    Caller("mailutils -r, to a bare name", "mail.mailutils -r ann@example.org -s {subject} root </var/tmp/callers/body",
           "ops@example.org", "root", mail="ann@example.org", sender="ann@example.org"),
    Caller("mutt", "mutt -s {subject} -c eve@example.org -b boss@example.org -- bob@example.org </var/tmp/callers/body",
           "bob@example.org eve@example.org boss@example.org", "bob@example.org", mail="{user}@box.example.com",
           sender="{user} <{user}@box.example.com>"),
    Caller("git send-email", "sh /var/tmp/callers/git.sh {subject}", "bob@example.org ann@example.org boss@example.org",
           "Bob <bob@example.org>", subject="[PATCH] {subject}", **ANN),
    Caller("mdadm --monitor --test", "mdadm --monitor --test --oneshot --mail root /dev/md0", "ops@example.org", "root",
           mail="root@box", sender="mdadm monitoring <root@box>", subject="TestMessage event on /dev/md0:box",
           part="This is an automatically generated mail message", users=("root",)),
    Caller("smartd, smartd_warning.sh", "sh /var/tmp/callers/smartd-mail.sh {subject}", "ops@example.org", "root",
           subject="SMART error (CurrentPendingSector) detected on host: box", part="{subject}: 8 Currently", users=("root",), **HOST),
    Caller("smartd, smartd-runner, 10mail", "sh /var/tmp/callers/smartd-runner.sh {subject}", "ops@example.org", "root",
           subject="SMART error (CurrentPendingSector) detected on host: box", part="{subject}: 8 Currently", users=("root",), **HOST),
    Caller("at", "echo 'cat /var/tmp/callers/body' | at now 2>/dev/null", "{user}", "{user}", subject="Output from your job", later=True,
           **ACCOUNT),
]
# The header is that of Debian's cron: an address that RFC 5322 does not know.
DAEMON = {"mail": "{user}@example.com", "sender": "root (Cron Daemon)"}
CRON = Caller("cron", None, "{user}", "{user}", subject="Cron <{user}@box> cat /var/tmp/callers/body", **DAEMON)
CRON_D = Caller("cron, MAILTO, mdadm's checkarray", None, "bob@example.org", "bob@example.org", part="checkarray said it\n",
                subject="Cron <root@box> /usr/share/mdadm/checkarray --all --status; echo checkarray said it", **DAEMON)
CRON_D_LINES = "MAILTO=bob@example.org\n* * * * * root /usr/share/mdadm/checkarray --all --status; echo checkarray said it\n"


class Call:
    """One call, by one user."""

    def __init__(self, caller, user, number):
        self.caller, self.user = caller, user
        self.marked = f"call {number} of {user}"
        self.patch = None

    def filled(self, text):
        return text.replace("{user}", self.user).replace("{subject}", self.marked)

    def run(self, box):
        script = self.caller.script.replace("{subject}", shlex.quote(self.marked))
        code, text = as_login(box, self.user, script)
        if self.caller.name == "git send-email" and not code:
            with open(box.path(f"var/tmp/callers/patch-{self.user}"), encoding="utf-8") as file:
                self.patch = file.read()
        return code, text

    def wrong(self, box, got):
        """What of it is not as it was told, or nothing."""
        message = email.message_from_bytes(got.text)
        seen = {
            "MAIL": got.mail, "RCPT": got.rcpt,
            "From": decoded(message["From"]), "To": decoded(message["To"]), "Subject": decoded(message["Subject"]),
            "Bcc": message["Bcc"], "each once": [len(message.get_all(name, [])) for name in ("From", "To", "Subject", "Date", "Message-ID")],
        }
        told = {
            "MAIL": f"<{self.filled(self.caller.mail)}>" + ("" if got.text.isascii() else " BODY=8BITMIME"),
            "RCPT": [f"<{address(self.filled(rcpt))}>" for rcpt in self.caller.rcpt],
            "From": self.filled(self.caller.sender), "To": self.filled(self.caller.to), "Subject": self.filled(self.caller.subject),
            "Bcc": None, "each once": [1] * 5,
        }
        if self.caller.name == "at":
            seen["Subject"] = re.sub(r" +[0-9]+$", "", seen["Subject"])
        wrong = [f"{what}: {seen[what]!r}, not {told[what]!r}" for what in told if seen[what] != told[what]]
        if b"\n" in got.text.replace(b"\r\n", b"") or b"\r" in got.text.replace(b"\r\n", b""):
            wrong.append("a line that does not end in CRLF")
        body = message.get_payload(decode=True).replace(b"\r\n", b"\n").decode("utf-8", "replace")
        if self.caller.part:
            good = self.filled(self.caller.part) in body
        elif self.patch:
            good = body == self.patch and BODY.rstrip() in body
        else:
            good = body == self.caller.body
        return wrong + ([] if good else [f"body: {body!r}"])


def address(name):
    return {"root": "ops@example.org"}.get(name, name if "@" in name else f"{name}@example.com")


def decoded(value):
    return None if value is None else str(email.header.make_header(email.header.decode_header(value)))


def as_login(box, user, script):
    """What a shell of this user says: exit code and text."""
    home = "/root" if user == "root" else f"/home/{user}"
    said = box.inside("runuser", "-u", user, "--", "env", f"HOME={home}", f"USER={user}", f"LOGNAME={user}", "LC_ALL=C.UTF-8", "TERM=dumb",
                      "sh", "-c", f"cd; ( {script} ) 2>&1; echo $?", check=False)
    text, _, code = said.rpartition("\n")
    return int(code), text


def calls_of(users, chosen=lambda caller: True):
    pairs = [(caller, user) for caller in CALLERS if chosen(caller) for user in users if user in caller.users]
    return [Call(caller, user, number) for number, (caller, user) in enumerate(pairs, 1)]


def arrived(box, host, before, calls, how, table):
    """These and nothing else, in this order."""
    host.wait(f"all of them {how}", lambda: len(host.transactions) - before >= len(calls), 60)
    until("an empty queue", lambda: not box.waiting() and not os.listdir(box.spool("sending")))
    expect(len(host.transactions) - before == len(calls), host.transactions[before:])
    for call, got in zip(calls, host.transactions[before:]):
        row = (call.caller.name, call.user, how, call.wrong(box, got))
        table.append(row)
        print(f"{row[0]:34} {row[1]:9} {how:22} {'; '.join(row[3]) or 'ok'}", flush=True)


def made(box, call):
    code, text = call.run(box)
    expect(code == 0, f"{call.caller.name} by {call.user}: {code} {text}")


def with_service(box, host, users, how, table):
    before = len(host.transactions)
    calls = calls_of(users)
    for number, call in enumerate(calls, 1):
        made(box, call)
        if call.caller.later:
            host.wait(f"{call.caller.name} by {call.user}", lambda: len(host.transactions) - before >= number, 30)
    arrived(box, host, before, calls, how, table)


def without_service(box, host, users, table):
    before = len(host.transactions)
    calls = calls_of(users, lambda caller: not caller.later)
    box.systemctl("stop", "pillarbox")
    for number, call in enumerate(calls, 1):
        made(box, call)
        dropped = [name for name in os.listdir(box.spool("pickup")) if not name.startswith(".")]
        expect(len(dropped) == number, f"{call.caller.name} by {call.user}: {dropped}")
    box.systemctl("start", "pillarbox")
    arrived(box, host, before, calls, "service started later", table)


def outside(box, host, table):
    """A user who is not in the group, where sendmail is not lent it, and what the refusal says to do."""
    box.inside("chmod", "0755", "/usr/sbin/sendmail")
    before = len(host.transactions)
    cures = set()
    for call in calls_of((OUTSIDE,), lambda caller: not caller.later):
        code, text = call.run(box)
        name = call.caller.name
        expect(code == (75 if "pipe" in name else code) and code != 0, f"{name}: {code} {text}")
        hint = re.search(r"^hint: (.*)$", text, re.M)
        # mailutils keeps what sendmail says to itself.
        expect(hint or "mailutils" in name, f"{name}: {text}")
        cures |= {hint.group(1)} if hint else set()
    expect(len(cures) == 1 and len(host.transactions) == before, cures)
    cure = cures.pop()
    box.inside(*cure.split())
    shown(f"a user outside the group: 75, no program takes that for success; then `{cure}`")
    with_service(box, host, (OUTSIDE,), "after the cure", table)
    box.inside("gpasswd", "-d", OUTSIDE, "pillarbox")
    box.inside("chmod", "2755", "/usr/sbin/sendmail")


def cron(box, host, users, table):
    before = len(host.transactions)
    for user in users:
        box.write(f"var/tmp/callers/crontab-{user}", "* * * * * cat /var/tmp/callers/body\n")
        expect(as_login(box, user, f"crontab /var/tmp/callers/crontab-{user}")[0] == 0, "crontab")
    box.write("etc/cron.d/checkarray", CRON_D_LINES)
    calls = [*(Call(CRON, user, 0) for user in users), Call(CRON_D, "root", 0)]
    host.wait("cron", lambda: len(host.transactions) - before >= len(calls), 75)
    for user in users:
        box.inside("crontab", "-r", "-u", user)
    os.remove(box.path("etc/cron.d/checkarray"))
    # It calls for all of them at once, in no order.
    subjects = [call.filled(call.caller.subject) for call in calls]
    host.transactions[before:] = sorted(host.transactions[before:], key=lambda got: index_of(subjects, got))
    arrived(box, host, before, calls, "service", table)


def index_of(subjects, got):
    subject = email.message_from_bytes(got.text)["Subject"]
    expect(subject in subjects, subject)
    return subjects.index(subject)


def show_all(box, host):
    for name, text in FILES.items():
        box.write(f"var/tmp/callers/{name}", text)
    os.chmod(box.path("var/tmp/callers"), 0o777)
    # As Debian's installer makes it.
    box.write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 box.example.com box\n")
    for user in ("panel", OUTSIDE):
        box.inside("usermod", "-c", user, user)
    host.extensions = ("8BITMIME",)
    box.add()
    box.write("etc/pillarbox/conf.d/callers.toml", CONFIG)
    box.smarthost()
    until("the service to be active", lambda: box.show("pillarbox", "ActiveState") == "active")
    table = []
    with_service(box, host, EVERYBODY, "service", table)
    without_service(box, host, EVERYBODY, table)
    outside(box, host, table)
    cron(box, host, EVERYBODY, table)
    wrong = [row for row in table if row[3]]
    expect(not wrong, wrong)
    shown(f"{len({row[0] for row in table})} callers, {len(table)} calls: all shown")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--deb", required=True)
    arguments.add_argument("--keep", action="store_true", help="keep the box's files")
    options = arguments.parse_args()
    on_a_debian(options.deb, show_all, packages=PACKAGES, keep=options.keep)


if __name__ == "__main__":
    main()
