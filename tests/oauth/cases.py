"""What is seen with the real servers."""
import datetime
import glob
import json
import os
import ssl
import subprocess
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc.jwk import RSAKey

from issuer import Client, Issuer
from mail import USER, Handler, Mail


def certificate(directory, name, issuer=None):
    """A key and a certificate for `name`, by itself or by `issuer`; gives the two and their file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    signed = builder.sign(issuer[0] if issuer else key, hashes.SHA256())
    path = os.path.join(directory, f"{name}.pem")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
        file.write(signed.public_bytes(serialization.Encoding.PEM) + private)
    return key, signed, path


class Box:
    """A spool with its configuration."""

    def __init__(self, binary, directory, name, smarthost):
        self.binary, self.spool = binary, os.path.join(directory, name)
        self.config = os.path.join(directory, f"{name}.toml")
        self.number = 0
        self.configure(smarthost)
        self.pillarbox("init", "--spool", self.spool, config=False)

    def configure(self, smarthost):
        text = f'[spool]\ndir = "{self.spool}"\nmin_free = "0"\n[identity]\nhostname = "box.example.com"\n{smarthost}'
        with open(os.open(self.config, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def pillarbox(self, *arguments, config=True):
        command = [self.binary, *arguments] + (["--config", self.config] if config else [])
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def send(self, code=0):
        """Drops a message and makes a pass; gives its subject."""
        self.number += 1
        subject = f"{os.path.basename(self.spool)} {self.number}"
        hidden = os.path.join(self.spool, "pickup", ".x")
        with open(hidden, "w") as file:
            file.write(f"From: {USER}\nTo: ops@example.com\nSubject: {subject}\n\nx\n")
        os.rename(hidden, os.path.join(self.spool, "pickup", f"{self.number}.eml"))
        self.flush(code)
        return subject

    def flush(self, code=0):
        ran = self.pillarbox("flush", "--strict")
        assert ran.returncode == code, (ran, self.pillarbox("status").stdout)

    def sender(self):
        return json.loads(self.pillarbox("status", "--json").stdout)["sender"]

    def kept(self):
        [path] = glob.glob(os.path.join(self.spool, "meta", "oauth-*.json"))
        assert os.stat(path).st_mode & 0o777 == 0o600
        with open(path) as file:
            return json.load(file)


def say(text):
    print(f"  ok  {text}", flush=True)


def run(binary):
    with tempfile.TemporaryDirectory(prefix="pillarbox-oauth-") as directory:
        authority = certificate(directory, "ca.example")
        _, _, server_file = certificate(directory, "localhost", authority)
        key, _, app_file = certificate(directory, "app.example", authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_file)
        trusted = ssl.create_default_context(cafile=authority[2])
        public = RSAKey.import_key(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        clients = [
            Client("box", "se&cr=et +%", ["client_secret_post"]),
            Client("signed", None, ["client_assertion_jwt"], public),
            Client("public", None, ["none"]),
            Client("mail-server", "of the mail server", ["client_secret_post"]),
        ]
        issuer = Issuer(context, clients, ("public", "first-refresh-token"))
        handler = Handler(issuer.url.replace("/token", "/introspect"), trusted)
        peers = {mechanism: Mail(handler, context, mechanism) for mechanism in ("XOAUTH2", "OAUTHBEARER")}
        for peer in peers.values():
            peer.start()
        try:
            cases(binary, directory, issuer, handler, peers, authority[2], app_file)
        finally:
            for peer in peers.values():
                peer.stop()
    return 0


def smarthost(peer, issuer, ca_file, client, rest):
    return (
        f'[[smarthost]]\nurl = "smtps://localhost:{peer.port}"\nuser = "{USER}"\nca_file = "{ca_file}"\n'
        f'[smarthost.oauth]\ntoken_url = "{issuer.url}"\nca_file = "{ca_file}"\nscope = "smtp.send"\n'
        f'client_id = "{client}"\n{rest}\n'
    )


def cases(binary, directory, issuer, handler, peers, ca_file, app_file):
    proofs = {
        "box": 'client_secret = "se&cr=et +%"',
        "signed": f'client_cert = "{app_file}"',
        "public": 'refresh_token = "first-refresh-token"',
    }
    for client, mechanism in [("box", "XOAUTH2"), ("box", "OAUTHBEARER"), ("signed", "XOAUTH2")]:
        asked = len(issuer.asked)
        host = smarthost(peers[mechanism], issuer, ca_file, client, proofs[client])
        box = Box(binary, directory, f"{client}-{mechanism}", host)
        subjects = [box.send(), box.send()]
        assert handler.arrived[-2:] == subjects and handler.logins[-2:] == [(mechanism, True)] * 2
        assert issuer.asked[asked:] == ["client_credentials"]
        say(f"{client}, {mechanism}: one token from the server, two runs, two logins that it vouches for")

    asked = len(issuer.asked)
    issuer.revoke_access()
    subject = box.send()
    assert handler.arrived[-1] == subject and handler.logins[-2:] == [("XOAUTH2", False), ("XOAUTH2", True)]
    assert len(issuer.asked) == asked + 1
    say("a token that was taken back is refused, renewed once, and the message goes")

    box = Box(binary, directory, "person", smarthost(peers["XOAUTH2"], issuer, ca_file, "public", proofs["public"]))
    issuer.seconds, before, seen = 5, handler.arrived[:], []
    for _ in range(3):
        before.append(box.send())
        kept = box.kept()
        assert kept["refresh_token"] == issuer.tokens[-1].refresh, "the last one that it gave is kept"
        seen.append(kept["refresh_token"])
        # It ends by the server's own clock.
        while issuer.is_good(kept["access"]["token"]):
            time.sleep(0.05)
    assert handler.arrived == before and len(set(seen)) == 3 and issuer.asked[-3:] == ["refresh_token"] * 3
    assert [t.revoked for t in issuer.tokens if t.user == "somebody"] == [True, True, True, False]
    say("a token that ended is renewed, three times, each time with the refresh token that came last; those before are void")

    issuer.seconds = 3600
    for client, rest, word in [
        ("box", 'client_secret = "wrong"', "invalid_client"),
        ("nobody", 'client_secret = "wrong"', "invalid_client"),
        ("public", 'refresh_token = "first-refresh-token-of-another"', "invalid_grant"),
    ]:
        box = Box(binary, directory, f"wrong-{client}", smarthost(peers["XOAUTH2"], issuer, ca_file, client, rest))
        box.send(75)
        cause = box.sender()["cause"]
        assert word in cause and "wrong" not in cause.replace("is wrong", ""), cause
        assert os.listdir(os.path.join(box.spool, "failed")) == []
    right = smarthost(peers["XOAUTH2"], issuer, ca_file, "box", proofs["box"])
    box.configure(right)
    box.flush()
    assert handler.arrived[-1] == "wrong-public 1"
    say("what the server calls invalid_client and invalid_grant is told so, no message fails, and it goes once mended")
