#!/usr/bin/env bash
#
# Times lacuna beside whatever peers are installed, and beside benches/floor: bare programs of the same
# system calls, which are what the hardware allows. Prints tables in Markdown on standard output and
# what it is doing on standard error.
#
#   usage: benches/peers.sh [--dir DIR] [--runs 5] [--size-mib 2048]
#
# DIR must lie on a disk, with room for three images of the size asked for and 2 GiB more. In each round
# every contender runs once, in turn, on a fresh or restored target, with the caches dropped (as root).
# The time is the wall time until the command has ended and its target is on the medium: an fsync of the
# target follows each command within its time, which costs nothing where the command did one itself.
# A contender that fails, or whose target is not equal to the source, is left out and noted.
#
# Environment:
#   LACUNA       a built `lacuna` to time, instead of building this checkout's
#   PEER_SSYNC   Longhorn's ssync, to time on the network as well
#   PEER_SFOLD   Longhorn's sfold, to time on a fold as well

set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly MIB=1048576
readonly THREADS=(1 2 4 8 16)

DIR=${TMPDIR:-/tmp}
RUNS=5
SIZE_MIB=2048
WORK=
SERVER=

usage() {
    echo 'usage: benches/peers.sh [--dir DIR] [--runs 5] [--size-mib 2048]'
}

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "peers.sh: $*"
    exit 1
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --dir | --runs | --size-mib)
                [ $# -ge 2 ] || { usage >&2; exit 2; }
                case $1 in
                    --dir) DIR=$2 ;;
                    --runs) RUNS=$2 ;;
                    --size-mib) SIZE_MIB=$2 ;;
                esac
                shift 2
                ;;
            *)
                usage >&2
                exit 2
                ;;
        esac
    done
    [[ $RUNS =~ ^[1-9][0-9]*$ && $SIZE_MIB =~ ^[1-9][0-9]*$ ]] || { usage >&2; exit 2; }
}

# ---- The place, the programs, the machine

stop_server() {
    if [ -n "$SERVER" ]; then
        kill -- "-$SERVER" 2>/dev/null || true
        wait "$SERVER" 2>/dev/null || true
        SERVER=
    fi
}

clean_up() {
    stop_server
    [ -z "$WORK" ] || rm -rf -- "$WORK"
}

make_work_dir() {
    local type need free
    [ -d "$DIR" ] || die "no such directory: $DIR"
    type=$(df --output=fstype "$DIR" | tail -n 1)
    case $type in
        tmpfs | ramfs | overlay | nfs* | 9p | fuse*)
            die "$DIR is on $type, not on a disk; choose another with --dir"
            ;;
    esac
    need=$(((SIZE_MIB * 3 + 2048) * MIB))
    free=$(df --output=avail -B1 "$DIR" | tail -n 1)
    [ "$free" -ge "$need" ] || die "$DIR has $((free / MIB)) MiB free, of $((need / MIB)) needed"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    WORK=$(mktemp -d "$DIR/lacuna-peers.XXXXXX")
}

build() {
    local target=${CARGO_TARGET_DIR:-$HERE/../target}
    say 'building floor'
    (cd "$HERE/.." && cargo build --quiet --release -p floor >&2)
    FLOOR=$(realpath "$target")/release/floor
    if [ -z "${LACUNA:-}" ]; then
        say 'building lacuna'
        if (cd "$HERE/.." && cargo build --quiet --release -p lacuna-cli >&2); then
            LACUNA=$(realpath "$target")/release/lacuna
        fi
    fi
    have_lacuna || say 'there is no lacuna to time: it is left out'
}

have() {
    command -v "$1" >/dev/null
}

have_lacuna() {
    [ -n "${LACUNA:-}" ] && [ -x "$LACUNA" ]
}

version_of() {
    # The first line that names a version, whatever else the program says.
    { "$@" 2>&1 || true; } | grep -m 1 '[0-9]\.[0-9]' || echo "$1"
}

