"""An aiosmtpd with TLS and logins that writes down what it takes, beside peers/capture.py.

    VENV/bin/python receive.py SETTINGS        until it is killed; prints "ready" when it listens

One JSON object a line: a message, or {"login": mechanism} for each login that it let in.
"""

import asyncio
import json
import os
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))

from aiosmtpd.smtp import AuthResult  # noqa: E402
from capture import Capture, Wide  # noqa: E402


async def serve(settings):
    loop = asyncio.get_running_loop()
    with open(settings["record"], "a", encoding="ascii") as file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["cert"], settings["key"])

        def authenticate(_server, _session, _envelope, mechanism, data):
            lets_in = (data.login.decode(), data.password.decode()) == (settings["user"], settings["password"])
            if lets_in:
                file.write(json.dumps({"login": mechanism}) + "\n")
                file.flush()
            return AuthResult(success=lets_in, handled=False)

        def server(**kwargs):
            return lambda: Wide(Capture(file), hostname="smarthost.example.com", enable_SMTPUTF8=True, loop=loop, **kwargs)

        login = {"authenticator": authenticate, "auth_required": True}
        ports = settings["ports"]
        await loop.create_server(server(), "127.0.0.1", ports["plain"])
        await loop.create_server(server(tls_context=context, require_starttls=True, **login), "127.0.0.1", ports["starttls"])
        await loop.create_server(server(auth_require_tls=False, **login), "127.0.0.1", ports["smtps"], ssl=context)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="ascii") as given:
        asyncio.run(serve(json.load(given)))
