#!/usr/bin/env bash
# Installs the servers that interop.py talks to. Debian, as root. What is there already is left alone.
#
#   $PILLARBOX_PEERS/venv            aiosmtpd, by tests/peers/install.sh
#   $PILLARBOX_PEERS/interop/NAME    a root each for postfix, exim and opensmtpd, with what they need and nothing else
#   $PILLARBOX_PEERS/interop/node    nodemailer's smtp-server
#
# PILLARBOX_PEERS defaults to target/peers of this working tree. The packages exclude each other on one machine, so they
# are unpacked and not installed: none of their scripts runs, and nothing of this machine changes.
set -euo pipefail
shopt -s inherit_errexit

say() { printf 'interop/install.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PILLARBOX_PEERS=${PILLARBOX_PEERS:-$here/../../target/peers}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
[ "$(id -u)" = 0 ] || die "expected root: the servers run in roots of their own"
"$here/../peers/install.sh"
mkdir -p "$PILLARBOX_PEERS/interop"
PILLARBOX_PEERS=$(cd "$PILLARBOX_PEERS" && pwd)
place=$PILLARBOX_PEERS/interop

updated=
apt_update() {
    [ -z "$updated" ] || return 0
    apt-get update -q >&2 || say "apt-get update reported errors; going on with the lists that are there"
    updated=yes
}

need=()
command -v openssl >/dev/null || need+=(openssl)
command -v node >/dev/null || need+=(nodejs)
command -v npm >/dev/null || need+=(npm)
if [ "${#need[@]}" -gt 0 ]; then
    say "installing ${need[*]}"
    apt_update
    apt-get install -q -y --no-install-recommends "${need[@]}" >&2
fi

# root NAME PACKAGE...: the packages and all that they depend on, as seen from a machine that has none.
root() {
    local name=$1 new deb
    shift
    if [ -d "$place/$name" ]; then
        say "$name is there"
        return 0
    fi
    say "unpacking $name"
    apt_update
    rm -rf "$place/$name".??????
    new=$(mktemp -d "$place/$name.XXXXXX")
    mkdir -p "$new/debs/partial" "$new"/usr/{bin,sbin,lib,lib64} "$new"/{etc,dev,proc,run,srv,tmp,var}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$new"
    : >"$new/debs/status"
    apt-get -q -y --no-install-recommends --download-only "${lists[@]}" -o "Dir::State::status=$new/debs/status" \
        -o "Dir::Cache::archives=$new/debs" -o APT::Keep-Downloaded-Packages=true install "$@" >"$place/$name.out" 2>&1 ||
        { tail -n 20 "$place/$name.out" >&2; die "the packages of $name could not be had: $place/$name.out"; }
    for deb in "$new"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$new" --keep-directory-symlink --exclude=./usr/share/{doc,man,locale,info}
    done
    rm -rf "$new/debs"
    # What the scripts of the packages would have made; the numbers mean nothing outside of this root.
    cat >"$new/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
postfix:x:5101:5101:postfix:/var/spool/postfix:/usr/sbin/nologin
Debian-exim:x:5102:5102:exim:/var/spool/exim4:/usr/sbin/nologin
opensmtpd:x:5103:5103:smtpd:/var/lib/opensmtpd/empty:/usr/sbin/nologin
opensmtpq:x:5104:5104:smtpq:/var/lib/opensmtpd/empty:/usr/sbin/nologin
END
    printf '%s\n' root:x:0: daemon:x:1: mail:x:8: nogroup:x:65534: postfix:x:5101: postdrop:x:5105: Debian-exim:x:5102: \
        opensmtpd:x:5103: opensmtpq:x:5104: >"$new/etc/group"
    printf '127.0.0.1 localhost smarthost.example.com\n' >"$new/etc/hosts"
    printf 'hosts: files\n' >"$new/etc/nsswitch.conf"
    # What OpenSMTPD wants to be there, as the authority of the run.
    mkdir -p "$new/etc/ssl/certs"
    ln -s /srv/tls/ca.pem "$new/etc/ssl/certs/ca-certificates.crt"
    # Where programs that know libsasl2 by name look for their settings: interop.py puts them into /srv.
    ln -s /srv/sasl2 "$new/etc/sasl2"
    chmod 0755 "$new"
    chmod 1777 "$new/tmp"
    mv "$new" "$place/$name"
}

sasl=(libsasl2-modules libsasl2-modules-db sasl2-bin)
lists=()
root postfix postfix "${sasl[@]}" dash coreutils sed grep findutils diffutils mawk
root exim exim4-daemon-heavy "${sasl[@]}"

# OpenSMTPD 6.8, which Debian 12 has, cannot do TLS with the OpenSSL that it is built with there. That of Debian 13 can: lists
# of its own, from the mirror that apt is configured with.
if [ ! -d "$place/opensmtpd" ]; then
    apt_update
    # shellcheck disable=SC2016  # these are apt's own variables
    site=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" && $3 == "main" && !site { site = $4 } END { print site }')
    [ -n "$site" ] || die "found no Debian mirror in apt's configuration"
    mkdir -p "$place/apt/lists/partial" "$place/apt/cache"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$site" >"$place/apt/sources.list"
    lists=(-o "Dir::Etc::sourcelist=$place/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$place/apt/lists"
        -o "Dir::Cache=$place/apt/cache" -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    apt-get update -q "${lists[@]}" >&2
fi
root opensmtpd opensmtpd

# smtp-server, by name from the package index that npm is configured with.
if [ -d "$place/node/node_modules/smtp-server" ]; then
    say "smtp-server is there"
else
    say "installing smtp-server"
    mkdir -p "$place/node"
    npm install --silent --no-save --no-audit --no-fund --prefix "$place/node" smtp-server >&2
fi

printf 'postfix %s\n' "$(chroot "$place/postfix" /usr/sbin/postconf -d -h mail_version 2>/dev/null)"
printf 'exim %s\n' "$(chroot "$place/exim" /usr/sbin/exim4 -C /dev/null -bV 2>/dev/null | sed -n 's/^Exim version \([^ ]*\).*/\1/p')"
printf 'opensmtpd %s\n' "$(chroot "$place/opensmtpd" /usr/sbin/smtpd -h 2>&1 | sed -n 's/^version: OpenSMTPD *//p')"
printf 'smtp-server %s\n' "$(sed -n 's/^ *"version": "\(.*\)",/\1/p' "$place/node/node_modules/smtp-server/package.json")"
