#!/usr/bin/env bash
# What the producers in examples/ are written in, from Debian; then PILLARBOX_ALL_LANGUAGES=1 lets no language be left out.
set -euo pipefail
missing=()
for each in python3:python3 node:nodejs php:php-cli go:golang-go mcs:mono-mcs mono:mono-runtime javac:default-jdk-headless gcc:gcc; do
    command -v "${each%%:*}" >/dev/null || missing+=("${each#*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends "${missing[@]}"
