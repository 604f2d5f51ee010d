//! Images as plain means see them, and what stands beside them.

use std::fmt::Display;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::pattern::{BLOCK, Kind, kinds_of};

/// What v1 carries of an image: its bytes, and which blocks are allocated.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) allocated: Vec<bool>,
}

impl Content {
    #[track_caller]
    pub(crate) fn of(path: &Path) -> Self {
        let allocated = kinds_of(path).into_iter().map(|kind| kind != Kind::Hole).collect();
        Self { bytes: bytes_of(path), allocated }
    }

    /// Where the first difference is.
    pub(crate) fn difference(&self, expected: &Self) -> Option<String> {
        let (size, wanted) = (self.bytes.len(), expected.bytes.len());
        if size != wanted {
            return Some(format!("the size is {size}, not {wanted}"));
        }
        let blocks = self.allocated.iter().zip(&expected.allocated).enumerate();
        for (block, (allocated, wanted)) in blocks {
            if allocated != wanted {
                return Some(format!("block {block} is allocated: {allocated}, not {wanted}"));
            }
        }
        let at = (0..size).find(|&at| self.bytes[at] != expected.bytes[at])?;
        let (block, byte) = (at as u64 / BLOCK, self.bytes[at]);
        Some(format!("byte {at}, in block {block}, is {byte}, not {}", expected.bytes[at]))
    }

    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &Self, what: impl Display) {
        if let Some(difference) = self.difference(expected) {
            panic!("{what}: {difference}");
        }
    }
}

/// Fails unless `target` has the bytes and the holes of `source`.
#[track_caller]
pub(crate) fn assert_same(source: &Path, target: &Path) {
    Content::of(target).assert_is(&Content::of(source), target.display());
}

#[track_caller]
pub(crate) fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// What a session that is under way, or was interrupted, keeps beside `image`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// The bytes that have arrived of a new image.
    pub(crate) data: bool,
    /// The mark of an existing one.
    pub(crate) unfinished: bool,
    /// Hidden files that are neither.
    pub(crate) others: Vec<String>,
}

impl Beside {
    pub(crate) fn of(image: &Path) -> Self {
        let mut beside = Self::default();
        let directory = image.parent().expect("a directory");
        for entry in std::fs::read_dir(directory).expect("list the directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match path {
                path if path == data_of(image) => beside.data = true,
                path if path == mark_of(image) => beside.unfinished = true,
                _ if name.starts_with('.') => beside.others.push(name),
                _ => {}
            }
        }
        beside
    }
}

/// Fails if anything hidden is left beside `image`.
#[track_caller]
pub(crate) fn assert_tidy(image: &Path) {
    assert_eq!(Beside::of(image), Beside::default(), "beside {}", image.display());
}

pub(crate) fn data_of(image: &Path) -> PathBuf {
    beside(image, ".", ".lacuna-data")
}

pub(crate) fn mark_of(image: &Path) -> PathBuf {
    beside(image, ".", ".lacuna-unfinished")
}

pub(crate) fn checksum_of(image: &Path) -> PathBuf {
    beside(image, "", ".checksum")
}

fn beside(image: &Path, before: &str, after: &str) -> PathBuf {
    let name = image.file_name().expect("a name").to_str().expect("a name in UTF-8");
    image.with_file_name(format!("{before}{name}{after}"))
}

/// Longhorn's crc64, bit by bit.
pub(crate) fn crc64(bytes: &[u8]) -> String {
    let mut crc = !0_u64;
    for byte in bytes {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc = (crc >> 1) ^ if carry { 0xd800_0000_0000_0000 } else { 0 };
        }
    }
    format!("{:016x}", !crc)
}

/// The ctime of an image as `date` prints it in the zone `TZ`, with Go's fraction.
pub(crate) fn change_time(image: &Path, zone: &str) -> String {
    let metadata = image.metadata().expect("stat");
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    let fraction = format!(".{nanoseconds:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let output = Command::new("date")
        .env("TZ", zone)
        .env("LC_ALL", "C")
        .arg(format!("--date=@{seconds}"))
        .arg(format!("+%Y-%m-%d %H:%M:%S{fraction} %z %Z"))
        .output()
        .expect("run date");
    String::from_utf8(output.stdout).expect("a text").trim_end().to_owned()
}

/// What the `.checksum` of an image with this `checksum` says at this moment.
pub(crate) fn checksum_text(image: &Path, checksum: &str, zone: &str) -> String {
    let change_time = change_time(image, zone);
    format!(
        "{{\"method\":\"crc64\",\"checksum\":\"{checksum}\",\"change_time\":\"{change_time}\",\
         \"last_hashed_at\":\"\",\"silently_corrupted\":false}}\n"
    )
}

/// Writes a `.checksum` that is right and fresh.
pub(crate) fn record(image: &Path) {
    let checksum = crc64(&bytes_of(image));
    let text = checksum_text(image, &checksum, "UTC0");
    std::fs::write(checksum_of(image), text).expect("write a .checksum");
}

/// The checksum that the `.checksum` beside an image vouches for: `None` when there is no such file
/// or it speaks of another state of the image.
pub(crate) fn vouched(image: &Path) -> Option<String> {
    let text = std::fs::read(checksum_of(image)).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let fresh = value["change_time"] == change_time(image, "UTC0");
    fresh.then(|| value["checksum"].as_str().expect("a checksum").to_owned())
}

/// Fails unless the `.checksum` beside an image vouches for just the bytes that it has.
#[track_caller]
pub(crate) fn assert_vouched(image: &Path) {
    assert_eq!(vouched(image), Some(crc64(&bytes_of(image))), "{}", image.display());
}

/// The ctime, seconds and nanoseconds.
pub(crate) fn ctime(image: &Path) -> (i64, i64) {
    let metadata = image.metadata().expect("stat");
    (metadata.ctime(), metadata.ctime_nsec())
}

/// Makes a plain file that lasts.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("write a file");
    File::open(path).and_then(|file| file.sync_all()).expect("sync a file");
}
