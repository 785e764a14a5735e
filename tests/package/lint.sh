#!/usr/bin/env bash
# Is the package as Debian's policy wants it, and every page of the manual without a mistake?
#
#   tests/package/lint.sh PACKAGE.deb
set -euo pipefail
deb=$(realpath "${1:?the package}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

shellcheck "$here"/../../packaging/debian/{postinst,prerm,postrm} "$here"/../../packaging/build-deb.sh "$here"/*.sh

# Nothing is uploaded to Debian, so that no bug of Debian's is closed.
lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$deb" 2>&1 |
    { grep -v '^running with root privileges' || true; }
echo "lintian: no errors, no warnings"

dpkg-deb -x "$deb" "$work"
find "$work/usr/share/man" -type f -name '*.gz' -exec gunzip {} +
mapfile -t pages < <(find "$work/usr/share/man" -type f | sort)
[ "${#pages[@]}" -gt 15 ] || { echo "found ${#pages[@]} pages"; exit 1; }
mandoc -T lint -W warning "${pages[@]}"
for page in "${pages[@]}"; do
    said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || { echo "${page#"$work"}: $said"; exit 1; }
done
echo "mandoc and groff: nothing to say about ${#pages[@]} pages"
# Every link leads to something.
find "$work" -xtype l | while read -r link; do
    case $(readlink "$link") in *.gz) [ -e "$(dirname "$link")/$(readlink "$link" | sed 's/\.gz$//')" ] ;; *) false ;; esac || { echo "$link leads nowhere"; exit 1; }
done
echo "every link leads somewhere"
