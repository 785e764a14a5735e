"""An aiosmtpd that writes down what it takes: one JSON object a line, in the order of the final dots.

    VENV/bin/python capture.py PORT FILE        until SIGTERM; prints "ready" when it listens
"""

import asyncio
import base64
import json
import signal
import sys

from aiosmtpd.smtp import SMTP


class Wide(SMTP):
    """Takes long lines: breaking them is not what is tested here."""

    line_length_limit = 1 << 20


class Capture:
    def __init__(self, file):
        self.file = file

    async def handle_DATA(self, server, session, envelope):
        entry = {
            "session": f"{session.peer[0]}:{session.peer[1]}",
            "reverse_path": envelope.mail_from,
            "forward_paths": envelope.rcpt_tos,
            "content": base64.b64encode(envelope.original_content).decode(),
        }
        # On record before the reply: what is not there was not taken.
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        return "250 2.0.0 taken"


async def serve(port, path):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    with open(path, "a", encoding="ascii") as file:
        server = await loop.create_server(
            lambda: Wide(Capture(file), hostname="smarthost.example.com", enable_SMTPUTF8=True, loop=loop),
            "127.0.0.1", port)
        print("ready", flush=True)
        await stop.wait()
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
