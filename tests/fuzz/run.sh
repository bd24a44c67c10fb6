#!/usr/bin/env bash
# Runs each fuzz target, or those that are named: run.sh runs=COUNT|max_total_time=SECONDS [TARGET]...
# REGSEAL_FUZZ_CORPUS keeps what is found; without it each run begins with the seeds, under the same seed of chance.
set -euo pipefail
cd "$(dirname "$0")/../.."

limit=$1
shift
targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    mapfile -t targets < <(find tests/fuzz/seeds -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)
fi

RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/rustc.sh cargo build --locked --quiet --example fuzz --features fuzzing
program=${CARGO_TARGET_DIR:-target}/debug/examples/fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for target in "${targets[@]}"; do
    corpus=${REGSEAL_FUZZ_CORPUS:-$work}/$target
    mkdir -p "$corpus"
    if ! REGSEAL_FUZZ=$target "$program" "$corpus" "tests/fuzz/seeds/$target" \
        -seed=1 "-$limit" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -dict=tests/fuzz/words.dict -artifact_prefix="$PWD/" -print_final_stats=1 >"$work/log" 2>&1; then
        tail -n 60 "$work/log"
        echo "fuzz $target: failed; the input is kept in a file of its own (crash-, timeout- or oom-)" >&2
        exit 1
    fi
    echo "fuzz $target: $(awk '/stat::number_of_executed_units/ { print $2 }' "$work/log") inputs"
done
