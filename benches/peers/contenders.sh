# Sourced by peers.sh: what is timed, and what it starts from.
# shellcheck shell=bash

# ---- What DST is before a run

# What programs leave beside a target: checksums, records, unfinished copies.
remove_sidecars() {
    rm -f "$DST".* "$WORK"/.target.img.*
}

target_absent() {
    rm -f "$DST"
    remove_sidecars
}

target_empty() {
    target_absent
    truncate -s "$(stat -c %s "$SRC")" "$DST"
}

# Three layers, of which only the middle one has anything: what SRC has.
target_layers() {
    target_absent
    rm -f "$MOUNTED"/old.img "$MOUNTED"/middle.img
    truncate -s "$(stat -c %s "$SRC")" "$MOUNTED/old.img" "$DST"
    cp --reflink=always "$SRC" "$MOUNTED/middle.img"
}

# Folded into again and again: every run writes the same bytes over the same blocks.
target_dense() {
    remove_sidecars
    [ -e "$DST" ] || "$FLOOR" make "$DST" "$(stat -c %s "$SRC")" full >/dev/null
}

target_unwritten() {
    target_absent
    "$FLOOR" make "$DST" "$(stat -c %s "$SRC")" unwritten >/dev/null
}

# A copy that shares nothing with SRC.
target_copied() {
    remove_sidecars
    [ -e "$DST" ] || floor_copy
}

target_as_it_is() {
    :
}

# Copied again when the last contender wrote to it, so that it lies on the medium alike for each.
target_equal() {
    remove_sidecars
    if [ ! -e "$DST" ] || ! [ "$WORK/is-equal" -nt "$DST" ]; then
        floor_copy
        touch "$WORK/is-equal"
    fi
}

# The same blocks get the same other bytes each time, and every sync puts them right again.
target_changed() {
    remove_sidecars
    [ -e "$DST" ] || floor_copy
    "$FLOOR" change "$DST" --percent 1 >/dev/null
}

# ---- Contenders. Each runs once from SRC to DST; CHECK=no when DST is not to become equal to SRC.

floor_copy() {
    timed --fsync "$DST" -- "$FLOOR" copy "$SRC" "$DST" --threads "$COPY_THREADS" --chunk-kib "$COPY_KIB"
}

floor_read2_direct() {
    CHECK=no
    timed -- "$FLOOR" read2 "$SRC" "$DST" --threads "$READ_DIRECT_THREADS"
}

floor_read2_buffered() {
    CHECK=no
    timed -- "$FLOOR" read2 "$SRC" "$DST" --threads "$READ_BUFFERED_THREADS" --buffered
}

floor_read2_hashed() {
    CHECK=no
    timed -- "$FLOOR" read2 "$SRC" "$DST" --threads "$HASHED_THREADS" --buffered --hash --chunk-kib 256
}

floor_update_direct() {
    timed --fsync "$DST" -- "$FLOOR" update "$SRC" "$DST" --threads "$UPDATE_DIRECT_THREADS"
}

floor_update_buffered() {
    timed --fsync "$DST" -- "$FLOOR" update "$SRC" "$DST" --threads "$UPDATE_BUFFERED_THREADS" --buffered
}

floor_extents_direct() {
    CHECK=no
    timed -- "$FLOOR" extents "$DST" "${ALTERNATING_MIB}M" --every-second-block --direct --threads "$EXTENTS_DIRECT_THREADS"
}

floor_extents_buffered() {
    CHECK=no
    timed -- "$FLOOR" extents "$DST" "${ALTERNATING_MIB}M" --every-second-block --threads "$EXTENTS_BUFFERED_THREADS"
}

floor_extents_and_read() {
    CHECK=no
    timed -- "$FLOOR" extents "$DST" "${ALTERNATING_MIB}M" --every-second-block --threads "$EXTENTS_BUFFERED_THREADS" --beside "$SRC"
}

floor_fold_direct() {
    CHECK=no
    timed -- "$FLOOR" fold "$SRC" "$DST" --unit "$UNIT" --threads "$FOLD_THREADS"
}

floor_fold_buffered() {
    CHECK=no
    timed -- "$FLOOR" fold "$SRC" "$DST" --unit "$UNIT" --buffered
}

