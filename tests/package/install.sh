#!/usr/bin/env bash
# Installs what makes and looks at the package. Debian, as root; what is there already is left alone.
set -euo pipefail

need=()
for pair in dpkg-shlibdeps:dpkg-dev lintian:lintian mandoc:mandoc groff:groff man:man-db debootstrap:debootstrap shellcheck:shellcheck; do
    command -v "${pair%:*}" >/dev/null || need+=("${pair#*:}")
done
[ "${#need[@]}" -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "install.sh: expected root, to install ${need[*]}" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2 || echo "install.sh: apt-get update reported errors; going on with the lists that are there" >&2
apt-get install -q -y --no-install-recommends "${need[@]}" >&2
