#!/usr/bin/env bash
# What tests/check/causes.py needs besides Python: Debian, as root.
set -euo pipefail
missing=()
command -v ip >/dev/null || missing+=(iproute2)
command -v nft >/dev/null || missing+=(nftables)
command -v faketime >/dev/null || missing+=(faketime)
command -v openssl >/dev/null || missing+=(openssl)
command -v bindfs >/dev/null || missing+=(bindfs)
[ ${#missing[@]} = 0 ] || { apt-get update -q && apt-get install -y -q "${missing[@]}"; } >/dev/null
