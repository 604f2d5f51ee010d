//! What is said of each layer of a replica, against a slow oracle.

use std::fs::{self, File};
use std::path::Path;

use jiff::tz::TimeZone;
use lacuna::chain::ls::{ListedLayer, LsOptions, Share, ls};
use lacuna::chain::{ChecksumState, Replica};
use lacuna::hash::{self, HashOptions};
use lacuna::{Cancel, Error, Progress, Range};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern};
use lacuna_testing::replica::{self, Meta};
use rustix::fs::{FlockOperation, flock, ioctl_ficlone};

use crate::{allocated, for_all, mount_with};

/// The layers, and what each is in every block of the volume.
fn listed(directory: &Path, verify: bool) -> (Vec<ListedLayer>, Vec<Vec<Share>>) {
    let opened = Replica::open(directory).unwrap();
    let options = LsOptions { verify: verify.then(HashOptions::default) };
    let (progress, mut shares) = (Progress::default(), vec![]);
    let found = |index, range: Range, share| {
        if shares.len() <= index {
            shares.resize(index + 1, vec![]);
        }
        let blocks: &mut Vec<Share> = &mut shares[index];
        assert_eq!(range.start(), blocks.len() as u64 * BLOCK);
        assert!(!range.is_empty() && blocks.last() != Some(&share));
        blocks.resize((range.end() / BLOCK) as usize, share);
    };
    let layers = ls(&opened, &options, &progress, &Cancel::default(), found).unwrap();
    assert_eq!(progress.percent(), 100);
    (layers, shares)
}

/// What block `block` of a layer is: every way up from it is tried.
fn expected(made: &replica::Replica, layer: &replica::Layer, block: usize) -> Share {
    let has = |layer: &replica::Layer| {
        layer.pattern.blocks.get(block).is_some_and(|block| block.kind() != Kind::Hole)
    };
    if !has(layer) {
        return Share::Nothing;
    }
    let mut ways: Vec<&replica::Layer> = vec![layer];
    while let Some(reached) = ways.pop() {
        let above: Vec<_> = made.layers.iter().filter(|it| it.parent == reached.file).collect();
        if above.is_empty() {
            return Share::Visible;
        }
        ways.extend(above.into_iter().filter(|it| !has(it)));
    }
    Share::Hidden
}

fn assert_is(made: &replica::Replica, directory: &Path) {
    let (layers, shares) = listed(directory, false);
    assert_eq!(layers.len(), made.layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let own = made.layers.iter().find(|own| own.file == layer.name).unwrap();
        let blocks = (made.size / BLOCK) as usize;
        let wanted: Vec<_> = (0..blocks).map(|block| expected(made, own, block)).collect();
        assert_eq!(shares[index], wanted, "{} of {made:?}", layer.name);
        let count = |share| wanted.iter().filter(|found| **found == share).count() as u64 * BLOCK;
        assert_eq!(layer.hidden_bytes, count(Share::Hidden));
        assert_eq!(layer.exclusive_bytes, count(Share::Hidden) + count(Share::Visible));
        assert_eq!(layer.allocated_bytes, allocated(&directory.join(&layer.name)));
        assert_eq!(layer.size_bytes, own.pattern.size);
        assert_eq!(layer.meta.parent, own.parent);
        assert_eq!(layer.checksum, ChecksumState::None);
        if let Meta::Whole { user_created, removed, labels } = &own.meta {
            assert_eq!((layer.meta.user_created, layer.meta.removed), (*user_created, *removed));
            assert_eq!(layer.meta.labels, labels.iter().cloned().collect());
        }
        let before = layers[..index].iter().any(|below| below.name == own.parent);
        assert!(before || own.parent.is_empty(), "{} is before its parent", layer.name);
    }
    let head = layers.last().unwrap();
    assert_eq!((&head.name, head.depth), (&made.head, 0), "the way to the head is the last");
}

fn check_on(mount: Option<Mount>) {
    let Some(mount) = mount else { return };
    let directory = mount.path().join("replica");
    for_all(24, replica::sound(8, 60), |made| {
        fs::create_dir(&directory).unwrap();
        made.write(&directory);
        assert_is(&made, &directory);
        fs::remove_dir_all(&directory).unwrap();
    });
}

#[test]
fn layers_on_ext4_are_what_every_way_up_shows() {
    check_on(Mount::new(Fs::Ext4));
}

