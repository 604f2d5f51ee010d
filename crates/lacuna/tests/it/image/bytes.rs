//! Reading and writing at any offset, in every way, against a vector of bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lacuna::{Access, Error, Image, IoMode, Target, TargetOptions};
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{IO_MODES, for_all, mount_with, mounts, open, patiently};

/// The size of the image: neither a whole block nor a whole sector.
const SIZE: usize = 300_001;

/// One request, to one of several images that are open on the same file.
#[derive(Clone, Debug)]
struct Request {
    write: bool,
    /// Which of the images.
    way: Index,
    offset: usize,
    len: usize,
    /// How far the buffer is from an aligned address.
    shift: usize,
    seed: u8,
}

fn request(size: usize) -> impl Strategy<Value = Request> {
    let offset = prop_oneof![
        2 => 0..size,
        1 => (0..size / 512).prop_map(|sector| sector * 512),
        1 => (0..size / 4096).prop_map(|block| block * 4096),
        1 => Just(0),
    ];
    let len = prop_oneof![
        2 => 0..5000_usize,
        1 => 1..size,
        // About where `Auto` turns direct.
        1 => (65_536 - 600)..65_536 + 600_usize,
        1 => (1..40_usize).prop_map(|blocks| blocks * 4096),
    ];
    let shift = prop_oneof![1 => Just(0), 1 => 0..4096_usize];
    (any::<(bool, Index, u8)>(), offset, len, shift).prop_map(
        move |((write, way, seed), offset, len, shift)| Request {
            write,
            way,
            offset,
            len: len.min(size - offset),
            shift,
            seed,
        },
    )
}

/// `len` bytes that differ from each other and from those of another seed.
fn bytes(seed: u8, len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |at| seed ^ (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31))
}

/// Requests to images open on `path` in all these ways do what they would do to a vector.
fn compare_with_vector(path: &Path, size: usize, ways: &[IoMode]) {
    for_all(8, prop::collection::vec(request(size), 1..40), |requests| {
        let mut expected: Vec<u8> = bytes(1, size).collect();
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&expected, 0).unwrap();
        drop(file);
        let images: Vec<_> =
            ways.iter().map(|way| patiently(|| open(path, Access::Write, *way)).unwrap()).collect();
        for request in &requests {
            carry_out(request, request.way.get(&images), &mut expected);
        }
        for image in &images {
            image.sync().unwrap();
        }
        drop(images);
        assert!(std::fs::read(path).unwrap() == expected, "the file in the end");
    });
}

fn carry_out(request: &Request, image: &Image, expected: &mut [u8]) {
    let (offset, len) = (request.offset, request.len);
    let mut memory = vec![0; len + 2 * 4096];
    let start = memory.as_ptr().align_offset(4096) + request.shift;
    let buf = &mut memory[start..start + len];
    let expected = &mut expected[offset..offset + len];
    if request.write {
        buf.iter_mut().zip(bytes(request.seed, len)).for_each(|(to, from)| *to = from);
        image.write_at(buf, offset as u64).unwrap();
        expected.copy_from_slice(buf);
    } else {
        image.read_at(buf, offset as u64).unwrap();
        assert!(buf == expected, "{request:?}");
    }
}

fn compare_on(mount: Option<Mount>, ways: &[IoMode]) {
    let Some(mount) = mount else { return };
    let path = mount.path().join("image");
    File::create(&path).unwrap();
    compare_with_vector(&path, SIZE, ways);
}

#[test]
fn bytes_on_ext4_are_those_of_a_vector() {
    compare_on(Mount::new(Fs::Ext4), &IO_MODES);
}

#[test]
fn bytes_on_ext4_with_small_blocks_are_those_of_a_vector() {
    compare_on(mount_with(Fs::Ext4, &["-b", "1024"]), &IO_MODES);
}

#[test]
fn bytes_on_xfs_are_those_of_a_vector() {
    compare_on(Mount::new(Fs::Xfs), &IO_MODES);
}

#[test]
fn bytes_on_btrfs_are_those_of_a_vector() {
    compare_on(Mount::new(Fs::Btrfs), &IO_MODES);
}

#[test]
fn bytes_on_tmpfs_are_those_of_a_vector() {
    compare_on(Mount::new(Fs::Tmpfs), &IO_MODES);
}

#[test]
fn bytes_on_a_device_are_those_of_a_vector() {
    let Some(device) = LoopDevice::new(512 << 10) else {
        return;
    };
    // A device is opened for writing once at a time.
    for way in IO_MODES {
        compare_with_vector(device.path(), 512 << 10, &[way]);
    }
}

#[test]
fn direct_io_where_there_is_none_is_an_error_and_auto_goes_without() {
    let options = MountOptions { mount: vec!["data=journal".into()], ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else {
        return;
    };
    let path = mount.path().join("image");
    std::fs::write(&path, "no direct I/O with all data in the journal").unwrap();
    for access in [Access::Read, Access::Write, Access::Alone] {
        let refused = open(&path, access, IoMode::Direct).err().unwrap();
        assert!(matches!(refused, Error::NotDirect { .. }), "{refused:?}");
        assert_eq!(refused.remedy().as_deref(), Some("use buffered I/O"));
    }
    let options = TargetOptions { io: IoMode::Direct, ..TargetOptions::default() };
    let refused = Target::open(&mount.path().join("new"), &options).err().unwrap();
    assert!(matches!(refused, Error::NotDirect { .. }), "{refused:?}");
    assert!(!mount.path().join(".new.lacuna-data").exists(), "an empty file is left");
    compare_on(Some(mount), &[IoMode::Buffered, IoMode::Auto]);
}

#[test]
fn direct_io_that_the_open_refuses_is_an_error_and_auto_goes_without() {
    // procfs has no direct I/O at all.
    let path = Path::new("/proc/version");
    let refused = open(path, Access::Read, IoMode::Direct).err().unwrap();
    let text = refused.to_string();
    assert!(matches!(refused, Error::NotDirect { .. }), "{text}");
    assert!(text.contains("/proc/version: invalid argument"), "{text}");
    open(path, Access::Read, IoMode::Auto).unwrap();
}

#[test]
fn reading_past_the_end_is_an_error_that_says_where() {
    for mount in mounts() {
        let path = mount.path().join("image");
        std::fs::write(&path, [1; 10_000]).unwrap();
        for io in IO_MODES {
            let image = open(&path, Access::Read, io).unwrap();
            for (len, offset) in [(1, 10_000), (4096, 8192), (100_000, 0), (1, 1 << 40)] {
                let error = image.read_at(&mut vec![0; len], offset).unwrap_err();
                let text = error.to_string();
                assert!(text.contains(&format!("at offset {offset}")), "{text}");
                let kind = error.io_kind();
                assert_eq!(kind, Some(std::io::ErrorKind::UnexpectedEof));
            }
        }
    }
}
