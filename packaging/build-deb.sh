#!/usr/bin/env bash
# Makes the Debian package, and prints where it is.
#
#   packaging/build-deb.sh [OPTION OF cargo deb]...
#
# Debian, with Rust and dpkg-dev. cargo-deb is built into target/tools if it is not there.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
version=3.8.0
target=${CARGO_TARGET_DIR:-target}
tools=$PWD/target/tools

say() { printf 'build-deb.sh: %s\n' "$*" >&2; }

if [ "$("$tools/bin/cargo-deb" --version 2>/dev/null)" != "cargo-deb $version" ]; then
    say "building cargo-deb $version into $tools"
    env -u CARGO_TARGET_DIR cargo install --quiet cargo-deb --locked --version "$version" --debug --root "$tools" >&2
fi
cargo build --locked --release >&2

# What the program itself prints.
package=$target/release/package
rm -rf "$package"
mkdir -p "$package/completions"
"$target/release/pillarbox" man "$package/man" >&2
for shell in bash zsh fish; do "$target/release/pillarbox" completions "$shell" >"$package/completions/$shell"; done
find "$package/man" -type f -exec gzip -9n {} +
packaging/libraries.py | gzip -9n >"$package/libraries.gz"

"$tools/bin/cargo-deb" --locked --no-build "$@"