floor_punch() {
    CHECK=no
    timed -- "$FLOOR" punch "$DST"
}

floor_fiemap() {
    CHECK=no
    timed -- "$FLOOR" fiemap "$SRC"
}

lacuna_map() {
    CHECK=no
    timed -- "$LACUNA" map "$SRC" --json
}

# Of the chain whose flattened image is SRC.
lacuna_export() {
    timed --fsync "$DST" -- "$LACUNA" export "$WORK/chain" "$DST" --json --quiet
}

lacuna_export_v2() {
    ON_WIRE=yes
    start_server "$LACUNA" serve --root "$WORK" --listen 127.0.0.1:0
    local port
    port=$(announced_port) || return
    timed --fsync "$DST" -- "$LACUNA" export "$WORK/chain" "lacuna://127.0.0.1:$port/target.img" --json --quiet || return
    stop_server
}

lacuna_export_plan() {
    CHECK=no
    timed -- "$LACUNA" export "$MOUNTED" "$DST" --dry-run --json
}

lacuna_local() {
    timed --fsync "$DST" -- "$LACUNA" sync "$SRC" "$DST" --json --quiet
}

lacuna_v1() {
    ON_WIRE=yes
    start_server "$LACUNA" serve --once "$DST" --listen 127.0.0.1:0
    local port
    port=$(announced_port) || return
    timed --fsync "$DST" -- "$LACUNA" sync "$SRC" "ssync://127.0.0.1:$port" --json --quiet || return
    await_server
}

# By lacuna's own protocol; through a proxy that delays it when RTT_MS is set.
lacuna_v2() {
    by_v2 lacuna
}

lacuna_v2_tls() {
    by_v2 lacunas --tls-ca "$WORK/cert.pem"
}

by_v2() {
    local scheme=$1 port
    shift
    local identity=()
    [ "$scheme" = lacuna ] || identity=(--tls-cert "$WORK/cert.pem" --tls-key "$WORK/key.pem")
    ON_WIRE=yes
    start_server "$LACUNA" serve --once "$DST" --listen 127.0.0.1:0 "${identity[@]}"
    port=$(announced_port) || return
    if [ -n "$RTT_MS" ]; then
        # Its bytes would be counted twice.
        ON_WIRE=no
        start_proxy "$port" || return
        port=$PROXY_PORT
    fi
    timed --fsync "$DST" -- "$LACUNA" sync "$SRC" "$scheme://127.0.0.1:$port/${DST##*/}" "$@" --json --quiet || return
    stop_proxy
    await_server
}

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=bench \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$WORK/key.pem" -out "$WORK/cert.pem" 2>/dev/null
}

ssync_v1() {
    ON_WIRE=yes
    local port
    port=$(free_port) || return
    start_server "$PEER_SSYNC" -daemon -port "$port" -fastSync=false "$DST"
    await_port "$port" || return
    timed --fsync "$DST" -- "$PEER_SSYNC" -host 127.0.0.1 -port "$port" -fastSync=false "$SRC" || return
    await_server
}

lacuna_fold() {
    CHECK=no
    timed --fsync "$DST" -- "$LACUNA" fold "$SRC" --into "$DST" --json --quiet
}

lacuna_fold_copied() {
    CHECK=no
    timed --fsync "$DST" -- "$LACUNA" fold "$SRC" --into "$DST" --reflink never --json --quiet
}

lacuna_squash() {
    timed --fsync "$DST" -- "$LACUNA" chain squash "$MOUNTED/old.img" "$MOUNTED/middle.img" "$DST" --json --quiet
}

lacuna_squash_copied() {
    timed --fsync "$DST" -- "$LACUNA" chain squash "$MOUNTED/old.img" "$MOUNTED/middle.img" "$DST" --reflink never \
        --json --quiet
}

lacuna_prune() {
    CHECK=no
    timed --fsync "$DST" -- "$LACUNA" prune "$DST" --under "$SRC" --json --quiet
}

lacuna_prune_plan() {
    CHECK=no
    timed -- "$LACUNA" prune "$DST" --under "$SRC" --dry-run --json --quiet
}

# The same bytes without the holes around them.
floor_hash() {
    CHECK=no
    timed -- "$LACUNA" hash "$WORK/giga.img" --json --quiet
}

