"""The servers of interop.py: each is started in a root of its own, and tells what it took, in order, and which logins it saw.

All have three ports on 127.0.0.1: `plain` takes mail from anybody, `starttls` and `smtps` after a login only. What they
took is read where they keep it: from the queues of Exim and OpenSMTPD, which pass nothing on, and from the records of the
others. Ports, mounts and processes are those of namespaces that end with interop.py.
"""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "peers"))
import deliver  # noqa: E402
from deliver import Arrival, Failure, LEASH, Tail, wait_for  # noqa: E402

PLACE = os.path.join(deliver.PEERS, "interop")
USER, PASSWORD, HOSTNAME = "panel", "geheim und lang", "smarthost.example.com"
CLIENT = "panel@example.com"


def run(*command, **kwargs):
    """A command whose failure is told with its words."""
    done = subprocess.run(command, capture_output=True, check=False, **kwargs)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}: {(done.stderr + done.stdout).decode().strip()}")
    return done.stdout


def make_certificates(place):
    """An authority, a certificate for localhost, one for the client. 60 days are more than tls_warn asks for."""
    os.mkdir(place)
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]

    def make(name, subject, *more):
        run("openssl", "req", "-x509", "-days", "60", "-noenc", "-subj", f"/CN={subject}", "-keyout", f"{place}/{name}.key",
            "-out", f"{place}/{name}.pem", *more)

    by_ca = ["-CA", f"{place}/ca.pem", "-CAkey", f"{place}/ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    make("ca", "An authority of the tests", *elliptic)
    make("server", "localhost", "-newkey", "rsa:2048", *by_ca, "-addext", "subjectAltName=DNS:localhost")
    make("client", "panel", *elliptic, *by_ca, "-addext", f"subjectAltName=email:{CLIENT}",
         "-addext", "extendedKeyUsage=clientAuth")
    for name in os.listdir(place):
        os.chmod(f"{place}/{name}", 0o600 if name.endswith(".key") else 0o644)


class Server:
    """What all have in common. `work` is theirs, and seen by those in a root as /srv."""

    # The logins that it should offer.
    known_for = ()

    def __init__(self, work, tls, first_port):
        self.work, self.tls = work, tls
        self.ports = {name: first_port + i for i, name in enumerate(("plain", "starttls", "smtps"))}
        self.processes = []
        os.mkdir(work)
        self.said = open(os.path.join(work, "said"), "wb")

    def spawn(self, command, **kwargs):
        process = subprocess.Popen(LEASH + command, stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said, **kwargs)
        self.processes.append(process)

        def greets():
            if process.poll() is not None:
                raise Failure(f"{command} ended with {process.returncode}; see {self.said.name}")
            try:
                with socket.create_connection(("127.0.0.1", self.ports["plain"]), 5) as probe:
                    return probe.makefile("rb").readline().startswith(b"220")
            except OSError:
                return False

        wait_for(f"the greeting of {self.name}", greets, 30)

    def stop(self):
        for process in self.processes:
            deliver.stop(process)
        self.said.close()

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.work, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def may_skip(self):
        """Why it does not offer what it is known for."""
        return {}

    def expects(self, entry):
        """What must arrive, where this server keeps a message otherwise than it came."""
        return entry


class InRoot(Server):
    """A server in the root that install.sh made."""

    def __init__(self, work, tls, first_port):
        super().__init__(work, tls, first_port)
        self.root = os.path.join(PLACE, self.name)
        if not os.path.isdir(self.root):
            raise Failure(f"expected {self.root}; run tests/interop/install.sh")
        shutil.copytree(tls, os.path.join(work, "tls"))
        os.mkdir(os.path.join(work, "spool"))
        run("mount", "--bind", work, self.root + "/srv")
        run("mount", "--bind", "/dev", self.root + "/dev")
        run("mount", "-t", "tmpfs", "tmpfs", self.root + "/run")
        # That they sync what they take is not what is tested.
        run("mount", "-t", "tmpfs", "tmpfs", self.root + "/srv/spool")
        self.work = self.root + "/srv"

    def inside(self, *command, **kwargs):
        return run("chroot", self.root, *command, **kwargs)

    def give(self, path, user, mode=None):
        with open(self.root + "/etc/passwd", encoding="ascii") as file:
            ids = next(line.split(":")[2:4] for line in file if line.startswith(user + ":"))
        os.chown(os.path.join(self.work, path), *map(int, ids))
        if mode is not None:
            os.chmod(os.path.join(self.work, path), mode)

    def make_sasl(self, settings, user):
        """The user in a sasldb, from which all mechanisms of libsasl2 can be served."""
        self.write(settings, "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: /srv/sasldb2\n"
                   "mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256\n")
        self.inside("/usr/sbin/saslpasswd2", "-p", "-c", "-f", "/srv/sasldb2", "-u", HOSTNAME, USER, input=PASSWORD.encode())
        self.give("sasldb2", user, 0o600)


POSTFIX_MAIN = """\
smtpd_tls_cert_file = /srv/tls/server.pem
smtpd_tls_key_file = /srv/tls/server.key
smtpd_tls_loglevel = 1
smtpd_sasl_local_domain = smarthost.example.com
smtpd_error_sleep_time = 0
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
manpage_directory = /usr/share/man
readme_directory = no
html_directory = no
sendmail_path = /usr/sbin/sendmail
mailq_path = /usr/bin/mailq
newaliases_path = /usr/bin/newaliases
"""

POSTFIX_TLS = "tlsmgr unix - - n 1000? 1 tlsmgr\n"

POSTFIX_LOGIN = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_wrappermode={wrapper}
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
"""


class Postfix(InRoot, deliver.Postfix):
    """Postfix with Cyrus SASL. It relays to an aiosmtpd, as in peers/deliver.py."""

    name = "postfix"
    known_for = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")

    def __init__(self, work, tls, first_port):
        InRoot.__init__(self, work, tls, first_port)
        self.config, self.log, self.port = "/srv/etc", "/srv/log/postfix.log", self.ports["plain"]
        self.tail = Tail(self.root + self.log)
        self.accepted, self.seen, self.by_id = set(), [], 0
        self.sink = deliver.Aiosmtpd(self.work)
        main = deliver.MAIN_CF.format(queue="/srv/spool/queue", data="/srv/data", log=self.log, sink=self.sink.port)
        self.write("etc/main.cf", main.replace("maillog_file_prefixes = /var", "maillog_file_prefixes = /srv") + POSTFIX_MAIN)
        self.write("etc/master.cf", deliver.MASTER_CF.format(port=self.port) + POSTFIX_TLS + "".join(
            POSTFIX_LOGIN.format(port=self.ports[name], wrapper=wrapper)
            for name, wrapper in (("starttls", "no"), ("smtps", "yes"))))
        for made in ("spool/queue", "data", "log"):
            os.mkdir(os.path.join(self.work, made))
        self.give("data", "postfix")
        self.make_sasl("etc/sasl/smtpd.conf", "postfix")

    def start(self):
        self.sink.start()
        self.spawn(["chroot", self.root, "/usr/sbin/postfix", "-c", self.config, "start-fg"])

    def stop(self):
        Server.stop(self)
        self.sink.stop()

    def logins(self):
        return [found.decode() for line in self.tail.read() for found in re.findall(rb"smtpd\[.*sasl_method=([\w-]+)", line)]


EXIM = """\
primary_hostname = smarthost.example.com
spool_directory = /srv/spool
log_file_path = /srv/log/%slog
pid_file_path = /run/exim.pid
log_selector = +tls_cipher +received_recipients
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {plain} : {starttls} : {smtps}
tls_on_connect_ports = {smtps}
tls_advertise_hosts = ${{if eq{{$received_port}}{{{plain}}}{{}}{{*}}}}
tls_certificate = /srv/tls/server.pem
tls_privatekey = /srv/tls/server.key
tls_verify_certificates = /srv/tls/ca.pem
tls_try_verify_hosts = *
auth_advertise_hosts = ${{if def:tls_in_cipher{{*}}{{}}}}
pipelining_connect_advertise_hosts =
message_size_limit = 50M
queue_only
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept condition = ${{if eq{{$received_port}}{{{plain}}}}}
  accept authenticated = *
  deny message = log in first
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""

EXIM_MORE = {
    "CRAM-MD5": ("cram_md5", """\
cram_md5:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{user}}}{{{password}}}fail}}
  server_set_id = $auth1
"""),
    "SCRAM-SHA-1": ("cyrus_sasl", """\
scram_sha_1:
  driver = cyrus_sasl
  public_name = SCRAM-SHA-1
  server_hostname = smarthost.example.com
  server_realm = smarthost.example.com
  server_set_id = $auth1
"""),
    "SCRAM-SHA-256": ("cyrus_sasl", """\
scram_sha_256:
  driver = cyrus_sasl
  public_name = SCRAM-SHA-256
  server_hostname = smarthost.example.com
  server_realm = smarthost.example.com
  server_set_id = $auth1
"""),
    "EXTERNAL": ("external", """\
external:
  driver = external
  public_name = EXTERNAL
  server_advertise_condition = $tls_in_certificate_verified
  server_param2 = ${{certextract{{subj_altname,mail,>:}}{{$tls_in_peercert}}}}
  server_condition = ${{if forany{{$auth2}}{{eq{{$item}}{{$auth1}}}}}}
  server_set_id = $auth1
"""),
}


class Exim(InRoot):
    """Exim, which keeps what it took in its spool: an envelope with the header, and a body, each line ended by LF."""

    name = "exim"
    known_for = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN", "EXTERNAL")

    def __init__(self, work, tls, first_port):
        super().__init__(work, tls, first_port)
        self.write("bare.conf", "keep_environment =\n")
        built = self.inside("/usr/sbin/exim4", "-C", "/srv/bare.conf", "-bV").decode()
        drivers = re.search(r"^Authenticators: (.*)$", built, re.M).group(1).split()
        self.missing = {name: f"this exim is built without {driver}" for name, (driver, _) in EXIM_MORE.items()
                        if driver not in drivers}
        text = EXIM + "".join(text for name, (_, text) in EXIM_MORE.items() if name not in self.missing)
        self.write("exim.conf", text.format(user=USER, password=PASSWORD, **self.ports))
        self.give("spool", "Debian-exim")
        self.give("tls/server.key", "Debian-exim")
        os.mkdir(os.path.join(self.work, "log"))
        self.give("log", "Debian-exim")
        self.make_sasl("sasl2/exim.conf", "Debian-exim")
        self.tail = Tail(os.path.join(self.work, "log", "mainlog"))

    def may_skip(self):
        return self.missing

    def expects(self, entry):
        """Header and body lie apart, so that nobody can see whether there was a line between them and no body."""
        wire = base64.b64decode(entry["wire"])
        return entry if b"\r\n\r\n" in wire else {**entry, "wire": base64.b64encode(wire + b"\r\n").decode()}

    def start(self):
        self.spawn(["chroot", self.root, "/usr/sbin/exim4", "-C", "/srv/exim.conf", "-bdf"])

    def taken(self):
        return [found for line in self.tail.read() for found in re.findall(rb"^\S+ \S+ (\S+) <= (?:.* A=(\w+))?", line)]

    def count(self):
        return len(self.taken())

    def logins(self):
        return [name.decode().upper().replace("_", "-") for _, name in self.taken()]

    def arrivals(self):
        found = []
        for exim_id, _ in self.taken():
            path = os.path.join(self.work, "spool", "input", exim_id.decode())
            with open(path + "-H", "rb") as file:
                head = file.read()
            with open(path + "-D", "rb") as file:
                body = file.read().partition(b"\n")[2]
            envelope, header = re.match(rb"(.*?\n\d+\n(?:[^\n]+\n)+)\n(.*)", head, re.S).groups()
            lines = envelope.split(b"\n")
            count = next(i for i, line in enumerate(lines) if re.fullmatch(rb"\d+", line))
            fields = []
            while header:
                # "024T To: ops@example.com": its length, and a letter that says what it is; "*" is taken out.
                length = re.match(rb"(\d{3,})(.) ", header)
                end = length.end() + int(length.group(1))
                fields.append((length.group(2), header[length.end():end]))
                header = header[end:]
            kept = [field for _, field in fields[1:]]
            if not fields[0][1].startswith(b"Received: "):
                raise Failure(f"expected exim's Received field first, found {fields[0]!r}")
            content = b"".join(kept) + b"\n" + body
            found.append(Arrival(lines[2].decode().strip("<>"), [line.decode() for line in lines[count + 1:] if line],
                                 content.replace(b"\n", b"\r\n")))
        return found


OPENSMTPD = """\
pki localhost cert "/srv/tls/server.pem"
pki localhost key "/srv/tls/server.key"
table users {{ {user} = "{hashed}" }}
smtp max-message-size 50M
listen on lo inet4 port {plain} hostname smarthost.example.com
listen on lo inet4 port {starttls} tls-require pki localhost auth <users> hostname smarthost.example.com
listen on lo inet4 port {smtps} smtps pki localhost auth <users> hostname smarthost.example.com
action "nowhere" relay host smtp://127.0.0.1:9
match from any for any action "nowhere"
match auth from any for any action "nowhere"
"""


class OpenSmtpd(InRoot):
    """OpenSMTPD, which keeps what it took in its queue, each line ended by LF."""

    name = "opensmtpd"
    known_for = ("PLAIN", "LOGIN")

    def __init__(self, work, tls, first_port):
        super().__init__(work, tls, first_port)
        hashed = run("openssl", "passwd", "-6", "-stdin", input=PASSWORD.encode()).decode().strip()
        self.write("smtpd.conf", OPENSMTPD.format(user=USER, hashed=hashed, **self.ports))
        os.makedirs(self.root + "/var/spool/smtpd", exist_ok=True)
        run("mount", "--bind", self.work + "/spool", self.root + "/var/spool/smtpd")
        os.chmod(self.root + "/var/spool/smtpd", 0o711)
        if not os.path.exists(self.root + "/var/run"):
            os.symlink("/run", self.root + "/var/run")
        self.tail, self.at, self.taken, self.seen, self.mechanism = Tail(self.said.name), 0, [], [], None

    def start(self):
        self.spawn(["chroot", self.root, "/usr/sbin/smtpd", "-d", "-v", "-T", "smtp", "-f", "/srv/smtpd.conf"])

    def read(self):
        """Goes through what the server has said since: it says every line that it is told, as -T smtp asks for."""
        lines = self.tail.read()
        for line in lines[self.at:]:
            taken = re.search(rb" smtp message msgid=(\w+) ", line)
            began = re.search(rb"<<< AUTH ([\w-]+)", line)
            if taken:
                self.taken.append(taken.group(1).decode())
            elif began:
                self.mechanism = began.group(1).decode()
            elif b" smtp authentication " in line and line.endswith(b" result=ok"):
                self.seen.append(self.mechanism)
        self.at = len(lines)

    def count(self):
        self.read()
        return len(self.taken)

    def logins(self):
        self.read()
        return self.seen

    def arrivals(self):
        self.read()
        found = []
        for msgid in self.taken:
            place = os.path.join(self.work, "spool", "queue", msgid[:2], msgid)
            envelopes = []
            for name in sorted(os.listdir(place)):
                with open(os.path.join(place, name), "rb") as file:
                    text = file.read()
                if name == "message":
                    # Behind the Received field that is its own.
                    content = re.sub(rb"\AReceived: .*\n(?:[ \t].*\n)*", b"", text).replace(b"\n", b"\r\n")
                else:
                    envelopes.append(dict(re.findall(r"^(sender|rcpt): (.*)$", text.decode(), re.M)))
            found.append(Arrival(envelopes[0]["sender"], [envelope["rcpt"] for envelope in envelopes], content))
        return found


class Recorded(Server):
    """One that writes a record of its own: receive.py and receive.cjs."""

    def __init__(self, work, tls, first_port):
        super().__init__(work, tls, first_port)
        record = os.path.join(work, "record")
        self.tail, self.at, self.messages, self.seen = Tail(record), 0, [], []
        settings = {"record": record, "ports": self.ports, "user": USER, "password": PASSWORD,
                    "cert": f"{tls}/server.pem", "key": f"{tls}/server.key"}
        self.settings = self.write("settings", json.dumps(settings))

    def read(self):
        lines = self.tail.read()
        for line in lines[self.at:]:
            entry = json.loads(line)
            if "login" in entry:
                self.seen.append(entry["login"])
            else:
                self.messages.append(Arrival(entry["reverse_path"], entry["forward_paths"],
                                             base64.b64decode(entry["content"])))
        self.at = len(lines)

    def count(self):
        self.read()
        return len(self.messages)

    def arrivals(self):
        self.read()
        return self.messages

    def logins(self):
        self.read()
        return self.seen


class Aiosmtpd(Recorded):
    """aiosmtpd."""

    name = "aiosmtpd"
    known_for = ("PLAIN", "LOGIN")

    def start(self):
        self.spawn([os.path.join(deliver.PEERS, "venv", "bin", "python"), os.path.join(HERE, "receive.py"), self.settings])


class SmtpServer(Recorded):
    """nodemailer's smtp-server."""

    name = "smtp-server"
    known_for = ("CRAM-MD5", "PLAIN", "LOGIN", "XOAUTH2")

    def start(self):
        modules = os.path.join(PLACE, "node", "node_modules")
        self.spawn(["node", os.path.join(HERE, "receive.cjs"), self.settings], env={**os.environ, "NODE_PATH": modules})


ALL = [Postfix, Exim, OpenSmtpd, Aiosmtpd, SmtpServer]
