#!/usr/bin/env bash
# Fuzzes each target (or those named by TARGETS) for so many seconds: fuzz/run.sh [30]
# From the seeds and what was found before; a finding is written to fuzz/findings/, which `cargo test` runs from then on.
# Without a sanitizer: there is no unsafe code in what is fuzzed, and then a stable compiler does.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
tools=$PWD/../target/tools
export PATH="$tools/bin:$PATH" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz"
command -v cargo-fuzz >/dev/null || CARGO_TARGET_DIR="$CARGO_TARGET_DIR/tools" cargo install -q --locked --root "$tools" cargo-fuzz
read -ra targets <<<"${TARGETS:-$(ls targets | sed 's/\.rs$//' | tr '\n' ' ')}"
cargo fuzz build -s none --fuzz-dir .
pids=()
for target in "${targets[@]}"; do
    corpus=$CARGO_TARGET_DIR/corpus/$target
    mkdir -p "$corpus" "findings/$target"
    cargo fuzz run -s none --fuzz-dir . "$target" "$corpus" "seeds/$target" "findings/$target" -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="findings/$target/" \
        >"$CARGO_TARGET_DIR/$target.log" 2>&1 &
    pids+=($!)
    # Two at a time.
    [ $((${#pids[@]} % 2)) = 1 ] || wait "${pids[-2]}" "${pids[-1]}" || true
done
failed=0
for n in "${!targets[@]}"; do
    if wait "${pids[n]}"; then
        printf '%-14s %s\n' "${targets[n]}" "$(grep -E '^Done [0-9]+ runs|DONE' "$CARGO_TARGET_DIR/${targets[n]}.log" | tail -1)"
    else
        failed=1
        printf '%-14s FOUND\n' "${targets[n]}"
        tail -30 "$CARGO_TARGET_DIR/${targets[n]}.log"
    fi
done
exit "$failed"
