# Sourced by peers.sh: timing one command, and a table of contenders.
# shellcheck shell=bash

# ---- One timed command

settle() {
    sync
    if [ -w /proc/sys/vm/drop_caches ]; then
        echo 3 >/proc/sys/vm/drop_caches
    fi
}

# What is read is in the page cache by then.
warm() {
    sync
    cat "$SRC" >/dev/null
    [ ! -f "$DST" ] || cat "$DST" >/dev/null
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
    [ -z "$NO_CMP" ] || CHECK=no
    ON_WIRE=no
    before=$(loopback_bytes)
    if ! "$name"; then
        NOTE[$name]="failed: $(why)"
        stop_proxy
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
            if [ "$CACHED" = yes ]; then warm; else settle; fi
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
