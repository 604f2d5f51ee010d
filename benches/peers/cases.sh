# Sourced by peers.sh: what is compared with what.
# shellcheck shell=bash

# ---- The best number of threads for the floors

find_best_copy() {
    say 'finding the best threads and chunk for the floor copy'
    settle
    "$FLOOR" copy-best "$SRC" "$DST" >"$WORK/best" 2>/dev/null
    COPY_THREADS=$(field threads "$WORK/best")
    COPY_KIB=$(field chunk_kib "$WORK/best")
}

# best_threads LEAST WORDS...: tries `floor WORDS --threads N` once for each N from LEAST on and prints
# the best N.
best_threads() {
    local least=$1 threads line
    shift
    for threads in "${THREADS[@]}"; do
        [ "$threads" -ge "$least" ] || continue
        settle
        line=$("$FLOOR" "$@" --threads "$threads") || exit 1
        echo "$line $threads"
    done | tr '=' ' ' | sort -n -k 2,2 | head -n 1 | awk '{ print $NF }'
}

find_best_threads() {
    find_best_copy
    say 'finding the best threads for the other floors'
    # The copy that was just made is the other file to read.
    READ_DIRECT_THREADS=$(best_threads 2 read2 "$SRC" "$DST")
    READ_BUFFERED_THREADS=$(best_threads 2 read2 "$SRC" "$DST" --buffered)
    UPDATE_DIRECT_THREADS=$(best_threads 1 update "$SRC" "$DST")
    UPDATE_BUFFERED_THREADS=$(best_threads 1 update "$SRC" "$DST" --buffered)
    EXTENTS_DIRECT_THREADS=$(best_threads 1 extents "$DST" "${ALTERNATING_MIB}M" --every-second-block --direct)
    HASHED_THREADS=$(best_threads 2 read2 "$SRC" "$DST" --buffered --hash --chunk-kib 256)
    EXTENTS_BUFFERED_THREADS=$(best_threads 1 extents "$DST" "${ALTERNATING_MIB}M" --every-second-block)
    FOLD_THREADS=$COPY_THREADS
    rm -f "$DST"
}

# ---- The cases

# add ARRAY CONTENDER [NEEDED]: adds it when the program it needs is there.
add() {
    local -n contenders=$1
    case $2 in
        lacuna_v2_tls) have_lacuna && have openssl && make_certificate || return 0 ;;
        lacuna_*) have_lacuna || return 0 ;;
        ssync_*) [ -n "${PEER_SSYNC:-}" ] || return 0 ;;
        sfold_*) [ -n "${PEER_SFOLD:-}" ] || return 0 ;;
    esac
    if [ $# -lt 3 ] || have "$3"; then
        contenders+=("$2")
    fi
}

case_full_copy() {
    local local_ones=(floor_copy) network=(floor_copy) own=(floor_copy)
    add local_ones lacuna_local
    add local_ones cp_auto
    add local_ones dd_direct
    add local_ones rsync_whole rsync
    add local_ones nbdcopy_files nbdcopy
    add local_ones qemu_convert qemu-img
    run_case "Full copy to a fresh target, local" target_absent "${local_ones[@]}"
    add network lacuna_v1
    add network ssync_v1
    run_case "Full copy to a fresh target, v1" target_absent "${network[@]}"
    add own lacuna_v2
    add own lacuna_v2_tls
    add own ssync_v1
    run_case "Full copy to a fresh target, v2" target_absent "${own[@]}"
}

case_identical() {
    local list=(floor_read2_direct floor_read2_buffered)
    add list lacuna_local
    add list cmp_files cmp
    add list rsync_delta rsync
    add list lacuna_v1
    add list lacuna_v2
    add list ssync_v1
    run_case "Identical target" target_equal "${list[@]}"
}

case_cached() {
    local list=(floor_read2_buffered floor_read2_hashed)
    add list lacuna_local
    add list lacuna_v2
    add list lacuna_v2_tls
    add list rsync_delta rsync
    CACHED=yes
    run_case "Identical target, both cached" target_copied "${list[@]}"
    CACHED=no
}

case_alternating() {
    local list=(floor_extents_direct floor_extents_buffered floor_extents_and_read) cached=(floor_extents_buffered)
    add list lacuna_local
    add list lacuna_v1
    add list lacuna_v2
    add list ssync_v1
    add list cp_auto
    add list rsync_whole rsync
    add list nbdcopy_files nbdcopy
    add list qemu_convert qemu-img
    run_case "$ALTERNATING_MIB MiB, a block and a hole in turn, fresh target" target_absent "${list[@]}"
    add cached lacuna_local
    add cached lacuna_v2
    CACHED=yes
    run_case "The same, the source cached" target_absent "${cached[@]}"
    CACHED=no
}

