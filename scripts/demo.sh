#!/usr/bin/env bash
# Shows lacuna at work: makes a sparse image, syncs it to a server on loopback, changes a part of it,
# syncs again, and compares. Needs a Rust toolchain and 300 MiB in $TMPDIR; leaves nothing behind but
# what cargo builds, in target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! type -P cargo >/dev/null; then
    echo "scripts/demo.sh: cargo is not installed or not in PATH: see https://rustup.rs" >&2
    exit 1
fi

cargo build --release --locked --quiet -p lacuna-cli
lacuna=${CARGO_TARGET_DIR:-target}/release/lacuna
work=$(mktemp -d "${TMPDIR:-/tmp}/lacuna-demo-XXXXXX")
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*" | sed "s#$lacuna#lacuna#g; s#$work/##g"; "$@" | sed "s#$work/##g"; }

# Starts a server for $1 and puts its address into $address.
receive() {
    "$lacuna" serve --once "$1" --listen 127.0.0.1:0 >"$work/server.out" 2>"$work/server.err" &
    server=$!
    address=
    for _ in $(seq 200); do
        address=$(sed -n 's/^listening on //p' "$work/server.err")
        [ -z "$address" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    cat "$work/server.err" >&2
    return 1
}

# Waits for the server, which ends by itself after a sync.
received() {
    wait "$server"
    server=
    sed "s#$work/##g; s/^/server: /" "$work/server.out"
}

disk=$work/disk.img copy=$work/copy.img

say 'A sparse image of 1 GiB: some data, space that was never written, and much that is not there'
truncate -s 1G "$disk"
dd if=/dev/urandom of="$disk" bs=1M count=48 conv=notrunc status=none
dd if=/dev/urandom of="$disk" bs=1M count=16 seek=600 conv=notrunc status=none
if ! fallocate --keep-size --offset 700MiB --length 32MiB "$disk" 2>/dev/null; then
    echo 'this filesystem cannot hold unwritten space; the demo goes on without it'
fi
run "$lacuna" map "$disk"

say 'To a server that has nothing yet: the data is sent, the holes are not'
receive "$copy"
run "$lacuna" sync "$disk" "ssync://$address"
received
cmp "$disk" "$copy" && echo 'cmp: equal'

say 'One MiB changes: one MiB is sent'
dd if=/dev/urandom of="$disk" bs=1M count=1 seek=10 conv=notrunc status=none
receive "$copy"
run "$lacuna" sync "$disk" "ssync://$address"
received
cmp "$disk" "$copy" && echo 'cmp: equal'

say 'To a path on this machine, which keeps unwritten space as it is'
run "$lacuna" sync "$disk" "$work/local.img"
cmp "$disk" "$work/local.img" && echo 'cmp: equal'
run "$lacuna" map "$work/local.img"
