//! A filesystem whose disk is kept in layers: each snapshot is exported, is sound, and has the files of then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use lacuna::chain::ChainOptions;
use lacuna::copy::{self, CopyOptions};
use lacuna::{Cancel, Progress};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::replica::snapshot;
use lacuna_testing::tool;
use rustix::fs::{FallocateFlags, fallocate};

use super::opened;

const BLOCK: usize = 4096;

/// All files below a directory, by their names.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ seed ^ (at >> 8) as u8).collect()
}

/// Writes what of `now` differs from `before` as a layer: blocks that became zeros by turns as data and as
/// unwritten space.
fn write_layer(path: &Path, before: &[u8], now: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(now.len() as u64).unwrap();
    for (index, block) in now.chunks(BLOCK).enumerate() {
        let (start, old) = (index * BLOCK, before.get(index * BLOCK..(index + 1) * BLOCK));
        if old.is_none_or(|old| old == block) && old.is_some() {
            continue;
        }
        let is_zero = block.iter().all(|byte| *byte == 0);
        match (is_zero, old) {
            (true, None) => {}
            (true, Some(_)) if index % 2 == 0 => {
                let flags = FallocateFlags::KEEP_SIZE;
                fallocate(&file, flags, start as u64, BLOCK as u64).unwrap();
            }
            _ => file.write_all_at(block, start as u64).unwrap(),
        }
    }
    file.sync_all().unwrap();
}

/// What happens to the files before each snapshot, and to those of the head.
fn change(round: u8, directory: &Path) {
    for file in 0..6 {
        let length = (usize::from(file) + 1) * 30_000 + usize::from(round) * 5000;
        fs::write(directory.join(format!("file-{file}")), bytes(round ^ file, length)).unwrap();
    }
    fs::write(directory.join(format!("of-round-{round}")), bytes(round, 200_000)).unwrap();
    if round > 0 {
        fs::remove_file(directory.join(format!("of-round-{}", round - 1))).unwrap();
        // What was freed is zeros, like behind an engine that unmaps.
        let mut free = File::create(directory.join("free")).unwrap();
        std::io::Write::write_all(&mut free, &vec![0; 2 << 20]).unwrap();
        free.sync_all().unwrap();
        drop(free);
        fs::remove_file(directory.join("free")).unwrap();
    }
}

fn assert_sound(image: &Path) {
    let check = Command::new(tool("e2fsck").unwrap()).arg("-fn").arg(image).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn a_filesystem_in_layers_is_exported_sound_with_its_files() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let (Some(inner), Some(outer)) = (Mount::with(Fs::Ext4, &options), Mount::new(Fs::Xfs)) else {
        return;
    };
    let replica = outer.path().join("replica");
    fs::create_dir(&replica).unwrap();
    let (mut before, mut states, mut parent) = (vec![], vec![], String::new());
    for round in 0..4 {
        change(round, inner.path());
        states.push(files(inner.path()));
        let now = inner.frozen(|disk| fs::read(disk).unwrap());
        let is_head = round == 3;
        let name =
            if is_head { "volume-head-003.img".to_owned() } else { snapshot(&format!("s{round}")) };
        write_layer(&replica.join(&name), &before, &now);
        let meta = format!("{{\"Parent\":\"{parent}\"}}\n");
        fs::write(replica.join(format!("{name}.meta")), meta).unwrap();
        (before, parent) = (now, name);
    }
    let volume = format!("{{\"Size\":{},\"Head\":\"{parent}\"}}", before.len());
    fs::write(replica.join("volume.meta"), volume).unwrap();

    let image = outer.path().join("volume.img");
    for (round, expected) in states.iter().enumerate() {
        let name = format!("s{round}");
        let name = (round < 3).then_some(&*name);
        let source = opened(&replica, name, &ChainOptions::default()).unwrap();
        let (progress, cancel) = (Progress::default(), Cancel::default());
        copy::copy(&source, &image, &CopyOptions::default(), &progress, &cancel).unwrap();
        assert_sound(&image);
        let mounted = Mount::of_image(Fs::Ext4, &image);
        assert!(files(mounted.path()) == *expected, "round {round}");
    }
    assert!(fs::read(&image).unwrap() == before);
}
