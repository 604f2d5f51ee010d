//! The original had no checksum for data that lay in several extents, and so sent it for ever.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lacuna::IoMode;
use lacuna::digest::sha512;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::mount::{Fs, Mount};
use rustix::fs::{FallocateFlags, fallocate};

use super::BLOCK;
use crate::image::{assert_same, bytes_of, ctime};
use crate::options;
use crate::server::{Server, session};

const BLOCKS: u64 = 48;

/// A file of blocks that do not lie side by side on the disk: every third is unwritten, the others
/// hold data.
fn fragment(path: &Path) {
    let (file, between) = (File::create(path).unwrap(), path.with_extension("between"));
    let between = File::create(between).unwrap();
    file.set_len(BLOCKS * BLOCK).unwrap();
    for block in 0..BLOCKS {
        for file in [&file, &between] {
            fallocate(file, FallocateFlags::KEEP_SIZE, block * BLOCK, BLOCK).unwrap();
        }
    }
    for block in (0..BLOCKS).filter(|block| block % 3 != 0) {
        file.write_all_at(&[block as u8; BLOCK as usize], block * BLOCK).unwrap();
    }
    file.sync_all().unwrap();
    let output = Command::new("filefrag").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let extents = text.rsplit(": ").next().and_then(|words| words.split(' ').next()?.parse().ok());
    assert!(extents >= Some(BLOCKS / 4), "{text}");
}

fn on_every_filesystem_with_extents(test: impl Fn(&Path)) {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        if let Some(mount) = Mount::new(fs) {
            let path = mount.path().join("disk.img");
            fragment(&path);
            test(&path);
        }
    }
}

#[test]
fn a_range_in_many_extents_some_of_them_unwritten_has_a_checksum() {
    on_every_filesystem_with_extents(|target| {
        let bytes = bytes_of(target);
        let server = Server::of(target);
        let mut http = server.dial();
        http.open(BLOCKS * BLOCK, true);
        for (begin, end) in [(0, BLOCKS * BLOCK), (BLOCK, 10 * BLOCK), (5, BLOCKS * BLOCK - 1)] {
            let digest = STANDARD.encode(sha512(&bytes[begin as usize..end as usize]));
            assert_eq!(http.hash(begin, end).text(), format!("\"{digest}\""), "{begin}..{end}");
        }
        http.punch(7 * BLOCK, 8 * BLOCK);
        assert_eq!(http.hash(0, BLOCKS * BLOCK).text(), "null");
        assert_eq!(http.hash(7 * BLOCK, 9 * BLOCK).text(), "null");
        assert_ne!(http.hash(8 * BLOCK, BLOCKS * BLOCK).text(), "null");
    });
}

#[test]
fn an_equal_target_in_many_extents_is_not_sent_again() {
    on_every_filesystem_with_extents(|target| {
        let source = target.with_extension("source");
        std::fs::write(&source, bytes_of(target)).unwrap();
        let before = ctime(target);
        for target_io in [IoMode::Direct, IoMode::Buffered] {
            let options = SyncOptions { target_io, ..options() };
            let (synced, served) = session(&source, target, &options);
            let synced = synced.unwrap();
            assert_eq!((synced.sent_bytes, synced.compared_bytes), (0, BLOCKS * BLOCK));
            assert_eq!(served.unwrap().written_bytes, 0);
            assert_eq!(ctime(target), before);
            assert_same(&source, target);
        }
    });
}
