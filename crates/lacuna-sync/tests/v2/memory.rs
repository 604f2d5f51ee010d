//! Memory does not grow with the image.

use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use crate::pair::{Wiring, session};

/// Where a process that was started for one session finds its images.
const DIRECTORY: &str = "LACUNA_TEST_SESSION";

const MIB: u64 = 1 << 20;

/// Both ends and the line between them, buffers and all, have two thirds of that. An end that kept the
/// image, or half a KiB for each of its chunks, had more.
const MOST: u64 = 40 * MIB;

/// What such a process does: both ends of a session. Then it says how much memory it had at most.
#[test]
#[ignore = "a part of the next"]
fn one_session() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("a directory"));
    let [source, target] = ["a.img", "b.img"].map(|name| directory.join(name));
    let mut wiring = Wiring::default();
    (wiring.source.threads, wiring.target.threads) = (1, 1);
    session(&source, &target, &wiring).assert_done();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("\n{}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap());
}

/// The most memory that a session in `directory` takes, in bytes.
fn peak(directory: &Path) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["memory::one_session", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let line = said.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most memory");
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}

#[test]
fn a_session_takes_little_memory_whatever_the_image() {
    let options = MountOptions { size_mib: 8192, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
    Pattern::whole((0..128 * MIB / BLOCK).map(|n| Block::Data(n as u8 | 1)).collect())
        .write(&source);
    let new = peak(mount.path());
    assert!(new < MOST, "{new}");
    // Every chunk is asked for, waits, and is answered.
    let image = |block| [vec![block], vec![Block::Hole; 15]].concat().repeat(60_000);
    Pattern::whole(image(Block::Data(1))).write(&source);
    Pattern::whole(image(Block::Data(2))).write(&target);
    let changed = peak(mount.path());
    assert!(changed < MOST, "{changed}");
}
