#!/usr/bin/env bash
# Are the units of systemd/ in order, and as closed as they are said to be?
#
#   tests/system/units.sh BINARY
#
# Debian, as root where systemd has to be installed first.
set -euo pipefail
binary=$(realpath "${1:?the pillarbox to be started}")
units=$(realpath "$(dirname "$0")/../../systemd")
# "Exposure" as systemd-analyze(1) counts it, in tenths: below 2.
limit=19

if ! command -v systemd-analyze >/dev/null; then
    apt-get install -q -y --no-install-recommends systemd >&2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# It looks for the programs too.
for unit in "$units"/*.service "$units"/*.timer "$units"/*.path; do
    sed -E "s#^(ExecStart|ExecReload)=/usr/bin/pillarbox#\1=$binary#" "$unit" >"$work/${unit##*/}"
done
said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "$work"/* 2>&1) || { echo "$said"; exit 1; }
[ -z "$said" ] || { echo "$said"; exit 1; }
echo "systemd-analyze verify: nothing to say"
for service in pillarbox.service pillarbox-flush.service; do
    systemd-analyze security --offline=true --threshold=$limit "$work/$service" | tail -n 1
done
# The files that make user and spool are read without a mistake.
for kind in sysusers tmpfiles; do
    root=$work/root-$kind
    mkdir -p "$root/etc" "$root/var/spool"
    printf 'root:x:0:0::/root:/bin/sh\npillarbox:x:990:990::/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\npillarbox:x:990:\n' >"$root/etc/group"
done
rm "$work/root-sysusers/etc/passwd" "$work/root-sysusers/etc/group"
systemd-sysusers --root="$work/root-sysusers" "$units/pillarbox.sysusers" 2>&1 | sed 's/^/systemd-sysusers: /'
grep -q '^pillarbox:.*:/var/spool/pillarbox:' "$work/root-sysusers/etc/passwd"
if [ "$(id -u)" = 0 ]; then
    systemd-tmpfiles --root="$work/root-tmpfiles" --create "$units/pillarbox.tmpfiles"
    (cd "$work/root-tmpfiles/var/spool/pillarbox" && stat -c '%a %u:%g %n' . pickup pending sending failed sent meta) >"$work/made"
    sed 's/^/systemd-tmpfiles: /' "$work/made"
    diff - "$work/made" <<'END'
755 990:990 .
3730 990:990 pickup
700 990:990 pending
700 990:990 sending
700 990:990 failed
700 990:990 sent
700 990:990 meta
END
fi
