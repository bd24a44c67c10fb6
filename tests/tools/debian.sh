#!/usr/bin/env bash
# Installs the Debian packages that the tests and the demo need and that are missing: one `command:package` per argument.
set -euo pipefail

missing=()
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
((${#missing[@]})) || exit 0

command -v apt-get >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# No package may start its service: a test starts what it needs, on a port of its own.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | root tee "$policy" >/dev/null
    root chmod 755 "$policy"
fi
root apt-get update -qq
root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