lacuna_hash() {
    CHECK=no
    timed -- "$LACUNA" hash "$SRC" --json --quiet
}

lacuna_diff() {
    timed -- "$LACUNA" diff "$SRC" "$DST" --json --quiet
}

sfold_fold() {
    CHECK=no
    timed --fsync "$DST" -- "$PEER_SFOLD" "$SRC" "$DST"
}

cp_auto() {
    timed --fsync "$DST" -- cp --sparse=auto --reflink=never "$SRC" "$DST"
}

dd_direct() {
    timed --fsync "$DST" -- dd if="$SRC" of="$DST" bs=4M iflag=direct oflag=direct conv=fsync
}

rsync_whole() {
    timed --fsync "$DST" -- rsync --whole-file --sparse "$SRC" "$DST"
}

rsync_delta() {
    timed --fsync "$DST" -- rsync --inplace --no-whole-file --ignore-times "$SRC" "$DST"
}

nbdcopy_files() {
    timed --fsync "$DST" -- nbdcopy "$SRC" "$DST"
}

qemu_convert() {
    timed --fsync "$DST" -- qemu-img convert -f raw -O raw -t none -T none "$SRC" "$DST"
}

cmp_files() {
    timed -- cmp "$SRC" "$DST"
}

label_contenders() {
    LABEL=(
        [floor_copy]="floor: copy, threads $COPY_THREADS, chunk $COPY_KIB KiB"
        [floor_read2_direct]="floor: both read, direct, threads $READ_DIRECT_THREADS"
        [floor_read2_buffered]="floor: both read, buffered, threads $READ_BUFFERED_THREADS"
        [floor_read2_hashed]="floor: both read, buffered, and hashed, threads $HASHED_THREADS"
        [floor_update_direct]="floor: both read, changes written, direct, threads $UPDATE_DIRECT_THREADS"
        [floor_update_buffered]="floor: both read, changes written, buffered, threads $UPDATE_BUFFERED_THREADS"
        [floor_extents_direct]="floor: 4 KiB writes, direct, threads $EXTENTS_DIRECT_THREADS"
        [floor_extents_buffered]="floor: 4 KiB writes, buffered, threads $EXTENTS_BUFFERED_THREADS"
        [floor_extents_and_read]="floor: 4 KiB writes, buffered, beside reading the source, threads $EXTENTS_BUFFERED_THREADS"
        [floor_fold_direct]="floor: the child read, its units written, direct, threads $FOLD_THREADS"
        [floor_fold_buffered]='floor: the child read, its units written, buffered, threads 4'
        [floor_punch]='floor: 4 KiB punches'
        [floor_hash]='lacuna hash of the data alone'
        [lacuna_fold]='lacuna fold'
        [lacuna_fold_copied]='lacuna fold --reflink never'
        [lacuna_squash]='lacuna chain squash'
        [lacuna_squash_copied]='lacuna chain squash --reflink never'
        [lacuna_prune]='lacuna prune'
        [lacuna_prune_plan]='lacuna prune --dry-run'
        [lacuna_hash]='lacuna hash --method crc64'
        [lacuna_diff]='lacuna diff'
        [floor_fiemap]='floor: FIEMAP'
        [lacuna_map]='lacuna map'
        [lacuna_export]='lacuna export, local'
        [lacuna_export_v2]='lacuna export, v2 on loopback'
        [lacuna_export_plan]='lacuna export --dry-run'
        [lacuna_local]='lacuna sync, local'
        [lacuna_v1]='lacuna sync, v1 on loopback'
        [lacuna_v2]='lacuna sync, v2 on loopback'
        [lacuna_v2_tls]='lacuna sync, v2 by TLS on loopback'
        [ssync_v1]='ssync (original), v1 on loopback'
        [sfold_fold]='sfold (original)'
        [cp_auto]='cp --sparse=auto --reflink=never'
        [dd_direct]='dd bs=4M direct'
        [rsync_whole]='rsync --whole-file --sparse'
        [rsync_delta]='rsync --inplace --no-whole-file --ignore-times'
        [nbdcopy_files]='nbdcopy'
        [qemu_convert]='qemu-img convert -t none -T none'
        [cmp_files]='cmp'
    )
}
