#!/usr/bin/env python3
"""Drops a message into a pillarbox spool: producer.py SPOOL TO SUBJECT < body

Exit 0: it is on the disk, and will be sent. 75: try again later.
"""
import os
import secrets
import shutil
import sys
import time
from email.header import Header


def drop(spool, to, subject, body):
    # A name that nobody else takes: the time, this process, something random.
    name = f"{time.time_ns()}-{os.getpid()}-{secrets.token_hex(4)}"
    pickup = os.path.join(spool, "pickup")
    # What begins with a dot is not looked at.
    temporary = os.path.join(pickup, f".{name}.tmp")
    # Never another one's file.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(fd, "wb") as file:
            # Whatever the umask, the service can read it: it is of the folder's group.
            os.fchmod(file.fileno(), 0o640)
            file.write(f"To: {to}\nSubject: {Header(subject).encode()}\n\n".encode())
            shutil.copyfileobj(body, file)
            file.flush()
            # The text before the name: a power cut must not leave an empty message.
            os.fsync(file.fileno())
        # From here on it is a message, whole or not at all.
        os.rename(temporary, os.path.join(pickup, f"{name}.eml"))
    except BaseException:
        os.unlink(temporary)
        raise
    try:
        directory = os.open(pickup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        os.sync()  # Members of the group may not open the folder: then everything is synced.
        return
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


if __name__ == "__main__":
    # A line end in one of them would begin another field of the header.
    if len(sys.argv) != 4 or any(c in "".join(sys.argv[2:]) for c in "\r\n"):
        print("usage: producer.py SPOOL TO SUBJECT < body (one line each)", file=sys.stderr)
        sys.exit(64)
    try:
        drop(*sys.argv[1:], sys.stdin.buffer)
    except OSError as error:
        print(f"producer.py: {error}", file=sys.stderr)
        sys.exit(75)
