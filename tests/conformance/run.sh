#!/usr/bin/env bash
# Runs the OCI conformance suite on a bare docker-registry and through regseal before others, once with each kind of
# stores, and compares.
# Takes REGSEAL (the binary) and REGSEAL_TOOLS (the folder of the test tools); the suite's own reports stay in $results.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
results=${CARGO_TARGET_DIR:-target}/conformance
# shellcheck source=tests/servers.sh
source "$here/../servers.sh"

# The suite fails on the bare registry, as it must; what counts is the comparison.
run_suite() {
    mkdir -p "$results/$1"
    OCI_REGISTRY=$2 OCI_TLS=disabled OCI_VERSION=1.1 OCI_RESULTS_DIR=$results/$1 \
        "$REGSEAL_TOOLS/conformance" </dev/null >"$results/$1/output.txt" 2>&1 || true
    [[ -s $results/$1/results.yaml ]] || { tail "$results/$1/output.txt" >&2; return 1; }
}

rm -rf "$results"
start_registry bare
run_suite bare "$registry"
for stores in directory s3+redis; do
    start_registry "upstream-$stores"
    start_regseal "$registry" "$stores"
    run_suite "regseal-$stores" "$regseal"
    echo "with $stores:"
    python3 "$here/compare.py" "$results/bare" "$results/regseal-$stores"
done
