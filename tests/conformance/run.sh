#!/usr/bin/env bash
# Runs the OCI conformance suite on bare registries and through regseal before them, and compares: docker-registry 2.8.2
# with each kind of stores, distribution 3.1.1, and olareg, which has the Referrers API and SHA-512 by itself.
# Takes REGSEAL (the binary) and REGSEAL_TOOLS (the folder of the test tools); the suite's own reports stay in $results.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
results=${CARGO_TARGET_DIR:-target}/conformance
# shellcheck source=tests/servers.sh
source "$here/../servers.sh"

# run_suite NAME PROFILE REGISTRY. A bare registry may fail; what counts is the comparison. The suite ends well without a
# report when it does not like its settings.
run_suite() {
    local folder=$results/$1-$2
    mkdir -p "$folder"
    OCI_REGISTRY=$3 OCI_TLS=disabled OCI_VERSION=$2 OCI_RESULTS_DIR=$folder \
        "$REGSEAL_TOOLS/conformance" </dev/null >"$folder/output.txt" 2>&1 || true
    [[ -s $folder/results.yaml ]] || { tail "$folder/output.txt" >&2; return 1; }
}

# compare BARE REGSEAL PROFILE
compare() {
    echo "$2, profile $3:"
    python3 "$here/compare.py" "$results/$1-$3" "$results/$2-$3" "$3"
}

rm -rf "$results"
start_registry bare
run_suite bare 1.1 "$registry"
run_suite bare dev "$registry"
for stores in directory s3+redis; do
    start_registry "upstream-$stores"
    start_regseal "$registry" "$stores" "regseal-$stores"
    for profile in 1.1 dev; do
        run_suite "$stores" "$profile" "$regseal"
        compare bare "$stores" "$profile"
    done
done

unset "${!REGSEAL__@}"
start_registry distribution3 registry3
run_suite bare3 dev "$registry"
start_registry upstream3 registry3
start_regseal "$registry" directory regseal3
run_suite distribution3 dev "$regseal"
compare bare3 distribution3 dev

start_olareg olareg
run_suite bare-olareg dev "$olareg"
start_olareg upstream-olareg
start_regseal "$olareg" directory regseal-olareg
run_suite olareg dev "$regseal"
compare bare-olareg olareg dev
