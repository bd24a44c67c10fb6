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
run() { try 0 "$@"; }

# refused WANTED COMMAND: as run, of a command that must fail.
refused() { try 1 "$@"; }

try() {
    local fails=$1 wanted=$2 command=$3 output status=0
    printf '$ %s\n' "$command"
    output=$(eval "$command" 2>&1 </dev/null) || status=$?
    grep -Ev '^(WARNING: |Flag |20[0-9]{2}/|$)' <<<"$output" | cut -c 1-400 || true
    if (((status != 0) != fails)) || ! grep -Ezq -- "$wanted" <<<"$output"; then
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

say "Now with a policy: what is unsigned is rejected under prod, marked under staging, and not served where it was before."
mkdir -p trust/truststore/x509/ca
cp -r "$HOME/.config/notation/truststore/x509/ca/demo" trust/truststore/x509/ca/
cat >trust/trustpolicy.json <<'JSON'
{
  "version": "1.0",
  "trustPolicies": [{
    "name": "release",
    "registryScopes": ["*"],
    "signatureVerification": {"level": "strict"},
    "trustStores": ["ca:demo"],
    "trustedIdentities": ["*"]
  }]
}
JSON
cat >policy.yaml <<'YAML'
version: 1
authorities:
  release-team: {notation: {statement: release}}
  build-key: {cosign: {key: cosign.pub, transparency_log: ignored}}
rules:
  - name: production
    repositories: ["prod/**"]
    require: release-team
    on_unsigned_push: reject
  - name: staging
    repositories: ["staging/**"]
    require: build-key
    on_unsigned_push: tag
YAML
cat policy.yaml
export REGSEAL__POLICY__FILE=policy.yaml REGSEAL__TRUST__DIRECTORY=trust
start_regseal "$registry" directory enforcing
proxy=localhost:${regseal#*:}
printf '$ regseal serve --upstream http://$registry --listen %s --policy policy.yaml\n' "$regseal"

say "An unsigned push is rejected. The message has the command that helps."
echo production >hello.txt
tar -cf layer.tar hello.txt
refused "not signed as rule 'production' requires: release-team. Sign it, then push again: notation sign" \
    'crane append --oci-empty-base -f layer.tar -t $proxy/prod/app:1.0'
printed=$(crane append --oci-empty-base -f layer.tar -t "$proxy/prod/app:1.0" 2>&1 | grep -Eom 1 'notation sign [^ ;]*' || true)
run 'Successfully signed' "$printed"
run 'prod/app@sha256:[0-9a-f]{64}' 'crane append --oci-empty-base -f layer.tar -t $proxy/prod/app:1.0'

say "An unsigned push to staging passes and is marked. The mark goes when cosign signs."
run 'staging/app@sha256:[0-9a-f]{64}' 'crane append --oci-empty-base -f layer.tar -t $proxy/staging/app:1.0'
run 'unsigned-1.0' 'crane ls $proxy/staging/app'
image=$proxy/staging/app@$(crane digest "$proxy/staging/app:1.0")
run 'Pushing signature' 'cosign sign --yes --key cosign.key --use-signing-config=false --tlog-upload=false $image'
run '^1.0[[:space:]]*$' 'crane ls $proxy/staging/app'

say "An image that got into the registry behind regseal's back is not served, neither by its tag nor by its digest."
echo smuggled >hello.txt
tar -cf layer.tar hello.txt
run 'prod/app@sha256:[0-9a-f]{64}' 'crane append --oci-empty-base -f layer.tar -t $registry/prod/app:smuggled'
digest=$(crane digest "$registry/prod/app:smuggled")
printf '$ digest=%s\n' "$digest"
refused "DENIED: .* is not signed as rule 'production' requires" 'crane pull $proxy/prod/app:smuggled smuggled.tar'
refused "DENIED: .* is not signed as rule 'production' requires" 'crane pull $proxy/prod/app@$digest smuggled.tar'
run 'manifest.json' 'crane pull $proxy/prod/app:1.0 app.tar && tar -tf app.tar'
