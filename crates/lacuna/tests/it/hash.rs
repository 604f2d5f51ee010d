//! Digests of images, against those of all their bytes.

mod checksum;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use lacuna::digest::Crc64;
use lacuna::hash::{HashOptions, Hashed, Method, hash};
use lacuna::{BLOCK, Cancel, Error, IoMode, KindBytes, Progress};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Kind, strategy};
use proptest::prelude::*;
use sha2::Digest;

use crate::content::Content;
use crate::small::{small_pieces, write_small_pieces};
use crate::{IO_MODES, for_all, mark_of, mount_with, mounts, patiently};

const METHODS: [Method; 3] = [Method::Crc64, Method::Sha512, Method::Blake3];

fn hashed(path: &Path, options: &HashOptions) -> Hashed {
    let progress = Progress::default();
    let hashed = patiently(|| hash(path, options, &progress, &Cancel::default()));
    assert_eq!(progress.percent(), 100);
    hashed.unwrap_or_else(|error| panic!("hash {}: {error}", path.display()))
}

/// Longhorn's CRC-64, bit by bit.
fn slow_crc64(bytes: &[u8]) -> u64 {
    !bytes.iter().fold(!0, |crc: u64, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xd800_0000_0000_0000 } else { crc >> 1 }
        })
    })
}

fn slow(method: Method, bytes: &[u8]) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match method {
        Method::Crc64 => format!("{:016x}", slow_crc64(bytes)),
        Method::Sha512 => digits(&sha2::Sha512::digest(bytes)),
        Method::Blake3 => blake3::hash(bytes).to_hex().to_string(),
    }
}

/// How many bytes there are of each kind.
pub(crate) fn count(content: &Content) -> KindBytes {
    let mut counted = KindBytes::default();
    for (bytes, kind) in content.bytes.chunks(BLOCK as usize).zip(&content.kinds) {
        *match kind {
            Kind::Data => &mut counted.data_bytes,
            Kind::Zero => &mut counted.zero_bytes,
            Kind::Hole => &mut counted.hole_bytes,
        } += bytes.len() as u64;
    }
    counted
}

fn ways() -> impl Strategy<Value = HashOptions> + Clone {
    let method = prop::sample::select(METHODS.to_vec());
    let io = prop::sample::select(IO_MODES.to_vec());
    (method, io, 1..=8_usize).prop_map(|(method, io, threads)| HashOptions { method, io, threads })
}

#[test]
fn a_digest_is_that_of_all_bytes_of_which_only_data_is_read() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let patterns = prop_oneof![3 => strategy(64), 1 => strategy(900)];
        for_all(12, (patterns, ways()), |(pattern, options)| {
            pattern.write(&path);
            let content = Content::of(&path);
            let kinds = count(&content);
            let expected = Hashed {
                method: options.method,
                digest: slow(options.method, &content.bytes),
                size_bytes: pattern.size,
                kinds,
                read_bytes: kinds.data_bytes,
            };
            assert_eq!(hashed(&path, &options), expected);
        });
    }
}

#[test]
fn a_digest_on_smaller_blocks_is_that_of_all_bytes() {
    let Some(mount) = mount_with(Fs::Ext4, &["-b", "1024"]) else { return };
    let path = mount.path().join("image");
    for_all(20, (small_pieces(), ways()), |(pieces, options)| {
        write_small_pieces(&path, &pieces);
        let bytes = std::fs::read(&path).unwrap();
        let hashed = hashed(&path, &options);
        assert_eq!(hashed.digest, slow(options.method, &bytes));
        assert_eq!(hashed.kinds.allocated_bytes() + hashed.kinds.hole_bytes, bytes.len() as u64);
    });
}

#[test]
fn the_digests_of_known_bytes_are_the_known_ones() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("image");
    let digest = |method| hashed(&path, &HashOptions { method, ..HashOptions::default() }).digest;
    for (bytes, crc64) in [
        (b"123456789".to_vec(), "b90956c775a41001"),
        (vec![0; 4096], "492fc33c906fff90"),
        (vec![0; 1 << 20], "430efbe3cfd1f78c"),
        (vec![], "0000000000000000"),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(digest(Method::Crc64), crc64);
        // The same zeros, not allocated.
        if bytes.iter().all(|byte| *byte == 0) {
            File::create(&path).unwrap().set_len(bytes.len() as u64).unwrap();
            assert_eq!(digest(Method::Crc64), crc64);
        }
    }
    assert_eq!(digest(Method::Sha512)[..16], *"cf83e1357eefb8bd");
    assert_eq!(digest(Method::Blake3)[..16], *"af1349b9f5f9a1a6");
}

#[test]
fn a_terabyte_of_holes_is_not_read() {
    for mount in mounts() {
        let path = mount.path().join("image");
        let (size, at) = ((1 << 40) + 100, (1 << 39) + 4096);
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(&[7; 8192], at).unwrap();
        let hashed = hashed(&path, &HashOptions::default());
        let (before, data) = (Crc64::zeros(at), Crc64::of(&[7; 8192]));
        let expected = before.then(data).then(Crc64::zeros(size - at - 8192));
        assert_eq!(hashed.digest, expected.to_string(), "{}", mount.fs());
        assert_eq!((hashed.read_bytes, hashed.size_bytes), (8192, size), "{}", mount.fs());
    }
}

#[test]
fn a_device_is_all_data() {
    let size = (3 << 20) + 512;
    let Some(device) = LoopDevice::new(size) else { return };
    std::fs::write(device.path(), vec![3; 1 << 20]).unwrap();
    let bytes = std::fs::read(device.path()).unwrap();
    for method in METHODS {
        let hashed = hashed(device.path(), &HashOptions { method, ..HashOptions::default() });
        assert_eq!(hashed.digest, slow(method, &bytes));
        assert_eq!((hashed.read_bytes, hashed.kinds.data_bytes), (size, size));
    }
}

#[test]
fn what_is_unfinished_is_not_hashed_and_hashing_can_be_stopped() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = mount.path().join("image");
    std::fs::write(&path, [1; 9000]).unwrap();
    let options = HashOptions { io: IoMode::Direct, ..HashOptions::default() };
    let cancel = Cancel::default();
    cancel.cancel();
    for method in METHODS {
        let stopped =
            hash(&path, &HashOptions { method, ..options }, &Progress::default(), &cancel);
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }
    std::fs::write(mark_of(&path), "").unwrap();
    let refused = hash(&path, &options, &Progress::default(), &Cancel::default());
    assert!(matches!(refused, Err(Error::Unfinished { .. })));
}

/// Zeros that the method has to see take long enough to be stopped within them.
#[test]
fn zeros_of_a_terabyte_can_be_stopped() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let path = mount.path().join("image");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(&[1], 0).unwrap();
    drop(file);
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let options = HashOptions { method: Method::Sha512, ..HashOptions::default() };
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(&path, &options, &progress, &cancel));
        while progress.read_bytes.get() == 0 && !hashing.is_finished() {
            std::thread::yield_now();
        }
        // By now, or a little later, it is at the zeros: all of them take half an hour.
        std::thread::sleep(Duration::from_millis(100));
        cancel.cancel();
        assert!(matches!(hashing.join().unwrap(), Err(Error::Cancelled)));
    });
}
