"""The mail server: aiosmtpd inside TLS, which asks the OAuth server about each token (RFC 7662)."""
import base64
import json
import logging
import urllib.parse
import urllib.request
import warnings

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

# It is inside TLS from the first byte, which aiosmtpd does not count.
warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
logging.getLogger("mail.log").setLevel(logging.ERROR)

USER = "alarm@example.com"
FAILED = base64.b64encode(b'{"status":"invalid_token"}').decode()


class Handler:
    def __init__(self, introspect, context):
        self.introspect, self.context = introspect, context
        self.arrived, self.logins = [], []

    def is_good(self, token):
        form = {"token": token, "client_id": "mail-server", "client_secret": "of the mail server"}
        request = urllib.request.Request(self.introspect, urllib.parse.urlencode(form).encode())
        with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:
            return json.load(answer)["active"]

    async def handle_DATA(self, server, session, envelope):
        subject = [l for l in envelope.content.decode().splitlines() if l.startswith("Subject: ")]
        self.arrived.append(subject[0].removeprefix("Subject: "))
        return "250 2.0.0 taken"

    async def judge(self, server, mechanism, args, prefix):
        said = args[1] if len(args) > 1 else None
        response = base64.b64decode(said) if said else await server.challenge_auth(b"")
        fields = response.decode().split("\x01")
        token = next(f.removeprefix("auth=Bearer ") for f in fields if f.startswith("auth=Bearer "))
        good = fields[0] == prefix and self.is_good(token)
        self.logins.append((mechanism, good))
        if not good:
            # The reason, and an empty line or ^A comes back (RFC 7628 section 3.2.3).
            await server.challenge_auth(FAILED, encode_to_b64=False)
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=USER)

    async def auth_XOAUTH2(self, server, args):
        return await self.judge(server, "XOAUTH2", args, f"user={USER}")

    async def auth_OAUTHBEARER(self, server, args):
        return await self.judge(server, "OAUTHBEARER", args, f"n,a={USER},")


class Long(SMTP):
    # RFC 4954 section 4: a token is longer than a line of a command.
    line_length_limit = 12288


class Mail(Controller):
    """Offers one mechanism."""

    def __init__(self, handler, context, mechanism):
        others = {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"} - {mechanism}
        super().__init__(
            handler, hostname="localhost", port=0, ssl_context=context,
            auth_exclude_mechanism=others, auth_required=True, auth_require_tls=False,
        )

    def factory(self):
        return Long(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self):
        # With port 0 the one that it got is known only now.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
