# Sourced by peers.sh: the servers that contenders talk to, and what stands between.
# shellcheck shell=bash

# start_server CMD...: in a process group of its own, whose leader is `floor run`.
start_server() {
    : >"$WORK/server-stderr"
    set -m
    "$FLOOR" run --report "$WORK/server-report" -- "$@" >/dev/null 2>"$WORK/server-stderr" &
    SERVER=$!
    set +m
}

# The port in the line that a server of ours says on standard error. Waits for it for 10 seconds.
announced_port() {
    local port
    for ((i = 0; i < 1000; i++)); do
        port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9][0-9]*\).*/\1/p' "$WORK/server-stderr" | head -n 1)
        if [ -n "$port" ]; then
            echo "$port"
            return
        fi
        kill -0 "$SERVER" 2>/dev/null || return 1
        sleep 0.01
    done
    return 1
}

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local port
    for ((i = 0; i < 100; i++)); do
        port=$((20000 + RANDOM % 12000))
        if ! is_open "$port"; then
            echo "$port"
            return
        fi
    done
    return 1
}

await_port() {
    for ((i = 0; i < 1000; i++)); do
        ! is_open "$1" || return 0
        sleep 0.01
    done
    return 1
}

# Waits for a server that ends by itself, for 30 seconds. How it exits does not matter: the original's
# exits with 1 after success.
await_server() {
    for ((i = 0; i < 3000; i++)); do
        if ! kill -0 "$SERVER" 2>/dev/null; then
            wait "$SERVER" || true
            SERVER=
            return
        fi
        sleep 0.01
    done
    echo 'the server did not end' >"$WORK/stderr"
    return 1
}

# start_proxy PORT: to PORT, with a round trip of RTT_MS.
start_proxy() {
    PROXY_PORT=$(free_port) || return
    python3 "$DELAY_PROXY" "$PROXY_PORT" "$1" "$RTT_MS" >/dev/null 2>"$WORK/proxy-stderr" &
    PROXY=$!
    await_port "$PROXY_PORT"
}

stop_proxy() {
    if [ -n "$PROXY" ]; then
        kill "$PROXY" 2>/dev/null || true
        wait "$PROXY" 2>/dev/null || true
        PROXY=
    fi
}
