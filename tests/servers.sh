# shellcheck shell=bash
# Starts docker-registry and regseal for the script that sources this. They, and $work, last as long as that script.

: "${REGSEAL:?the regseal binary}" "${REGSEAL_TOOLS:?the folder of the test tools}"

work=$(mktemp -d)
pids=()

stop() {
    local status=$? pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || continue
        timeout 10 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
    done
    if ((status)) && compgen -G "$work/*.log" >/dev/null; then
        tail -n 20 "$work"/*.log >&2
    fi
    rm -rf "$work"
}
trap stop EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

answers() {
    case $1 in
        redis://*) [[ $(redis-cli -u "$1" ping 2>/dev/null) == PONG ]] ;;
        *) curl --silent --fail --output /dev/null "$1" ;;
    esac
}

# serve NAME URL COMMAND...: runs the command and waits until the URL answers; fails when the process ends before.
serve() {
    local name=$1 url=$2 pid
    shift 2
    "$@" </dev/null >"$work/$name.log" 2>&1 &
    pid=$!
    for _ in {1..300}; do
        kill -0 "$pid" 2>/dev/null || return 1
        if answers "$url"; then
            pids+=("$pid")
            return
        fi
        sleep 0.1
    done
    kill -KILL "$pid"
    return 1
}

# start_registry NAME [PROGRAM]: sets $registry: docker-registry 2.8.2, or registry3 (distribution 3.1.1), which looks
# for the children of an index by their sha256 names alone, unless it is told not to look. A port can be taken between
# the choice and the start, hence the attempts.
start_registry() {
    local program=${2-docker-registry} children=
    [[ $program == docker-registry ]] || children=', indexes: {platforms: none}'
    for _ in 1 2 3; do
        registry=127.0.0.1:$(free_port)
        cat >"$work/$1.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/$1}, delete: {enabled: true}}
http: {addr: $registry, secret: upload-state}
validation: {manifests: {urls: {allow: ["^https?://"]}$children}}
YAML
        serve "$1" "http://$registry/v2/" "$program" serve "$work/$1.yaml" && return
    done
    return 1
}

# start_olareg NAME: sets $olareg, a registry with the Referrers API that keeps everything in memory.
start_olareg() {
    local port
    for _ in 1 2 3; do
        port=$(free_port)
        olareg=127.0.0.1:$port
        serve "$1" "http://$olareg/v2/" "$REGSEAL_TOOLS/olareg" serve --addr 127.0.0.1 --port "$port" \
            --store-type mem --api-delete --api-blob-delete && return
    done
    return 1
}

# start_regseal UPSTREAM [STORES [NAME]]: sets $regseal, the address to push to. The stores are a directory, or `s3+redis`.
start_regseal() {
    local admin name=${3-regseal}
    local stores=(--data "$work/$name")
    if [[ ${2-} == s3+redis ]]; then
        start_s3
        start_redis
        stores=()
        export REGSEAL__STORAGE__S3__ENDPOINT=http://$s3 REGSEAL__STORAGE__S3__BUCKET=signatures
        export REGSEAL__STORAGE__S3__ACCESS_KEY_ID=regseal REGSEAL__STORAGE__S3__SECRET_ACCESS_KEY=of-the-tests
        export REGSEAL__INDEX__REDIS__URL=redis://$redis
    fi
    for _ in 1 2 3; do
        regseal=127.0.0.1:$(free_port)
        admin=127.0.0.1:$(free_port)
        serve "$name" "http://$admin/readyz" \
            "$REGSEAL" serve --upstream "http://$1" --listen "$regseal" --admin "$admin" "${stores[@]}" && return
    done
    return 1
}

# start_s3: sets $s3, an S3 server with an empty bucket.
start_s3() {
    mkdir -p "$work/s3/signatures"
    for _ in 1 2 3; do
        s3=127.0.0.1:$(free_port)
        ROOT_ACCESS_KEY=regseal ROOT_SECRET_KEY=of-the-tests serve versitygw "http://$s3/health" \
            "$REGSEAL_TOOLS/versitygw" --port "$s3" --quiet --health /health posix --concurrency 1 "$work/s3" && return
    done
    return 1
}

# start_redis: sets $redis.
start_redis() {
    local port
    for _ in 1 2 3; do
        port=$(free_port)
        redis=127.0.0.1:$port
        serve redis "redis://$redis" redis-server --port "$port" --bind 127.0.0.1 --save '' && return
    done
    return 1
}