#[test]
fn layers_on_xfs_are_what_every_way_up_shows() {
    check_on(Mount::new(Fs::Xfs));
}

#[test]
fn layers_on_btrfs_are_what_every_way_up_shows() {
    check_on(Mount::new(Fs::Btrfs));
}

fn whole(number: u8, blocks: usize) -> Pattern {
    Pattern::whole(vec![Block::Data(number); blocks])
}

/// Blocks of 1024 bytes count as the 4096 that they are part of.
#[test]
fn small_blocks_are_counted_in_whole_ones() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    let made = replica::Replica::line(vec![whole(1, 4), Pattern::whole(vec![Block::Hole; 4])]);
    made.write(mount.path());
    let head = File::options().write(true).open(mount.path().join(&made.head)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&head, &[7; 1024], 4096 + 1024).unwrap();
    let (layers, _) = listed(mount.path(), false);
    assert_eq!((layers[0].hidden_bytes, layers[1].exclusive_bytes), (4096, 1024));
}

#[test]
fn what_another_file_shares_is_not_exclusive() {
    for fs in [Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let made = replica::Replica::line(vec![whole(1, 32), whole(2, 32)]);
        made.write(mount.path());
        let copy = File::create(mount.path().join("copy")).unwrap();
        ioctl_ficlone(&copy, File::open(mount.path().join("volume-snap-s0.img")).unwrap()).unwrap();
        copy.sync_all().unwrap();
        let (layers, _) = listed(mount.path(), false);
        let exclusive: Vec<_> = layers.iter().map(|layer| layer.exclusive_bytes).collect();
        assert_eq!(exclusive, [0, 32 * BLOCK], "{fs}");
        assert_eq!(layers[0].hidden_bytes, 32 * BLOCK);
    }
}

#[test]
fn a_replica_in_use_is_listed_with_what_was_just_written() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let made = replica::Replica::line(vec![whole(1, 8), Pattern::whole(vec![Block::Hole; 8])]);
    made.write(mount.path());
    let head = File::options().write(true).open(mount.path().join(&made.head)).unwrap();
    flock(&head, FlockOperation::LockExclusive).unwrap();
    // Not on the disk yet.
    std::os::unix::fs::FileExt::write_all_at(&head, &[7; 8192], 4096).unwrap();
    let (layers, shares) = listed(mount.path(), false);
    assert_eq!(layers[0].hidden_bytes, 8192);
    assert_eq!(shares[1][..4], [Share::Nothing, Share::Visible, Share::Visible, Share::Nothing]);
}

#[test]
fn checksums_are_told_apart_and_verified_when_asked() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let made = replica::Replica::line((1..=5).map(|number| whole(number, 4)).collect());
    made.write(mount.path());
    let path = |number: usize| mount.path().join(&made.layers[number].file);
    let write = |number| {
        let (options, progress) = (HashOptions::default(), Progress::default());
        hash::write(&path(number), &options, &TimeZone::UTC, "", &progress, &Cancel::default())
            .unwrap()
    };
    (0..3).for_each(|number| drop(write(number)));
    File::options().write(true).open(path(0)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let checksum = |number| lacuna::checksum_file::path_of(&path(number));
    let text = fs::read_to_string(checksum(1)).unwrap();
    let wrong = text.replace(&write(1).digest, "0123456789abcdef");
    fs::write(checksum(1), wrong).unwrap();
    fs::write(checksum(3), "{").unwrap();
    use ChecksumState::{Fresh, Malformed, None, Right, Stale, Wrong};
    let states =
        |verify| listed(mount.path(), verify).0.iter().map(|it| it.checksum).collect::<Vec<_>>();
    assert_eq!(states(false), [Stale, Fresh, Fresh, Malformed, None]);
    assert_eq!(states(true), [Stale, Wrong, Right, Malformed, None]);
}

#[test]
fn layers_that_make_no_tree_are_an_error() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let mut made = replica::Replica::line(vec![whole(1, 2), whole(2, 2), whole(3, 2)]);
    for (parent, words) in
        [("volume-snap-gone.img", "missing"), ("volume-snap-s1.img", "leads back")]
    {
        parent.clone_into(&mut made.layers[1].parent);
        made.write(mount.path());
        let opened = Replica::open(mount.path()).unwrap();
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let error =
            ls(&opened, &LsOptions::default(), &progress, &cancel, |_, _, _| {}).unwrap_err();
        assert!(matches!(error, Error::Chain(_)) && error.to_string().contains(words), "{error}");
    }
}