print_machine() {
    local caches='dropped before each run'
    [ -w /proc/sys/vm/drop_caches ] || caches='NOT dropped: not root'
    echo "- Date: $(date -u +%F), commit $(git -C "$HERE" describe --always --dirty 2>/dev/null || echo unknown)"
    echo "- CPU: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
    echo "- Memory: $(awk '/^MemTotal/ { printf "%.0f", $2 / 1024 }' /proc/meminfo) MiB"
    echo "- Kernel: $(uname -sr)"
    echo "- Filesystem: $(df --output=fstype,source "$WORK" | tail -n 1 | tr -s ' ' ' ')"
    echo "- Caches: $caches"
    echo "- Image: $SIZE_MIB MiB; median of $RUNS runs, all contenders in turn"
    print_versions | sed 's/^/- /'
    echo
    echo 'Sent: what the command counted as content. Wire: all bytes on the loopback device, network cases only.'
    echo 'Target: what it takes on the disk. Memory: the peak, "client + server" where there are two.'
}

print_versions() {
    if have_lacuna; then version_of "$LACUNA" --version; else echo 'lacuna: LEFT OUT, not built'; fi
    version_of cp --version
    if have rsync; then version_of rsync --version; fi
    if have nbdcopy; then version_of nbdcopy --version; fi
    if have qemu-img; then version_of qemu-img --version; fi
    "$FLOOR" loopback 4G |
        awk -F'[= ]' '{ printf "TCP on loopback, one connection: %.0f MiB/s\n", $4 / $2 / 1048576 }'
}

# ---- One timed command

settle() {
    sync
    if [ -w /proc/sys/vm/drop_caches ]; then
        echo 3 >/proc/sys/vm/drop_caches
    fi
}

# timed [--fsync PATH] -- CMD...: leaves seconds and peak memory in $WORK/report.
timed() {
    "$FLOOR" run --report "$WORK/report" "$@" >"$WORK/stdout" 2>"$WORK/stderr"
}

# The number KEY of a line of key=value pairs.
field() {
    sed -n "s/.*\\b$1=\\([0-9.]*\\).*/\\1/p" "$2"
}

# The number KEY of a JSON object, or nothing.
json_number() {
    sed -n "s/.*\"$1\" *: *\\([0-9][0-9]*\\).*/\\1/p" "$2" | head -n 1
}

loopback_bytes() {
    cat /sys/class/net/lo/statistics/tx_bytes
}

# ---- A case: contenders in turn, then a table

declare -A LABEL SECONDS_OF RSS SERVER_RSS SENT WIRE ALLOCATED NOTE

# measure CONTENDER: runs it once and keeps its figures. SRC and DST are set.
measure() {
    local name=$1 before
    rm -f "$WORK/report" "$WORK/server-report" "$WORK/stdout" "$WORK/stderr" "$WORK/server-stderr"
    CHECK=yes
    ON_WIRE=no
    before=$(loopback_bytes)
    if ! "$name"; then
        NOTE[$name]="failed: $(why)"
        stop_server
        return
    fi
    SECONDS_OF[$name]+=" $(field seconds "$WORK/report")"
    keep_largest RSS "$name" "$(field max_rss_kib "$WORK/report")"
    if [ -s "$WORK/server-report" ]; then
        keep_largest SERVER_RSS "$name" "$(field max_rss_kib "$WORK/server-report")"
    fi
    SENT[$name]=$(json_number sent_bytes "$WORK/stdout")
    [ $ON_WIRE = no ] || WIRE[$name]=$(($(loopback_bytes) - before))
    [ ! -f "$DST" ] || ALLOCATED[$name]=$(($(stat -c '%b * %B' "$DST")))
    if [ $CHECK = yes ] && [ "$ROUND" = 1 ] && ! cmp -s "$SRC" "$DST"; then
        NOTE[$name]='failed: the target is not equal to the source'
    fi
}

# The last thing that the command said, or else its server, fit for a table.
why() {
    local file said
    for file in "$WORK/stderr" "$WORK/server-stderr"; do
        said=$({ grep -v '^ *$' "$file" 2>/dev/null || true; } | tail -n 1 | tr '|`' '/ ' | cut -c 1-160)
        if [ -n "$said" ]; then
            echo "$said"
            return
        fi
    done
    echo 'it said nothing'
}

