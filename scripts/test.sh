#!/usr/bin/env bash
# Runs every test of the workspace. Arguments are passed on to `cargo test`.
#
# As root, the tests that need it run on ext4, XFS, btrfs and tmpfs, in a mount namespace of their
# own, so that even a killed run leaves nothing mounted. What is missing for that is installed where
# there is apt. What cannot run is skipped, each time with a line that says so; with CI set, nothing
# that could run here is skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/sbin"

# Programs and the Debian packages that have them.
tools=(
    e2fsck:e2fsprogs
    filefrag:e2fsprogs
    fsfreeze:util-linux
    mkfs.ext4:e2fsprogs
    mkfs.xfs:xfsprogs
    ssh:openssh-client
    sshd:openssh-server
    xfs_io:xfsprogs
    mkfs.btrfs:btrfs-progs
    losetup:mount
    mount:mount
    unshare:util-linux
)

say() {
    echo "scripts/test.sh: $*" >&2
}

is_root() {
    [[ "$(id -u)" == 0 ]]
}

install_tools() {
    local tool packages=()
    for tool in "${tools[@]}"; do
        type -P "${tool%:*}" >/dev/null || packages+=("${tool#*:}")
    done
    if [[ ${#packages[@]} == 0 ]] || ! is_root || ! type -P apt-get >/dev/null; then
        return
    fi
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2 || say "warning: apt-get update failed"
    apt-get install -q -y --no-install-recommends "${packages[@]}" >&2 ||
        say "warning: could not install ${packages[*]}"
}

# What keeps tests from running here, one a line.
lacking() {
    local tool module
    for tool in "${tools[@]}"; do
        type -P "${tool%:*}" >/dev/null || echo "${tool%:*} (package ${tool#*:})"
    done
    if ! is_root; then
        echo "root"
        return
    fi
    unshare --mount true 2>/dev/null || echo "the right to mount"
    modprobe -q loop 2>/dev/null || true
    [[ -e /dev/loop-control ]] || echo "loop devices"
    for module in ext4 xfs btrfs tmpfs; do
        grep -qw "$module" /proc/filesystems || modprobe -q "$module" 2>/dev/null ||
            echo "$module in the kernel"
    done
}

# A namespace starts with all the mounts of its parent. A test that runs out there could not get its
# filesystem unmounted as long as this one holds it too.
forget_mounts_of_others() {
    local point
    awk '$2 ~ "/lacuna-mount-[^/]*/mnt$" { print $2 }' /proc/self/mounts |
        while read -r point; do umount --lazy "$point" || true; done
}

if ! type -P cargo >/dev/null; then
    say "cargo is not installed or not in PATH: see https://rustup.rs"
    exit 1
fi

if [[ -n "${LACUNA_TEST_NAMESPACE:-}" ]]; then
    forget_mounts_of_others
else
    install_tools
    lacks="$(lacking)"
    if [[ -n "$lacks" ]]; then
        say "tests will be skipped that need: ${lacks//$'\n'/, }"
    elif [[ -n "${CI:-}" ]]; then
        export LACUNA_TEST_REQUIRE_ALL=1
    fi
    if is_root && unshare --mount true 2>/dev/null; then
        export LACUNA_TEST_NAMESPACE=1
        exec unshare --mount --propagation private -- scripts/test.sh "$@"
    fi
fi

# They wait for disks and peers far more than they compute.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"
exec cargo test --workspace --locked "$@"
