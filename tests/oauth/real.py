#!/usr/bin/env python3
"""pillarbox against a real OAuth 2.0 server and a mail server that asks it about each token.

    tests/oauth/real.py --binary target/release/pillarbox

Authlib grants (client_credentials with a secret and with a signed request, refresh_token with rotation), over TLS with an authority of
its own; aiosmtpd takes XOAUTH2 and OAUTHBEARER and asks it by introspection (RFC 7662). Both are installed from the package index that pip is
configured with, into a folder that goes again; --venv DIR keeps it. Nothing else is needed but Python.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

NEEDS = ["authlib", "flask", "aiosmtpd", "cryptography"]


def enter_venv(directory):
    """Runs this script again with what it needs."""
    python = os.path.join(directory, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDS], check=True)
    return subprocess.run([python, *sys.argv], env={**os.environ, "PILLARBOX_IN_VENV": "1"}).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--venv", help="where the Python packages are, or go")
    options = parser.parse_args()
    if "PILLARBOX_IN_VENV" not in os.environ:
        if options.venv:
            return enter_venv(os.path.abspath(options.venv))
        directory = tempfile.mkdtemp(prefix="pillarbox-oauth-")
        try:
            return enter_venv(directory)
        finally:
            shutil.rmtree(directory)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import cases

    return cases.run(os.path.abspath(options.binary))


if __name__ == "__main__":
    sys.exit(main())
