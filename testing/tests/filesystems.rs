//! The filesystems and patterns that the other tests stand on do what they say.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of, pair_strategy};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// All kinds next to each other, single and in runs, with a partial last block.
fn mixed(last: Block) -> Pattern {
    use Block::{Data, DataLastByte, Hole, Zero};
    let mut blocks = vec![Zero, Data(1), Zero, Hole, Data(0), Hole, Zero, Zero, DataLastByte];
    blocks.extend([Hole; 40]);
    blocks.extend([Zero; 40]);
    blocks.extend((1..=40).map(Data));
    blocks.extend([Zero, Data(9), Zero, Zero, Data(9), Zero, Hole, last]);
    Pattern { size: blocks.len() as u64 * BLOCK - 1000, blocks }
}

#[track_caller]
fn assert_is(path: &Path, pattern: &Pattern, fs: Fs) {
    assert!(std::fs::read(path).unwrap() == pattern.bytes(), "{fs}: bytes of {pattern:?}");
    let mut kinds = pattern.kinds();
    if !fs.has_zero() {
        kinds.iter_mut().filter(|kind| **kind == Kind::Zero).for_each(|kind| *kind = Kind::Data);
    }
    assert_eq!(kinds_of(path), kinds, "{fs}");
}

fn is_mounted(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

fn is_attached(disk: &Path) -> bool {
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
    devices
        .filter_map(|device| std::fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .any(|backing| Path::new(backing.trim_end()) == disk)
}

#[test]
fn every_filesystem_mounts_and_nothing_is_left() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let (fs, point) = (mount.fs(), mount.path().to_owned());
        let disk = point.with_file_name("disk");
        assert!(is_mounted(&point), "{fs}");
        assert_eq!(is_attached(&disk), fs != Fs::Tmpfs, "{fs}");
        drop(mount);
        assert!(!is_mounted(&point), "{fs}");
        assert!(!is_attached(&disk), "{fs}");
        assert!(!point.parent().unwrap().exists(), "{fs}");
    }
}

#[test]
fn a_file_left_open_does_not_keep_a_dropped_filesystem_mounted() {
    let Some(mount) = Mount::new(Fs::Ext4) else {
        return;
    };
    let point = mount.path().to_owned();
    let disk = point.with_file_name("disk");
    let file = File::create(point.join("file")).unwrap();
    drop(mount);
    assert!(!is_mounted(&point));
    drop(file);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!is_attached(&disk));
}

#[test]
fn many_filesystems_at_once() {
    std::thread::scope(|scope| {
        for number in 0..12 {
            let fs = Fs::ALL[number % Fs::ALL.len()];
            scope.spawn(move || {
                let Some(mount) = Mount::new(fs) else { return };
                mixed(Block::Zero).write(&mount.path().join("file"));
            });
        }
    });
}

#[test]
fn patterns_come_out_as_said() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let path = mount.path().join("a file: 1..2");
        for last in [Block::Hole, Block::Zero, Block::Data(0), Block::Data(5), Block::DataLastByte]
        {
            mixed(last).write(&path);
            assert_is(&path, &mixed(last), mount.fs());
        }
    }
}

#[test]
fn empty_and_tiny_patterns_come_out_as_said() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let path = mount.path().join("file");
        let empty = Pattern { blocks: Vec::new(), size: 0 };
        empty.write(&path);
        assert_is(&path, &empty, mount.fs());
        for block in [Block::Hole, Block::Zero, Block::Data(0), Block::DataLastByte] {
            for size in [1, 100, 4095, 4096] {
                let pattern = Pattern { blocks: vec![block], size };
                pattern.write(&path);
                assert_is(&path, &pattern, mount.fs());
            }
        }
    }
}

#[test]
fn a_target_is_written_over_in_place() {
    let mut runner = TestRunner::deterministic();
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let path = mount.path().join("file");
        for _ in 0..20 {
            let (source, target) = pair_strategy(60).new_tree(&mut runner).unwrap().current();
            target.write(&path);
            assert_is(&path, &target, mount.fs());
            let file = File::open(&path).unwrap();
            source.write_over(&path);
            assert_is(&path, &source, mount.fs());
            assert_eq!(file.metadata().unwrap().len(), source.size);
        }
    }
}

#[test]
fn small_filesystem_blocks_count_as_allocated_when_a_part_is() {
    let options = MountOptions { mkfs: vec!["-b".into(), "1024".into()], ..Default::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else {
        return;
    };
    let path = mount.path().join("file");
    mixed(Block::Data(1)).write(&path);
    assert_is(&path, &mixed(Block::Data(1)), Fs::Ext4);
    Pattern::whole(vec![Block::Hole; 4]).write(&path);
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 10], 2 * BLOCK + 1024).unwrap();
    assert_eq!(kinds_of(&path), [Kind::Hole, Kind::Hole, Kind::Data, Kind::Hole]);
}

#[test]
fn what_an_extent_size_hint_allocates_is_punched() {
    let mkfs = ["-d", "extszinherit=16"].map(String::from).to_vec();
    let Some(mount) = Mount::with(Fs::Xfs, &MountOptions { mkfs, ..Default::default() }) else {
        return;
    };
    let path = mount.path().join("file");
    mixed(Block::Hole).write(&path);
    assert_is(&path, &mixed(Block::Hole), Fs::Xfs);
}

#[test]
fn a_device_holds_the_bytes() {
    let Some(device) = LoopDevice::new(1 << 20) else {
        return;
    };
    let pattern = mixed(Block::DataLastByte);
    pattern.write_over(device.path());
    let bytes = std::fs::read(device.path()).unwrap();
    assert!(bytes[..pattern.size as usize] == pattern.bytes());
    assert_eq!(kinds_of(device.path()), [Kind::Data; 256]);
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
    for mut mount in [Fs::Ext4, Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
        let fs = mount.fs();
        let (synced, unsynced) = (mount.path().join("synced"), mount.path().join("unsynced"));
        mixed(Block::Zero).write(&synced);
        File::open(mount.path()).unwrap().sync_all().unwrap();
        std::fs::write(&unsynced, "lost").unwrap();

        mount.cut_power();
        mount.cut_power();
        let mut file = File::create(mount.path().join("later"));
        let later =
            file.as_mut().map(|file| file.write_all(b"late").and_then(|()| file.sync_all()));
        assert!(!matches!(later, Ok(Ok(()))), "{fs}: synced without power");
        drop(file);

        mount.remount();
        assert_is(&synced, &mixed(Block::Zero), fs);
        assert!(!unsynced.exists() || std::fs::read(&unsynced).unwrap() != b"lost", "{fs}");
        assert!(!mount.path().join("later").exists(), "{fs}");

        mixed(Block::Data(2)).write(&synced);
        mount.remount();
        assert_is(&synced, &mixed(Block::Data(2)), fs);
    }
}

#[test]
fn a_thread_cuts_the_power_of_open_files() {
    for mut mount in [Fs::Ext4, Fs::Xfs, Fs::Btrfs].into_iter().filter_map(Mount::new) {
        let fs = mount.fs();
        let cut = mount.power_cutter();
        let path = mount.path().join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"before").unwrap();
        file.sync_all().unwrap();
        File::open(mount.path()).unwrap().sync_all().unwrap();
        std::thread::spawn(cut).join().unwrap();
        let after = file.write_all(b" and after").and_then(|()| file.sync_all());
        assert!(after.is_err(), "{fs}: synced without power");
        drop(file);
        mount.remount();
        assert_eq!(std::fs::read(&path).unwrap(), b"before", "{fs}");
    }
}
