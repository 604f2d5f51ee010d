//! Receipts, against what their definition says of the bytes and kinds.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lacuna::receipt::{ReceiptOptions, Receipted, receipt};
use lacuna::{Cancel, Error, LayoutOrigin, Progress};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, strategy};
use proptest::prelude::*;

use crate::content::Content;
use crate::hash::count;
use crate::small::{small_pieces, write_small_pieces};
use crate::{IO_MODES, for_all, mark_of, mount_with, mounts, patiently};

fn receipted(path: &Path, options: &ReceiptOptions) -> Receipted {
    let progress = Progress::default();
    let receipted = patiently(|| receipt(path, options, &progress, &Cancel::default()));
    assert_eq!(progress.percent(), 100);
    receipted.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn digest(path: &Path) -> String {
    receipted(path, &ReceiptOptions::default()).digest
}

/// 64 KiB of address space: its index, the kinds of its blocks, and its bytes up to the end.
type Chunk<'a> = (u64, &'a [Kind], &'a [u8]);

/// The receipt, word by word as it is defined.
fn expect<'a>(chunks: impl Iterator<Item = Chunk<'a>>, size: u64) -> String {
    let mut sums = [0_u64; 4];
    for (index, kinds, bytes) in chunks {
        if kinds.iter().all(|kind| *kind == Kind::Hole) {
            continue;
        }
        let mut bits: u32 = 0;
        for kind in kinds.iter().rev() {
            bits = bits * 4
                + match kind {
                    Kind::Hole => 0,
                    Kind::Zero => 1,
                    Kind::Data => 2,
                };
        }
        let mut text = index.to_le_bytes().to_vec();
        text.extend(bits.to_le_bytes());
        text.extend(blake3::hash(bytes).as_bytes());
        let digest = blake3::hash(&text);
        for (lane, bytes) in digest.as_bytes().chunks(8).enumerate() {
            sums[lane] = sums[lane].wrapping_add(u64::from_le_bytes(bytes.try_into().unwrap()));
        }
    }
    let mut text = b"lacuna receipt 1".to_vec();
    text.extend(size.to_le_bytes());
    sums.iter().for_each(|sum| text.extend(sum.to_le_bytes()));
    blake3::hash(&text).to_hex().to_string()
}

fn chunks(content: &Content) -> impl Iterator<Item = Chunk<'_>> {
    let chunks = content.kinds.chunks(16).zip(content.bytes.chunks(65_536));
    (0..).zip(chunks).map(|(index, (kinds, bytes))| (index, kinds, bytes))
}

fn check(path: &Path, origin: LayoutOrigin, options: &ReceiptOptions) {
    let content = Content::of(path);
    let kinds = count(&content);
    let size_bytes = content.bytes.len() as u64;
    let expected = Receipted {
        digest: expect(chunks(&content), size_bytes),
        layout_from: origin,
        size_bytes,
        kinds,
        read_bytes: kinds.data_bytes,
    };
    assert_eq!(receipted(path, options), expected);
}

fn ways() -> impl Strategy<Value = ReceiptOptions> + Clone {
    let io = prop::sample::select(IO_MODES.to_vec());
    (io, 1..=8_usize).prop_map(|(io, threads)| ReceiptOptions { io, threads })
}

fn origin(fs: Fs) -> LayoutOrigin {
    if fs.has_zero() { LayoutOrigin::Fiemap } else { LayoutOrigin::SeekHole }
}

#[test]
fn a_receipt_is_the_one_that_is_defined() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let patterns = prop_oneof![3 => strategy(64), 1 => strategy(900)];
        for_all(12, (patterns, ways()), |(pattern, options)| {
            pattern.write(&path);
            check(&path, origin(mount.fs()), &options);
        });
    }
}

#[test]
fn a_receipt_on_smaller_blocks_is_of_the_strongest_kinds() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    let path = mount.path().join("image");
    for_all(20, (small_pieces(), ways()), |(pieces, options)| {
        write_small_pieces(&path, &pieces);
        check(&path, LayoutOrigin::Fiemap, &options);
    });
}

#[test]
fn a_receipt_of_a_device_is_that_of_data() {
    let Some(device) = LoopDevice::new((1 << 20) + 512) else { return };
    std::fs::write(device.path(), vec![3; 600_000]).unwrap();
    check(device.path(), LayoutOrigin::Device, &ReceiptOptions::default());
}

/// All kinds, several windows, and a partial block.
fn mixed() -> Pattern {
    let blocks = (0..700).map(|block| match block % 23 {
        0..5 => Block::Zero,
        5..8 => Block::Hole,
        8 => Block::Data(0),
        seed => Block::Data(seed as u8),
    });
    Pattern { size: 700 * 4096 - 1234, blocks: blocks.collect() }
}

