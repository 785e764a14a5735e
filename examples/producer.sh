#!/bin/sh
# Drops a message into a pillarbox spool: producer.sh SPOOL TO SUBJECT < body
# Exit 0: it is on the disk, and will be sent. 75: try again later.
set -u
fail() { echo "producer.sh: $1" >&2; exit "${2:-75}"; }

[ $# -eq 3 ] || fail "usage: producer.sh SPOOL TO SUBJECT < body" 64
# A line end in one of them would begin another field of the header.
case $2$3 in *"
"* | *"$(printf '\r')"*) fail "TO and SUBJECT must be one line each" 64 ;; esac

# A name that nobody else takes: the time, this process, something random.
name=$(date +%s)-$$-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
pickup=$1/pickup
# What begins with a dot is not looked at.
temporary=$pickup/.$name.tmp

# Never another one's file (-C); whatever the umask, the service can read it (0640), as it is of the folder's group.
(set -C && : >"$temporary") || fail "cannot make $temporary"
trap 'rm -f "$temporary"' EXIT
trap 'exit 75' HUP INT TERM
chmod 0640 "$temporary" || fail "cannot change the mode of $temporary"
{ printf 'To: %s\nSubject: %s\n\n' "$2" "$3" && cat; } >>"$temporary" || fail "cannot write $temporary"
# The text before the name: a power cut must not leave an empty message.
sync "$temporary" || fail "cannot sync $temporary"
# From here on it is a message, whole or not at all.
mv -f "$temporary" "$pickup/$name.eml" || fail "cannot rename $temporary"
# The name. Members of the group may not open the folder: then everything is synced.
sync "$pickup" 2>/dev/null || sync