keep_largest() {
    local -n largest=$1
    [ "${largest[$2]:-0}" -ge "$3" ] || largest[$2]=$3
}

# run_case TITLE PREPARE CONTENDER...: PREPARE brings DST into the state that each contender starts from.
run_case() {
    local title=$1 prepare=$2 name
    shift 2
    SECONDS_OF=() RSS=() SERVER_RSS=() SENT=() WIRE=() ALLOCATED=() NOTE=()
    say "$title"
    for ((ROUND = 1; ROUND <= RUNS; ROUND++)); do
        for name in "$@"; do
            [ -z "${NOTE[$name]:-}" ] || continue
            "$prepare"
            settle
            measure "$name"
            say "  round $ROUND, ${LABEL[$name]}: ${NOTE[$name]:-$(field seconds "$WORK/report") s}"
        done
    done
    print_table "$title" "$@"
    target_absent
}

# The median, the least and the greatest of the arguments.
three_of() {
    printf '%s\n' "$@" | sort -n | awk '
        { value[NR] = $1 }
        END {
            middle = (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2
            print middle, value[1], value[NR]
        }'
}

# The smallest median among the contenders that are the floor.
floor_median() {
    local name
    for name in "$@"; do
        case $name in
            floor_*)
                # shellcheck disable=SC2086  # a list of numbers
                [ -n "${NOTE[$name]:-}" ] || three_of ${SECONDS_OF[$name]} | cut -d ' ' -f 1
                ;;
        esac
    done | sort -n | head -n 1
}

mib() {
    if [ -z "$1" ]; then
        echo '–'
        return
    fi
    awk -v bytes="$1" 'BEGIN { mib = bytes / 1048576; printf mib < 10 ? "%.2f" : "%.1f", mib }'
}

# The peak of a contender, and of the server that it talked to.
memory() {
    local server=${SERVER_RSS[$1]:-}
    echo "$(mib $((${RSS[$1]:-0} * 1024)))${server:+ + $(mib $((server * 1024)))}"
}

print_table() {
    local title=$1 name floor median least greatest
    shift
    floor=$(floor_median "$@")
    printf '\n### %s\n\n' "$title"
    echo '| contender | median s | min | max | × floor | sent MiB | wire MiB | target MiB | memory MiB |'
    echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |'
    for name in "$@"; do
        if [ -n "${NOTE[$name]:-}" ]; then
            echo "| ${LABEL[$name]} | ${NOTE[$name]} | | | | | | | |"
            continue
        fi
        # shellcheck disable=SC2086  # a list of numbers
        read -r median least greatest < <(three_of ${SECONDS_OF[$name]})
        awk -v label="${LABEL[$name]}" -v m="$median" -v l="$least" -v g="$greatest" -v f="${floor:-0}" \
            'BEGIN { printf "| %s | %.3f | %.3f | %.3f | %s |", label, m, l, g, (f > 0 ? sprintf("%.2f", m / f) : "–") }'
        echo " $(mib "${SENT[$name]:-}") | $(mib "${WIRE[$name]:-}") | $(mib "${ALLOCATED[$name]:-}") |" \
            "$(memory "$name") |"
    done
}

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

target_full() {
    target_absent
    "$FLOOR" make "$DST" "$(stat -c %s "$SRC")" full >/dev/null
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
    timed -- "$FLOOR" read2 "$SRC" "$DST" --threads "$READ_DIRECT_THREADS"
}

