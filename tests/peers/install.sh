#!/usr/bin/env bash
# Installs the peers that deliver.py talks to. Debian, as root. What is there already is left alone.
#
#   $PILLARBOX_PEERS/venv          a Python environment with aiosmtpd
#   $PILLARBOX_PEERS/postfix-root  a Debian root that holds Postfix and nothing of this machine
#
# PILLARBOX_PEERS defaults to target/peers of this working tree. PILLARBOX_MIRROR, if set, is the
# Debian mirror to use; otherwise the one that apt is configured with.
set -euo pipefail
shopt -s inherit_errexit

say() { printf 'install.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
peers=${PILLARBOX_PEERS:-$tree/target/peers}
suite=bookworm
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

[ "$(uname -s)" = Linux ] || die "expected Linux, found $(uname -s)"
command -v apt-get >/dev/null || die "expected apt-get: the peers are installed from Debian packages"
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)

updated=
apt_update() {
    [ -z "$updated" ] || return 0
    # One third-party list that cannot be reached is not our concern; the install below is.
    apt-get update -q >&2 || say "apt-get update reported errors; going on with the lists that are there"
    updated=yes
}

need=()
command -v strace >/dev/null || need+=(strace)
venv_works() {
    local dir
    dir=$(mktemp -d)
    if python3 -m venv "$dir/v" >/dev/null 2>&1; then rm -rf "$dir"; return 0; fi
    rm -rf "$dir"
    return 1
}
if ! command -v python3 >/dev/null || { [ ! -x "$peers/venv/bin/python" ] && ! venv_works; }; then
    need+=(python3 python3-venv)
fi
if [ ! -d "$peers/postfix-root" ] && ! command -v debootstrap >/dev/null; then
    need+=(debootstrap)
fi
if [ "${#need[@]}" -gt 0 ]; then
    [ "$(id -u)" = 0 ] || die "expected root, to install: ${need[*]}"
    say "installing ${need[*]}"
    apt_update
    apt-get install -q -y --no-install-recommends "${need[@]}" >&2
fi

# aiosmtpd, by name from the package index that pip is configured with.
if "$peers/venv/bin/python" -c 'import aiosmtpd' 2>/dev/null; then
    say "aiosmtpd is there"
else
    say "installing aiosmtpd into $peers/venv"
    python3 -m venv --clear "$peers/venv"
    "$peers/venv/bin/python" -m pip install --quiet aiosmtpd >&2
fi
"$peers/venv/bin/python" -c 'import aiosmtpd; print("aiosmtpd", aiosmtpd.__version__)'

# The Debian mirror as apt knows it: no host is named here.
mirror() {
    if [ -n "${PILLARBOX_MIRROR:-}" ]; then printf '%s\n' "$PILLARBOX_MIRROR"; return; fi
    # Prefer the site that carries the suite we ask for; else any that carries Debian's main archive.
    # shellcheck disable=SC2016  # these are apt's own variables
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(CODENAME) $(SITE)' \
        'Created-By: Packages' |
        awk -v suite="$suite" '
            $1 != "Debian" || $2 != "Debian" || $3 != "main" { next }
            $4 == suite && !exact { exact = $5 }
            !any { any = $5 }
            END { if (exact) print exact; else if (any) print any }'
}

if [ -d "$peers/postfix-root" ]; then
    say "postfix-root is there"
else
    [ "$(id -u)" = 0 ] || die "expected root, to make $peers/postfix-root"
    site=$(mirror)
    if [ -z "$site" ]; then
        apt_update
        site=$(mirror)
    fi
    [ -n "$site" ] || die "found no Debian mirror in apt's configuration; set PILLARBOX_MIRROR"
    # debootstrap fetches with wget, which does not read apt's proxy setting.
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then export http_proxy="${http_proxy:-$proxy}"; fi
    say "making $peers/postfix-root ($suite, from the mirror in apt's configuration)"
    new=$(mktemp -d "$peers/postfix-root.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    if ! debootstrap --variant=minbase --include=postfix "$suite" "$new" "$site" >"$peers/debootstrap.out" 2>&1; then
        tail -n 20 "$peers/debootstrap.out" >&2
        [ ! -f "$new/debootstrap/debootstrap.log" ] || tail -n 20 "$new/debootstrap/debootstrap.log" >&2
        die "debootstrap failed; its output is in $peers/debootstrap.out"
    fi
    chmod 0755 "$new"
    rm -rf "$new"/var/cache/apt/archives/*.deb
    mv "$new" "$peers/postfix-root"
    trap - EXIT
fi
printf 'postfix %s\n' "$(chroot "$peers/postfix-root" postconf -h mail_version)"
