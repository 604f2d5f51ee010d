#!/usr/bin/env bash
#
# Times lacuna beside whatever peers are installed, and beside benches/floor: bare programs of the same
# system calls, which are what the hardware allows. Prints tables in Markdown on standard output and
# what it is doing on standard error.
#
#   usage: benches/peers.sh [--dir DIR] [--runs 5] [--size-mib 2048] [--only CASE,CASE...]
#
# CASE: full_copy identical cached changed diff alternating fold reflink squash prune hash delay million export map
#
# DIR must lie on a disk, with room for eight images of the size asked for and 2 GiB more. In each round
# every contender runs once, in turn, on a fresh or restored target, with the caches dropped (as root).
# The time is the wall time until the command has ended and its target is on the medium: an fsync of the
# target follows each command within its time, which costs nothing where the command did one itself.
# A contender that fails, or whose target is not equal to the source, is left out and noted.
#
# Environment:
#   LACUNA       a built `lacuna` to time, instead of building this checkout's
#   PEER_SSYNC   Longhorn's ssync, to time on the network as well
#   PEER_SFOLD   Longhorn's sfold, to time on a fold as well
#   DELAY_PROXY  a program in Python, called with LISTEN_PORT TARGET_PORT RTT_MS, for the case `delay`

set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
# shellcheck source-path=SCRIPTDIR
source "$HERE/peers/measure.sh"
# shellcheck source-path=SCRIPTDIR
source "$HERE/peers/servers.sh"
# shellcheck source-path=SCRIPTDIR
source "$HERE/peers/contenders.sh"
# shellcheck source-path=SCRIPTDIR
source "$HERE/peers/cases.sh"
readonly MIB=1048576
readonly THREADS=(1 2 4 8 16)

DIR=${TMPDIR:-/tmp}
RUNS=5
SIZE_MIB=2048
ONLY=
CACHED=no
MOUNTED=
WORK=
SERVER=
PROXY=
RTT_MS=
NO_CMP=

usage() {
    echo 'usage: benches/peers.sh [--dir DIR] [--runs 5] [--size-mib 2048] [--only CASE,CASE...]'
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
            --dir | --runs | --size-mib | --only)
                [ $# -ge 2 ] || { usage >&2; exit 2; }
                case $1 in
                    --dir) DIR=$2 ;;
                    --runs) RUNS=$2 ;;
                    --size-mib) SIZE_MIB=$2 ;;
                    --only) ONLY=$2 ;;
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
    stop_proxy
    stop_server
    [ -z "$MOUNTED" ] || umount "$MOUNTED" || true
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
    need=$(((SIZE_MIB * 8 + 2048) * MIB))
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

main() {
    parse_arguments "$@"
    make_work_dir
    build
    ALTERNATING_MIB=$((SIZE_MIB < 256 ? SIZE_MIB : 256))
    DELAYED_MIB=$((SIZE_MIB < 32 ? SIZE_MIB : 32))
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