floor_read2_buffered() {
    timed -- "$FLOOR" read2 "$SRC" "$DST" --threads "$READ_BUFFERED_THREADS" --buffered
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

ssync_v1() {
    ON_WIRE=yes
    local port
    port=$(free_port) || return
    start_server "$PEER_SSYNC" -daemon -port "$port" -fastSync=false "$DST"
    await_port "$port" || return
    timed --fsync "$DST" -- "$PEER_SSYNC" -host 127.0.0.1 -port "$port" -fastSync=false "$SRC" || return
    await_server
}

sfold_fold() {
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
        [floor_update_direct]="floor: both read, changes written, direct, threads $UPDATE_DIRECT_THREADS"
        [floor_update_buffered]="floor: both read, changes written, buffered, threads $UPDATE_BUFFERED_THREADS"
        [floor_extents_direct]="floor: 4 KiB writes, direct, threads $EXTENTS_DIRECT_THREADS"
        [floor_extents_buffered]="floor: 4 KiB writes, buffered, threads $EXTENTS_BUFFERED_THREADS"
        [floor_punch]='floor: 4 KiB punches'
        [floor_fiemap]='floor: FIEMAP'
        [lacuna_map]='lacuna map'
        [lacuna_local]='lacuna sync, local'
        [lacuna_v1]='lacuna sync, v1 on loopback'
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

# ---- Servers

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
    EXTENTS_BUFFERED_THREADS=$(best_threads 1 extents "$DST" "${ALTERNATING_MIB}M" --every-second-block)
    rm -f "$DST"
}

# ---- The cases

# add ARRAY CONTENDER [NEEDED]: adds it when the program it needs is there.
add() {
    local -n contenders=$1
    case $2 in
        lacuna_*) have_lacuna || return 0 ;;
        ssync_*) [ -n "${PEER_SSYNC:-}" ] || return 0 ;;
        sfold_*) [ -n "${PEER_SFOLD:-}" ] || return 0 ;;
    esac
    if [ $# -lt 3 ] || have "$3"; then
        contenders+=("$2")
    fi
}

case_full_copy() {
    local local_ones=(floor_copy) network=(floor_copy)
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
}

case_identical() {
    local list=(floor_read2_direct floor_read2_buffered)
    add list lacuna_local
    add list cmp_files cmp
    add list rsync_delta rsync
    add list lacuna_v1
    add list ssync_v1
    run_case "Identical target" target_equal "${list[@]}"
}

case_alternating() {
    local list=(floor_extents_direct floor_extents_buffered)
    add list lacuna_local
    add list lacuna_v1
    add list ssync_v1
    add list cp_auto
    add list rsync_whole rsync
    add list nbdcopy_files nbdcopy
    add list qemu_convert qemu-img
    run_case "$ALTERNATING_MIB MiB, a block and a hole in turn, fresh target" target_absent "${list[@]}"
}

case_changed() {
    local list=(floor_update_direct floor_update_buffered)
    add list lacuna_local
    add list rsync_delta rsync
    run_case "1 % of the blocks changed" target_changed "${list[@]}"
}

case_layers() {
    local fold=(floor_extents_direct floor_extents_buffered)
    add fold sfold_fold
    run_case "Fold of $ALTERNATING_MIB MiB, a block and a hole in turn, into an empty parent" target_empty "${fold[@]}"
    run_case "Prune of a full parent under the same child" target_full floor_punch
}

case_map() {
    local list=(floor_fiemap)
    add list lacuna_map
    run_case "Layout of $(field extents "$WORK/extents") extents" target_absent "${list[@]}"
}

run_cases() {
    SRC=$WORK/full.img
    case_full_copy
    case_identical
    case_changed
    SRC=$WORK/alternating.img
    case_alternating
    case_layers
    SRC=$WORK/extents.img
    "$FLOOR" make "$SRC" "$((ALTERNATING_MIB * 4))M" alternating >/dev/null
    "$FLOOR" fiemap "$SRC" >"$WORK/extents"
    case_map
}

main() {
    parse_arguments "$@"
    make_work_dir
    build
    ALTERNATING_MIB=$((SIZE_MIB < 256 ? SIZE_MIB : 256))
    DST=$WORK/target.img
    SRC=$WORK/full.img
    say "making images in $WORK"
    "$FLOOR" make "$SRC" "${SIZE_MIB}M" full >/dev/null
    "$FLOOR" make "$WORK/alternating.img" "${ALTERNATING_MIB}M" alternating >/dev/null
    find_best_threads
    label_contenders
    print_machine
    run_cases
}

main "$@"
