//! Digests of whole images, and the `.checksum` files that record them.
//!
//! Holes and unwritten ranges are not read. The CRC of a run of zeros is known, and the CRCs of parts
//! combine, so it is computed on several threads; the other methods take the bytes in order, read
//! ahead by other threads.

mod reader;

use std::path::Path;

use jiff::tz::TimeZone;

use crate::beside;
use crate::checksum_file::{self, CRC64, ChecksumFile};
use crate::digest::{Hasher, hex};
use crate::error::{Error, Result};
use crate::extent::KindBytes;
use crate::open::{ImageOptions, IoMode};
use crate::ordered::in_order;
use crate::progress::{Cancel, Progress};
use crate::source::Source;
use reader::Reader;

/// Which digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Longhorn's CRC-64.
    #[default]
    Crc64,
    /// SHA-512.
    Sha512,
    /// BLAKE3.
    Blake3,
}

impl Method {
    fn hasher(self) -> Hasher {
        match self {
            Self::Crc64 => Hasher::crc64(),
            Self::Sha512 => Hasher::sha512(),
            Self::Blake3 => Hasher::blake3(),
        }
    }
}

/// How to hash.
#[derive(Clone, Copy, Debug)]
pub struct HashOptions {
    /// Which digest.
    pub method: Method,
    /// Direct or buffered.
    pub io: IoMode,
    /// Ranges that are read at the same time.
    pub threads: usize,
}

impl Default for HashOptions {
    fn default() -> Self {
        Self { method: Method::default(), io: IoMode::default(), threads: 2 }
    }
}

/// What was hashed, and what came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Hashed {
    /// Which digest.
    pub method: Method,
    /// In lowercase hexadecimal digits.
    pub digest: String,
    /// Size of the image.
    pub size_bytes: u64,
    /// Its kinds.
    #[serde(flatten)]
    pub kinds: KindBytes,
    /// Read: its data.
    pub read_bytes: u64,
}

/// What a `.checksum` file is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It speaks of the image as it is, and is right.
    Sound(Hashed),
    /// The image was changed after it was written.
    Stale {
        /// The digest in the file.
        recorded: String,
    },
    /// It speaks of the image as it is, and is wrong: the bytes changed, and the change time did not.
    Corrupt {
        /// The digest in the file; that of the image, where an earlier hash found it corrupt.
        recorded: String,
        /// What the image has.
        hashed: Hashed,
    },
    /// There is none.
    Missing,
}

/// The digest of the image at `path`, over its whole size, holes as zeros.
///
/// # Errors
///
/// What is wrong with the image, and [`Error::Changed`] when it does not stay as it is.
pub fn hash(
    path: &Path,
    options: &HashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Hashed> {
    let source = open(path, options)?;
    progress.total_bytes.set(source.allocated_bytes()?);
    let hashed = hash_source(&source, options, progress, cancel)?;
    progress.finish();
    Ok(hashed)
}

/// Hashes the image at `path` by CRC-64, and writes its `.checksum` file, the change time in `zone`
/// and `last_hashed_at` as given. The image must be durable and stay as it is meanwhile.
///
/// # Errors
///
/// Those of [`hash`]; a device has no change time of its own.
pub fn write(
    path: &Path,
    options: &HashOptions,
    zone: &TimeZone,
    last_hashed_at: &str,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Hashed> {
    let options = HashOptions { method: Method::Crc64, ..*options };
    let source = open(path, &options)?;
    if source.is_device() {
        return Err(Error::NotAnImage { path: path.to_owned(), what: "a block device" });
    }
    source.tip().image().sync()?;
    progress.total_bytes.set(source.allocated_bytes()?);
    let hashed = hash_source(&source, &options, progress, cancel)?;
    let Some(change_time) = checksum_file::change_time(source.tip().stamp(), zone) else {
        return Err(Error::Changed { path: path.to_owned() });
    };
    let file = ChecksumFile {
        method: CRC64.to_owned(),
        checksum: hashed.digest.clone(),
        change_time,
        last_hashed_at: last_hashed_at.to_owned(),
        silently_corrupted: false,
    };
    file.write(&beside::resolve(path)?)?;
    progress.finish();
    Ok(hashed)
}

/// Whether the `.checksum` file of the image at `path` holds: its change time first, and then, if that
/// is the image's, its content.
///
/// # Errors
///
/// Those of [`hash`]; [`Error::Malformed`] for a file of another method.
pub fn check(
    path: &Path,
    options: &HashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Verdict> {
    let source = open(path, options)?;
    let real = beside::resolve(path)?;
    let Some(recorded) = ChecksumFile::read(&real)? else {
        return Ok(Verdict::Missing);
    };
    if recorded.method != CRC64 {
        return Err(Error::Malformed {
            path: checksum_file::path_of(&real),
            reason: format!("its method is {:?}, not crc64", recorded.method),
        });
    }
    progress.total_bytes.set(source.allocated_bytes()?);
    let verdict = judge(&source, recorded, options, progress, cancel)?;
    progress.finish();
    Ok(verdict)
}

/// The same of what is `recorded` by CRC-64; only adds to what is done.
pub(crate) fn judge(
    source: &Source,
    recorded: ChecksumFile,
    options: &HashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Verdict> {
    let options = HashOptions { method: Method::Crc64, ..*options };
    if source.is_device() || !recorded.is_fresh(source.tip().stamp()) {
        return Ok(Verdict::Stale { recorded: recorded.checksum });
    }
    let hashed = hash_source(source, &options, progress, cancel)?;
    Ok(match hashed.digest == recorded.checksum && !recorded.silently_corrupted {
        true => Verdict::Sound(hashed),
        false => Verdict::Corrupt { recorded: recorded.checksum, hashed },
    })
}

fn open(path: &Path, options: &HashOptions) -> Result<Source> {
    Source::open(path, &ImageOptions { io: options.io, ..ImageOptions::default() })
}

fn hash_source(
    source: &Source,
    options: &HashOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Hashed> {
    let read_before = progress.read_bytes.get();
    let reader = Reader::new(source, options.method);
    let mut kinds = KindBytes::default();
    let mut hasher = options.method.hasher();
    in_order(
        options.threads,
        reader.batches()?,
        || (),
        |(), batch| {
            cancel.check()?;
            reader.read(batch, progress)
        },
        |part| {
            part.extents.iter().for_each(|extent| kinds.add(extent.kind, extent.range.len()));
            part.feed(&mut hasher);
            cancel.check()
        },
    )?;
    source.check()?;
    source.drop_cache();
    Ok(Hashed {
        method: options.method,
        digest: hex(&hasher.finish()),
        size_bytes: source.size(),
        kinds,
        read_bytes: progress.read_bytes.get() - read_before,
    })
}
