#!/usr/bin/env python3
"""Each cause that `pillarbox check` can name, produced for real: own networks, name server, certificates, mail servers.

One table (rows). For each row `check --json` has to name exactly that cause, `check` has to show it with its cure, and no secret
may be in either. A cause of the program without a row fails the run. Needs root, and what install.sh installs.
"""

import argparse
import base64
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import warnings

import servers
from servers import Listener, Smtp

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "hunter2-Geheim"
SECRETS = [PASSWORD, base64.b64encode(PASSWORD.encode()).decode(), base64.b64encode(f"\0box\0{PASSWORD}".encode()).decode()]
# The exit code of each kind of cause, as docs/CHECK.md has it.
EXITS = {"Config": 78, "Rights": 77, "Disk": 74, "Server": 69}


def known_causes():
    """name -> (kind, cure), read off the program's own list."""
    text = (ROOT / "src/check/cause.rs").read_text()
    found = re.findall(r'\w+ = "([^"]+)", (\w+),', text)
    assert found, "the list of causes was not found"
    return dict(found)


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


class Bench:
    """Networks, names, certificates and folders that the rows share."""

    def __init__(self, work, binary):
        self.work = pathlib.Path(work)
        self.work.chmod(0o755)
        self.binary = self.work / "pillarbox"
        shutil.copy(binary, self.binary)
        self.count = 0
        self.networks()
        self.certificates()
        self.good_names = self.file("resolv.conf", "nameserver 127.0.0.53\n")
        address = {"A": ["127.0.0.1"]}
        zone = {"mx.test": address, "empty.test": {}, "servfail.test": 2, "six.test": {**address, "AAAA": ["2001:db8::88"]}}
        servers.NameServer("127.0.0.53", zone)

    def networks(self):
        run("ip", "link", "set", "lo", "up")
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        run("ip", "netns", "add", "far")
        run("ip", "link", "add", "far0", "type", "veth", "peer", "name", "near0", "netns", "far")
        run("ip", "address", "add", "10.99.0.1/24", "dev", "far0")
        run("ip", "address", "add", "2001:db8::1/64", "dev", "far0", "nodad")
        run("ip", "link", "set", "far0", "up")
        far = ["ip", "netns", "exec", "far"]
        run(*far, "ip", "address", "add", "10.99.0.2/24", "dev", "near0")
        run(*far, "ip", "link", "set", "near0", "up")
        # A firewall that swallows one port.
        run(*far, "nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
            "add rule inet t c tcp dport 2526 drop")
        # A neighbour that is known and not there: silence, whatever the port.
        run("ip", "neighbour", "add", "10.99.0.88", "lladdr", "02:00:00:00:00:88", "dev", "far0")
        run("ip", "-6", "neighbour", "add", "2001:db8::88", "lladdr", "02:00:00:00:00:88", "dev", "far0")
        # A neighbour that nobody knows is given up soon.
        for name, value in [("retrans_time_ms", "100"), ("mcast_solicit", "1"), ("ucast_solicit", "1")]:
            pathlib.Path(f"/proc/sys/net/ipv4/neigh/far0/{name}").write_text(value)
        run("ip", "route", "add", "prohibit", "198.51.100.0/24")

    def file(self, name, text, mode=0o600):
        path = self.work / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def certificates(self):
        work = self.work
        for ca in ["ca", "stranger"]:
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN={ca}",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem", cwd=work)
        run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx", "-keyout", "mx.key", "-out", "mx.csr", cwd=work)

        def sign(name, ca="ca", names="DNS:mx.test,DNS:six.test", days=365, at=None, use="serverAuth"):
            extensions = self.file(f"{name}.ext", f"basicConstraints=CA:FALSE\nsubjectAltName={names}\nextendedKeyUsage={use}\n")
            clock = ["faketime", at] if at else []
            run(*clock, "openssl", "x509", "-req", "-in", "mx.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", str(days), "-extfile", str(extensions), "-out", f"{name}.pem", cwd=work)

        sign("good")
        sign("expired", at="2020-01-01", days=10)
        sign("early", at="2036-01-01", days=10)
        sign("soon", days=5)
        sign("other", names="DNS:other.test")
        sign("unknown", ca="stranger")
        sign("client", use="clientAuth")
        run("openssl", "req", "-x509", "-key", "mx.key", "-days", "30", "-subj", "/CN=mx", "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "subjectAltName=DNS:mx.test", "-out", "selfsigned.pem", cwd=work)

    def tls(self, certificate="good", **settings):
        return servers.context(self.work / f"{certificate}.pem", self.work / "mx.key", **settings)

    def spool(self, parent=None):
        """A spool of its own, under `parent` if that is given."""
        self.count += 1
        path = (parent or self.work) / f"spool{self.count}"
        run(self.binary, "init", "--spool", path)
        return path

    def mounted(self, name, *command):
        """A directory with something mounted on it."""
        path = self.work / name
        path.mkdir()
        run(*command, str(path))
        return path


class Row:
    def __init__(self, cause, what, smarthost="", top="", spool=None, args=(), names=None, switch=None, before=(), also=()):
        self.cause, self.what, self.smarthost, self.top = cause, what, smarthost, top
        self.spool, self.args, self.names, self.switch, self.before = spool, args, names, switch, before
        self.also = set(also)


def rows(b):
    """The table."""
    login = f'user = "box"\npassword = "{PASSWORD}"\n'
    ca = f'ca_file = "{b.work}/ca.pem"\n'

    def host(port, scheme="smtp", name="127.0.0.1", more='tls = "none"\n'):
        return f'[[smarthost]]\nurl = "{scheme}://{name}:{port}"\n{more}'

    def plain(*offers, **replies):
        return host(Listener(Smtp(offers, **replies)).port)

    def over_tls(*offers, more="", certificate="good", name="mx.test", settings=None, **replies):
        context = b.tls(certificate, **(settings or {}))
        return host(Listener(Smtp(offers, implicit=context, **replies)).port, "smtps", name, ca + more)

    def auth(reply, offer="AUTH PLAIN", more=login):
        return over_tls(offer, more=more, AUTH=reply)

    sender = '[identity]\nfrom = "box@mx.test"\n'
    ask = ["--to", "ops@example.com"]
    works = plain()
    closed = host(9)
    silence = b.file("silent.conf", "nameserver 10.99.0.88\n")
    no_way = b.file("no-way.conf", "nameserver 203.0.113.53\n")
    no_server = b.file("no-server.conf", "nameserver 10.99.0.2\n")
    files_only = b.file("nsswitch.conf", "hosts: files\n", 0o644)
    named = lambda name: host(Listener(Smtp()).port, name=name)
    oauth = lambda grant: (
        f'user = "box@example.com"\n[smarthost.oauth]\ntoken_url = "http://127.0.0.1:9/token"\nclient_id = "c"\n{grant}'
    )
    # --- this box
    yield Row(None, "all is well, over TLS and with a login", over_tls("AUTH PLAIN", "SIZE 10000000", more=login), sender, args=ask)
    yield Row("settings-missing", "no [[smarthost]]")
    yield Row("config-wrong", "an unknown key", 'smarhost = "x"\n')
    yield Row("config-wrong", "a password and no user", host(9, more=f'password = "{PASSWORD}"\n'))
    yield Row("config-wrong", "a user and no password", host(9, more='user = "box"\n'))
    yield Row("spool-missing", "there is none", works, spool=b.work / "nowhere")
    torn = b.spool()
    (torn / "meta").rmdir()
    yield Row("spool-missing", "meta/ is missing", works, spool=torn)
    yield Row("spool-not-readable", "as another user", works, before=["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"])
    foreign = b.spool()
    os.chown(foreign / "meta", 1234, 1234)
    yield Row("spool-owner", "meta/ belongs to somebody else", works, spool=foreign)
    opened = b.spool()
    (opened / "pending").chmod(0o755)
    yield Row("spool-open-to-others", "pending/ is 0755", works, spool=opened)
    pickup = b.spool()
    (pickup / "pickup").chmod(0o3733)
    yield Row("pickup-open-to-all", "pickup/ is 3733", works, spool=pickup)
    small = b.mounted("small", "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    yield Row("disk-full", "a disk of 8 MB", works, spool=b.spool(small), also=["spool-in-memory"])
    few = b.mounted("few", "mount", "-t", "tmpfs", "-o", "nr_inodes=20,size=100m", "tmpfs")
    yield Row("inodes-used-up", "a disk of 20 inodes", works, spool=b.spool(few), also=["spool-in-memory"])
    memory = b.mounted("memory", "mount", "-t", "tmpfs", "tmpfs")
    yield Row("spool-in-memory", "tmpfs", works, spool=b.spool(memory))
    read_only = b.spool()
    run("mount", "--bind", str(read_only), str(read_only))
    run("mount", "-o", "remount,bind,ro", str(read_only))
    yield Row("disk-read-only", "mounted read-only", works, spool=read_only)
    lower = b.mounted("lower", "mount", "-t", "tmpfs", "tmpfs")
    for name in ["l", "u", "w"]:
        (lower / name).mkdir()
    overlay = b.mounted("overlay", "mount", "-t", "overlay", "-o", f"lowerdir={lower}/l,upperdir={lower}/u,workdir={lower}/w", "overlay")
    yield Row("spool-on-overlay", "overlayfs", works, spool=b.spool(overlay))
    (b.work / "behind").mkdir()
    fuse = b.mounted("fuse", "bindfs", str(b.work / "behind"))
    yield Row("spool-on-network", "FUSE", works, spool=b.spool(fuse))
    past = ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "2001-01-01 00:00:00"]
    yield Row("clock-wrong", "it is 2001", works, before=past)
    yield Row("clock-wrong", "it is 2001, and the certificate is not valid yet", over_tls(), before=past, also=["certificate-not-yet-valid"])
    # --- names
    yield Row("name-not-found", "NXDOMAIN", named("nowhere.test"))
    yield Row("name-without-address", "no address", named("empty.test"))
    yield Row("name-server-unreachable", "no route to it", named("mx.test"), names=no_way)
    yield Row("name-server-address-wrong", "a host without one", named("mx.test"), names=no_server)
    yield Row("name-server-silent", "silence", named("mx.test"), names=silence)
    yield Row("name-server-fails", "SERVFAIL", named("servfail.test"))
    yield Row("look-up-broken", "nsswitch without dns", named("mx.test"), switch=files_only)
    # --- the way
    yield Row("no-route", "no route", host(25, name="203.0.113.5"))
    yield Row("host-unreachable", "nobody has that address on its network", host(25, name="10.99.0.77"), args=["--timeout", "8s"])
    yield Row("connection-forbidden", "a route that prohibits", host(25, name="198.51.100.5"))
    yield Row("port-closed", "nobody listens", closed)
    yield Row("port-filtered", "a firewall drops one port", host(2526, name="10.99.0.2"))
    yield Row("host-silent", "silence on all ports", host(25, name="10.99.0.88"))
    yield Row("ipv6-broken", "an IPv6 address that is silent", named("six.test"))
    yield Row("socket-missing", "no unix socket", f'[[smarthost]]\nurl = "lmtp+unix:{b.work}/none.sock"\n')
    # --- TLS
    yield Row("tls-to-plain-port", "smtps:// to a plain port", host(Listener(Smtp()).port, "smtps", more=""))
    yield Row("plain-to-tls-port", "smtp:// to a TLS port", host(Listener(Smtp(implicit=b.tls())).port))
    yield Row("not-a-mail-server", "SSH", host(Listener(servers.ssh).port))
    yield Row("not-a-mail-server", "HTTP, waiting", host(Listener(servers.http).port))
    yield Row("not-a-mail-server", "smtps:// to HTTP", host(Listener(servers.http).port, "smtps", more=""))
    yield Row("not-lmtp", "lmtp:// to SMTP", host(Listener(Smtp()).port, "lmtp"))
    yield Row("no-greeting", "silence behind the connection", host(Listener(servers.silent).port))
    for cause, certificate in [
        ("certificate-expired", "expired"),
        ("certificate-not-yet-valid", "early"),
        ("certificate-unknown-issuer", "unknown"),
        ("certificate-self-signed", "selfsigned"),
        ("certificate-wrong-name", "other"),
        ("certificate-not-usable", "client"),
        ("certificate-ends-soon", "soon"),
    ]:
        yield Row(cause, f"the certificate {certificate}", over_tls(certificate=certificate))
    yield Row("certificate-expired", "by STARTTLS",
              host(Listener(Smtp(starttls=b.tls("expired"))).port, name="mx.test", more=ca + 'tls = "required"\n'))
    yield Row("certificate-unknown-issuer", "TLS that need not be verified (a warning)",
              host(Listener(Smtp(starttls=b.tls("unknown"))).port, name="mx.test", more=""))
    other_pin = base64.b64encode(bytes(32)).decode()
    yield Row("certificate-not-pinned", "another key", over_tls(more=f'pin = "sha256:{other_pin}"\n'))
    old = b.tls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    yield Row("tls-too-old", "TLS 1.1", host(Listener(Smtp(implicit=old)).port, "smtps", "mx.test", ca))
    weak = b.tls()
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA")
    yield Row("tls-handshake-failed", "no cipher in common", host(Listener(Smtp(implicit=weak)).port, "smtps", "mx.test", ca))
    yield Row("tls-files", "ca_file is not there", host(Listener(Smtp()).port, "smtps", "mx.test", 'ca_file = "/nowhere.pem"\n'))
    wants = b.tls()
    wants.verify_mode = ssl.CERT_REQUIRED
    wants.load_verify_locations(b.work / "ca.pem")
    yield Row("client-certificate-refused", "one is wanted", host(Listener(Smtp(implicit=wants)).port, "smtps", "mx.test", ca))
    required = 'tls = "required"\n'
    yield Row("starttls-not-offered", "required, not offered", host(Listener(Smtp()).port, more=required))
    refuses = Smtp(starttls=b.tls(), STARTTLS="454 4.7.0 not now")
    yield Row("starttls-refused", "offered and refused", host(Listener(refuses).port, more=required))
    yield Row("not-encrypted", "nobody offers TLS", host(Listener(Smtp()).port, more=""))
    Listener(Smtp(), "127.0.0.9", 25)
    yield Row("not-encrypted", "a host alone: 465 and 587 are closed, 25 answers", '[[smarthost]]\nurl = "127.0.0.9"\n')
    two = [host(9, name="127.0.0.1", more='name = "first"\ntls = "none"\n'), works]
    yield Row("port-closed", "the first of two smarthosts", "".join(two))
    # --- the session
    yield Row("box-refused", "554 in place of a greeting", plain(greeting="554 5.7.1 not to you"))
    yield Row("hello-refused", "EHLO and HELO refused", plain(EHLO="550 5.7.1 no", HELO="550 5.7.1 no"))
    yield Row("server-shutting-down", "421", plain(greeting="421 4.3.2 going down"))
    yield Row("server-shutting-down", "421 to MAIL", plain(MAIL="421 4.3.2 going down"), sender)
    yield Row("connection-lost", "closed at EHLO", plain(EHLO="close"))
    yield Row("server-silent", "silent at EHLO", plain(EHLO="silent"))
    yield Row("not-understood", "354 to EHLO", plain(EHLO="354 what"))
    # --- the login
    yield Row("login-required", "530 to MAIL, and no sender configured", plain(MAIL="530 5.7.0 authentication required"))
    yield Row("login-required", "530 5.7.57 to MAIL", plain(MAIL="530 5.7.57 not authenticated"), sender)
    needs_tls = Smtp(starttls=b.tls(), MAIL="530 5.7.0 must issue STARTTLS first")
    yield Row("encryption-required", "530 to MAIL, and STARTTLS offered", host(Listener(needs_tls).port), sender)
    yield Row("login-not-offered", "user and password, and none needed", over_tls(more=login))
    yield Row("mechanism-not-offered", "GSSAPI alone", over_tls("AUTH GSSAPI", more=login))
    yield Row("login-refused", "535 5.7.8: user or password wrong", auth("535 5.7.8 authentication failed"))
    quotes = base64.b64encode(f"\0box\0{PASSWORD}".encode()).decode()
    yield Row("login-refused", "a refusal that quotes the password", auth(f"535 5.7.8 no: {quotes} {PASSWORD}"))
    yield Row("password-logins-disabled", "535 5.7.139", auth("535 5.7.139 Authentication unsuccessful, basic authentication is disabled"))
    yield Row("password-logins-disabled", "550 5.7.30", auth("550 5.7.30 Basic authentication is not supported"))
    yield Row("other-login-wanted", "534 5.7.9", auth("534 5.7.9 Application-specific password required"))
    yield Row("login-not-judged", "454 4.7.0", auth("454 4.7.0 temporary authentication failure"))
    token = f'user = "box@example.com"\ntoken = "{PASSWORD}"\n'
    yield Row("token-refused", "535 to XOAUTH2", auth("535 5.7.8 expired", "AUTH XOAUTH2", token))
    secret = f'grant = "client_credentials"\nclient_secret = "{PASSWORD}"\n'
    yield Row("no-token", "the token endpoint is away", over_tls("AUTH XOAUTH2", more=oauth(secret)))
    refresh = f'grant = "refresh_token"\nrefresh_token = "{PASSWORD}"\n'
    yield Row("token-not-tried", "a refresh token, and no token in force", over_tls("AUTH XOAUTH2", more=oauth(refresh)))
    unread = 'user = "box"\npassword = { file = "/nowhere/password" }\n'
    yield Row("password-unreadable", "its file is not there", over_tls("AUTH PLAIN", more=unread))
    # --- sender, recipient, size
    yield Row("sender-refused", "553 5.7.1", plain(MAIL="553 5.7.1 not owned by user"), sender)
    yield Row("relaying-refused", "554 5.7.1", plain(RCPT="554 5.7.1 relay access denied"), sender, args=ask)
    yield Row("recipient-refused", "550 5.1.1", plain(RCPT="550 5.1.1 no such user"), sender, args=ask)
    large = b.spool()
    b_name = "01a208f9-7667-72f9-8dfa-9c97dbbe6d09_1795443053_large.eml"
    (large / "pending" / b_name).write_bytes(b"x" * 5000)
    yield Row("message-too-large", "one that waits is larger than SIZE", plain("SIZE 1000"), sender, spool=large)
    yield Row("message-too-large", "552 to MAIL", plain(MAIL="552 5.3.4 too large"), sender)
    yield Row("message-too-large", "max_message_size above SIZE (a warning)", plain("SIZE 1000"), sender + '[spool]\nmax_message_size = "1MB"\n')
    yield Row("address-not-taken", "not ASCII", plain(), sender, args=["--to", "jürgen@example.com"])
    yield Row("quota-used-up", "554 5.2.0 ... QuotaExceeded", plain(MAIL="554 5.2.0 STOREDRV.Submission.Exception:QuotaExceededException"), sender)
    yield Row("quota-used-up", "421 4.7.28", plain(MAIL="421 4.7.28 unusual rate"), sender)
    yield Row("greylisted", "450 4.2.0", plain(RCPT="450 4.2.0 greylisted, try again"), sender, args=ask)
    yield Row("server-full", "452 4.3.1", plain(MAIL="452 4.3.1 insufficient system storage"), sender)
    yield Row("server-defers", "451 4.5.0", plain(MAIL="451 4.5.0 local error"), sender)


def check(b, number, row, kinds):
    """What is wrong with what `check` says of this row; nothing if it is right."""
    spool = row.spool or b.spool_of_all
    has_spool = "[spool]" in row.top
    top = row.top.replace("[spool]\n", f'[spool]\ndir = "{spool}"\n') if has_spool else f'{row.top}[spool]\ndir = "{spool}"\n'
    config = b.file(f"row{number}.toml", row.smarthost + top, 0o644 if row.before else 0o600)
    binds = f"mount --bind {row.names or b.good_names} /etc/resolv.conf"
    if row.switch:
        binds += f" && mount --bind {row.switch} /etc/nsswitch.conf"
    command = [*row.before, str(b.binary), "check", "--config", str(config), "--timeout", "2s", *row.args]
    if "--timeout" in row.args:
        command = [*row.before, str(b.binary), "check", "--config", str(config), *row.args]
    shell = ["unshare", "-m", "sh", "-c", f'{binds} && exec "$@"', "sh"]
    ran = lambda more: subprocess.run([*shell, *command, *more], capture_output=True, text=True, timeout=40)
    try:
        as_json, as_text = ran(["--json"]), ran([])
    except subprocess.TimeoutExpired:
        return ["it does not end"]
    wrong = []
    try:
        report = json.loads(as_json.stdout)
    except ValueError:
        return [f"no JSON: {as_json.stdout!r} {as_json.stderr!r}"]
    found = {step["cause"] for step in report["steps"] if "cause" in step}
    expected = row.also | ({row.cause} if row.cause else set())
    if found != expected:
        bad = [step for step in report["steps"] if step["result"] != "ok"]
        wrong.append(f"expected {sorted(expected)}, found {sorted(found)}: {json.dumps(bad)}")
    failed = [step for step in report["steps"] if step["result"] == "failed"]
    if report["ok"] != (not failed) or any("hint" not in step for step in failed):
        wrong.append(f"ok is {report['ok']}, and {failed}")
    code = EXITS[kinds[failed[0]["cause"]]] if failed else 0
    if (as_json.returncode, as_text.returncode) != (code, code):
        wrong.append(f"expected exit code {code}, found {as_json.returncode} and {as_text.returncode}")
    for cause in expected:
        if f"cause: {cause}\n" not in as_text.stdout or "hint: " not in as_text.stdout:
            wrong.append(f"the text has not {cause} with a hint: {as_text.stdout}")
    for output in [as_json.stdout, as_json.stderr, as_text.stdout, as_text.stderr]:
        if any(secret in output for secret in SECRETS):
            wrong.append(f"a secret is shown: {output}")
    return wrong


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--only", default="", help="rows that have this in their cause")
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if not given.inside:
        again = [sys.executable, __file__, *sys.argv[1:], "--inside"]
        sys.exit(subprocess.run(["unshare", "-n", "-m", "--propagation", "private", *again]).returncode)
    begun, kinds = time.monotonic(), known_causes()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        try:
            failures, named, count = try_all(Bench(work, given.binary), kinds, given.only)
        finally:
            # What is mounted there must be gone before it is removed.
            for line in reversed(pathlib.Path("/proc/mounts").read_text().splitlines()):
                if line.split()[1].startswith(work):
                    subprocess.run(["umount", "-l", line.split()[1]], check=False)
    missing = sorted(set(kinds) - named) if not given.only else []
    for cause in missing:
        print(f"FAILED  {cause}: there is no row for it")
    seconds = time.monotonic() - begun
    print(f"{len(named)} causes of {len(kinds)}, each named; {count} rows, {failures} wrong, {seconds:.0f} s")
    sys.exit(1 if failures or missing else 0)


def try_all(b, kinds, only):
    b.spool_of_all = b.spool()
    table = [row for row in rows(b) if only in (row.cause or "")]
    failures, named = 0, set()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        tried = list(pool.map(lambda numbered: check(b, *numbered, kinds), enumerate(table)))
    for row, wrong in zip(table, tried):
        print(f"{'FAILED' if wrong else 'ok':<6}  {row.cause or 'nothing'}: {row.what}")
        for text in wrong:
            print(f"        {text}")
        failures += bool(wrong)
        if row.cause and not wrong:
            named.add(row.cause)
    return failures, named, len(table)


if __name__ == "__main__":
    main()