case_changed() {
    local list=(floor_update_direct floor_update_buffered floor_read2_direct)
    add list lacuna_local
    add list lacuna_v2
    add list rsync_delta rsync
    run_case "1 % of the blocks changed" target_changed "${list[@]}"
}

# Through a proxy that delays: each without a delay as well.
case_delay() {
    local list=()
    add list lacuna_v2
    [ -n "${DELAY_PROXY:-}" ] && [ ${#list[@]} -gt 0 ] || return 0
    "$FLOOR" make "$SRC" "${DELAYED_MIB}M" alternating >/dev/null
    delayed "$DELAYED_MIB MiB, a block and a hole in turn, fresh target" target_absent 20
    "$FLOOR" make "$SRC" "$((SIZE_MIB / 2))M" alternating --unit 1M >/dev/null
    delayed "$((SIZE_MIB / 2)) MiB, half of it data, identical target" target_equal 100
    rm -f "$SRC"
}

# delayed TITLE PREPARE MS
delayed() {
    run_case "$1" "$2" "${list[@]}"
    RTT_MS=$3
    run_case "$1, $3 ms round trip" "$2" "${list[@]}"
    RTT_MS=
}

case_million() {
    local list=()
    add list lacuna_v2
    [ ${#list[@]} -gt 0 ] || return 0
    SRC=$WORK/million.img
    "$FLOOR" make "$SRC" "$((SIZE_MIB * 4))M" alternating >/dev/null
    truncate -s 1T "$SRC"
    NO_CMP=yes
    run_case "1 TiB, $((SIZE_MIB * 512)) extents of 4 KiB, fresh target" target_absent "${list[@]}"
    lacuna_v2 && run_case "The same, identical target" target_as_it_is "${list[@]}"
    NO_CMP=
    target_absent
    rm -f "$SRC"
}

# make_chain DIR SIZE UNIT EVERY [MAKE...]: ten layers, each with another one in EVERY units of its own.
make_chain() {
    local dir=$1 size=$2 unit=$3 every=$4 layer parent= name
    shift 4
    mkdir -p "$dir"
    for layer in 0 1 2 3 4 5 6 7 8 9; do
        name=volume-snap-$layer.img
        [ "$layer" -lt 9 ] || name=volume-head-009.img
        "$FLOOR" make "$dir/$name" "$size" alternating --unit "$unit" --every "$every" \
            --first "$((layer % every))" --seed "$layer" "$@" >/dev/null
        echo "{\"Parent\":\"$parent\"}" >"$dir/$name.meta"
        parent=$name
    done
    echo "{\"Size\":$(stat -c %s "$dir/$parent"),\"Head\":\"$parent\"}" >"$dir/volume.meta"
}

case_export() {
    local list=(floor_copy) plan=()
    add list lacuna_export
    add list lacuna_export_v2
    [ ${#list[@]} -gt 1 ] || return 0
    make_chain "$WORK/chain" "${SIZE_MIB}M" 256K 10
    "$LACUNA" export "$WORK/chain" "$SRC" --quiet
    run_case "Export of a chain of 10 layers with $SIZE_MIB MiB in all" target_absent "${list[@]}"
    rm -rf "$WORK/chain" "$SRC"
    add plan lacuna_export_plan
    mount_disk ext4 -b 1024 || return 0
    make_chain "$MOUNTED" "$((SIZE_MIB * 4))M" 1K 8 --unwritten
    SRC=$MOUNTED/volume-head-009.img
    run_case "Layout of 10 layers with $((SIZE_MIB * 512)) extents each, ext4 with blocks of 1 KiB" target_absent "${plan[@]}"
    unmount_disk
}

case_fold() {
    local list=(floor_fold_direct floor_fold_buffered)
    add list lacuna_fold
    add list sfold_fold
    SRC=$WORK/half.img UNIT=1M
    "$FLOOR" make "$SRC" "${SIZE_MIB}M" alternating --unit "$UNIT" >/dev/null
    run_case "Fold of half of $SIZE_MIB MiB, 1 MiB of data and a hole in turn" target_dense "${list[@]}"
    rm -f "$SRC"
    SRC=$WORK/alternating.img UNIT=4K
    run_case "Fold of $ALTERNATING_MIB MiB, a block and a hole in turn, into a dense parent" target_dense "${list[@]}"
}

# On filesystems of their own, in files in DIR.
case_reflink() {
    local fs list=()
    add list lacuna_fold
    add list lacuna_fold_copied
    [ ${#list[@]} -gt 0 ] || return 0
    for fs in xfs btrfs; do
        mount_disk "$fs" || continue
        SRC=$MOUNTED/child.img DST=$MOUNTED/parent.img
        "$FLOOR" make "$SRC" "$((SIZE_MIB / 2))M" full >/dev/null
        run_case "Fold of $((SIZE_MIB / 2)) MiB in one piece into an empty parent, $fs" target_empty "${list[@]}"
        unmount_disk
        DST=$WORK/target.img
    done
}

# The result is compared with SRC.
case_squash() {
    local list=()
    add list lacuna_squash
    add list lacuna_squash_copied
    [ ${#list[@]} -gt 0 ] || return 0
    mount_disk xfs || return 0
    SRC=$MOUNTED/child.img DST=$MOUNTED/new.img
    "$FLOOR" make "$SRC" "$((SIZE_MIB / 2))M" full >/dev/null
    run_case "Squash of three layers, $((SIZE_MIB / 2)) MiB in one piece, xfs" target_layers "${list[@]}"
    unmount_disk
    DST=$WORK/target.img
}

mount_disk() {
    if ! have "mkfs.$1" || [ "$(id -u)" != 0 ]; then
        say "no $1 here: reflinks on it are left out"
        return 1
    fi
    MOUNTED=$WORK/mounted
    mkdir -p "$MOUNTED"
    truncate -s "$((SIZE_MIB * 16))M" "$WORK/disk"
    "mkfs.$1" -q "${@:2}" "$WORK/disk" >&2 && mount -o loop "$WORK/disk" "$MOUNTED"
}

unmount_disk() {
    umount "$MOUNTED"
    rm -f "$WORK/disk"
    MOUNTED=
}

case_prune() {
    local list=(floor_punch) plan=(floor_fiemap)
    add list lacuna_prune
    add plan lacuna_prune_plan
    SRC=$WORK/child.img
    "$FLOOR" make "$SRC" "$((SIZE_MIB * 4))M" alternating --unwritten >/dev/null
    target_unwritten
    run_case "Plan to prune $((SIZE_MIB * 512)) extents" target_as_it_is "${plan[@]}"
    run_case "Prune $((SIZE_MIB * 512)) extents" target_unwritten "${list[@]}"
    rm -f "$SRC"
}

case_hash() {
    local list=()
    add list lacuna_hash
    [ ${#list[@]} -gt 0 ] || return 0
    "$FLOOR" make "$WORK/giga.img" "$((SIZE_MIB / 2))M" full >/dev/null
    SRC=$WORK/tera.img
    "$FLOOR" make "$SRC" "$((SIZE_MIB / 2))M" full >/dev/null
    truncate -s 1T "$SRC"
    run_case "CRC-64 of a file of 1 TiB with $((SIZE_MIB / 2)) MiB of data" target_absent floor_hash lacuna_hash
    rm -f "$SRC" "$WORK/giga.img"
}

case_diff() {
    local list=(floor_read2_buffered)
    add list lacuna_diff
    add list cmp_files cmp
    CACHED=yes
    run_case "Diff of two equal images of $SIZE_MIB MiB, cached" target_copied "${list[@]}"
    CACHED=no
}

case_map() {
    local list=(floor_fiemap)
    "$FLOOR" make "$SRC" "$((ALTERNATING_MIB * 4))M" alternating >/dev/null
    "$FLOOR" fiemap "$SRC" >"$WORK/extents"
    add list lacuna_map
    run_case "Layout of $(field extents "$WORK/extents") extents" target_absent "${list[@]}"
}

# case_of NAME IMAGE: runs the case, unless others were asked for.
case_of() {
    if [ -z "$ONLY" ] || [[ ",$ONLY," == *",$1,"* ]]; then
        SRC=$WORK/$2
        "case_$1"
    fi
}

run_cases() {
    local name
    for name in full_copy identical cached changed diff; do case_of "$name" full.img; done
    for name in alternating fold reflink squash prune hash; do case_of "$name" alternating.img; done
    case_of delay delayed.img
    case_of million million.img
    case_of export flat.img
    case_of map extents.img
}