#[test]
fn wherever_the_blocks_lie_the_receipt_is_the_same() {
    let mut seen = vec![];
    let compressing =
        MountOptions { mount: vec!["compress-force=zstd".to_owned()], ..MountOptions::default() };
    let mounts = [
        Mount::new(Fs::Ext4),
        mount_with(Fs::Ext4, &["-b", "1024"]),
        Mount::new(Fs::Xfs),
        Mount::new(Fs::Btrfs),
        Mount::with(Fs::Btrfs, &compressing),
    ];
    for mount in mounts.into_iter().flatten() {
        let path = mount.path().join("image");
        mixed().write(&path);
        seen.push(digest(&path));
        // The last block first, each by itself.
        let bytes = mixed().bytes();
        let file = File::options().write(true).open(&path).unwrap();
        for (index, kind) in mixed().kinds().into_iter().enumerate().rev() {
            if kind == Kind::Data && index % 3 == 0 {
                let end = bytes.len().min((index + 1) * 4096);
                file.write_all_at(&bytes[index * 4096..end], index as u64 * 4096).unwrap();
                file.sync_data().unwrap();
            }
        }
        seen.push(digest(&path));
        for threads in 1..=8 {
            let options = ReceiptOptions { threads, ..ReceiptOptions::default() };
            seen.push(receipted(&path, &options).digest);
        }
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[test]
fn whatever_changes_changes_the_receipt() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let path = mount.path().join("image");
    let pattern = mixed();
    let of = |pattern: &Pattern| {
        pattern.write(&path);
        digest(&path)
    };
    let mut seen = vec![of(&pattern)];
    let changed = |block: usize, to: Block| {
        let mut pattern = pattern.clone();
        pattern.blocks[block] = to;
        pattern
    };
    // A hole, unwritten, and written zeros: the same bytes.
    for (block, to) in
        [(5, Block::Zero), (5, Block::Data(0)), (0, Block::Hole), (0, Block::Data(0))]
    {
        seen.push(of(&changed(block, to)));
    }
    for (block, to) in [(8, Block::DataLastByte), (8, Block::Hole), (8, Block::Zero)] {
        seen.push(of(&changed(block, to)));
    }
    for size in [pattern.size - 1, pattern.size + 1] {
        seen.push(of(&Pattern { size, ..pattern.clone() }));
    }
    // One byte anywhere: the first, the last, and others.
    pattern.write(&path);
    let bytes = pattern.bytes();
    let file = File::options().write(true).open(&path).unwrap();
    for at in [9 * 4096, 10 * 4096 - 1, 308 * 4096 + 77, bytes.len() - 1] {
        assert_eq!(pattern.kinds()[at / 4096], Kind::Data);
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        seen.push(digest(&path));
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    assert_eq!(digest(&path), seen[0]);
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

#[test]
fn an_image_that_is_one_hole_has_a_receipt_of_its_size() {
    for mount in mounts() {
        let path = mount.path().join("image");
        for size in [0, 1, 4096, 65_536, (1 << 40) + 77] {
            File::create(&path).unwrap().set_len(size).unwrap();
            assert_eq!(digest(&path), expect(std::iter::empty(), size), "{}", mount.fs());
        }
    }
}

#[test]
fn a_terabyte_of_holes_is_not_read() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let (size, at) = ((1 << 40) + 77, 1 << 39);
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(&[7; 8192], at + 4096).unwrap();
        let mut bytes = vec![0; 65_536];
        bytes[4096..4096 + 8192].fill(7);
        let mut kinds = [Kind::Hole; 16];
        kinds[1..3].fill(Kind::Data);
        let expected = expect(std::iter::once((at / 65_536, &kinds[..], &bytes[..])), size);
        let receipted = receipted(&path, &ReceiptOptions::default());
        assert_eq!(receipted.digest, expected, "{}", mount.fs());
        assert_eq!(receipted.read_bytes, 8192, "{}", mount.fs());
    }
}

#[test]
fn what_is_unfinished_has_no_receipt_and_taking_one_can_be_stopped() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("image");
    mixed().write(&path);
    let (options, cancel) = (ReceiptOptions::default(), Cancel::default());
    cancel.cancel();
    let stopped = receipt(&path, &options, &Progress::default(), &cancel);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    std::fs::write(mark_of(&path), "").unwrap();
    let refused = receipt(&path, &options, &Progress::default(), &Cancel::default());
    assert!(matches!(refused, Err(Error::Unfinished { .. })));
}
