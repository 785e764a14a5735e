#!/bin/sh
# Makes mono.eml anew, with Debian's mono-mcs and mono-runtime.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/out"
mcs -nowarn:618 -r:System.dll -out:"$work/drop.exe" "$here/drop.cs"
mono "$work/drop.exe" "$work/out"
mv "$work"/out/*.eml "$here/mono.eml"
