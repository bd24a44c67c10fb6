#!/usr/bin/env bash
# A transcript: an image is pushed, signed, listed and verified through regseal, before a registry without the Referrers API.
# Takes REGSEAL (the binary) and REGSEAL_TOOLS (the folder of the test tools). Fails when a step's output is not what it must be.
# shellcheck disable=SC2016 # commands are shown as typed, and expanded when they run
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/servers.sh
source "$here/../servers.sh"

# The programs see a home of their own: no configuration, key or credential of the user's.
export HOME=$work/home COSIGN_PASSWORD=
unset XDG_CONFIG_HOME XDG_CACHE_HOME DOCKER_CONFIG
PATH=$work/bin:$REGSEAL_TOOLS:$PATH
mkdir -p "$HOME" "$work/bin" "$work/demo"
ln -s "$REGSEAL_TOOLS/cosign3" "$work/bin/cosign"
cd "$work/demo"

say() { printf '\n# %s\n' "$*"; }

# run WANTED COMMAND: shows the command and its output; the output must match WANTED, an extended regular expression.
run() {
    local wanted=$1 command=$2 output status=0
    printf '$ %s\n' "$command"
    output=$(eval "$command" 2>&1 </dev/null) || status=$?
    grep -Ev '^(WARNING: |Flag |20[0-9]{2}/|$)' <<<"$output" | cut -c 1-160 || true
    if ((status)) || ! grep -Ezq -- "$wanted" <<<"$output"; then
        printf 'the demo failed: status %s, wanted: %s\n%s\n' "$status" "$wanted" "$output" >&2
        exit 1
    fi
}

start_registry registry
start_regseal "$registry"
proxy=localhost:${regseal#*:}
say "A registry without the Referrers API (docker-registry $(docker-registry --version | cut -d ' ' -f 3)), and regseal before it:"
printf '$ registry=%s proxy=%s\n' "$registry" "$proxy"
printf '$ regseal serve --upstream http://$registry --listen %s\n' "$regseal"

say "Push an image through regseal."
echo hello >hello.txt
tar -cf layer.tar hello.txt
run 'demo/app@sha256:[0-9a-f]{64}' 'crane append --oci-empty-base -f layer.tar -t $proxy/demo/app:1.0'
digest=$(crane digest "$proxy/demo/app:1.0")
image=$proxy/demo/app@$digest
printf '$ digest=%s\n$ image=$proxy/demo/app@$digest\n' "$digest"

say "Sign it with notation and with cosign, as they come."
notation cert generate-test --default demo >/dev/null
run 'Successfully signed' 'notation sign $image'
cosign generate-key-pair >/dev/null 2>&1
run 'Pushing signature' 'cosign sign --yes --key cosign.key --use-signing-config=false --tlog-upload=false $image'

say "regseal answers the Referrers API: every client finds both signatures."
run 'application/vnd.cncf.notary.signature.*application/vnd.dev.sigstore.bundle' 'oras discover $image'

say "Verify with a strict trust policy for this one repository, and with the public key."
cat >trustpolicy.json <<JSON
{
  "version": "1.0",
  "trustPolicies": [{
    "name": "demo",
    "registryScopes": ["$proxy/demo/app"],
    "signatureVerification": {"level": "strict"},
    "trustStores": ["ca:demo"],
    "trustedIdentities": ["*"]
  }]
}
JSON
notation policy import trustpolicy.json >/dev/null
run 'Successfully verified' 'notation verify $image'
run 'signatures were verified' 'cosign verify --key cosign.pub --insecure-ignore-tlog --output text $image'

say "The registry behind has neither the API, nor a fallback tag, nor the signatures: only the image."
signature=$(oras discover --format json "$image" | jq -r '.referrers[0].digest')
printf '$ signature=%s\n' "$signature"
run '^404' 'curl -so /dev/null -w "%{http_code}\n" http://$registry/v2/demo/app/referrers/$digest'
run '^404' 'curl -so /dev/null -w "%{http_code}\n" http://$registry/v2/demo/app/manifests/${digest/:/-}'
run '^404' 'curl -so /dev/null -w "%{http_code}\n" http://$registry/v2/demo/app/manifests/$signature'
run '"tags":\["1.0"\]' 'curl -s http://$registry/v2/demo/app/tags/list'
