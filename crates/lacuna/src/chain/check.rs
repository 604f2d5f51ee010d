//! Is a replica directory sound? Everything that can be known without its engine, all in one run: what is
//! wrong with one file does not hide what is wrong with another. Nothing is written, and nobody is kept out.

mod finding;
mod layers;
mod listing;
mod tree;

use std::path::{Path, PathBuf};

use super::checksum::ChecksumState;
use super::meta::VolumeMeta;
use crate::error::{Error, Result};
use crate::hash::HashOptions;
use crate::progress::{Cancel, Progress};
pub use finding::{Code, Finding, Severity};
use layers::Layers;
use listing::Listing;

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Read the layers that have a fresh checksum, in this way, and compare.
    pub verify: Option<HashOptions>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What makes the replica unsound first, then by the names of the files.
    pub findings: Vec<Finding>,
    /// What could not be looked at: nothing is known of it.
    pub errors: Vec<Error>,
    /// Images that belong to the chain.
    pub layers: u64,
    /// Those whose content was read and compared with their checksums.
    pub verified: u64,
}

impl Checked {
    /// Whether nothing was found that makes the replica unsound.
    pub fn is_sound(&self) -> bool {
        self.count(Severity::Unsound) == 0
    }

    /// How much was found.
    pub fn count(&self, severity: Severity) -> u64 {
        self.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    }

    fn add(&mut self, code: Code, file: impl Into<String>, what: impl Into<String>) {
        self.findings.push(code.of(file, what));
    }
}

/// Checks a replica directory. What cannot be looked at is in [`Checked::errors`].
///
/// # Errors
///
/// [`NotAReplica`](super::ChainError::NotAReplica), that the directory cannot be listed, and
/// [`Error::Cancelled`].
pub fn check(
    directory: &Path,
    options: &CheckOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Checked> {
    let mut checked = Checked::default();
    let listing = Listing::read(directory, &mut checked.findings)?;
    let volume = read_volume(directory, &mut checked);
    let layers = Layers::look(directory, &listing, volume.as_ref(), &mut checked, cancel)?;
    checked.layers = layers.all.len() as u64;
    if let Some(volume) = &volume {
        check_volume(volume, &mut checked);
    }
    tree::check(&layers.all, volume.as_ref(), &mut checked);
    if let Some(hash) = &options.verify {
        verify(&layers.fresh, hash, &mut checked, progress, cancel)?;
    }
    checked.findings.sort();
    progress.finish();
    Ok(checked)
}

fn read_volume(directory: &Path, checked: &mut Checked) -> Option<VolumeMeta> {
    let name = VolumeMeta::NAME;
    match VolumeMeta::read(directory) {
        Ok(Some(volume)) => return Some(volume),
        Ok(None) => checked.add(Code::VolumeMetaMissing, name, "is missing"),
        Err(Error::Malformed { .. }) if is_empty(&directory.join(name)) => {
            checked.add(Code::VolumeMetaEmpty, name, "is empty");
        }
        Err(Error::Malformed { reason, .. }) => {
            checked.add(Code::VolumeMetaMalformed, name, format!("is malformed: {reason}"));
        }
        Err(error) => checked.errors.push(error),
    }
    None
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)
}

/// What `volume.meta` says beside the head.
fn check_volume(volume: &VolumeMeta, checked: &mut Checked) {
    let mut add = |code, what: String| checked.add(code, VolumeMeta::NAME, what);
    if volume.rebuilding {
        add(Code::Rebuilding, "says that another replica was being copied here".to_owned());
    }
    if !volume.error.is_empty() {
        add(Code::EngineError, format!("says that the engine gave up: {}", volume.error));
    }
    if !volume.size.is_multiple_of(crate::BLOCK) {
        let what = format!("gives the volume {} bytes, which are not whole blocks", volume.size);
        add(Code::SizeUnaligned, what);
    }
    if volume.dirty {
        add(Code::Dirty, "says that the volume is in use, or was not closed in order".to_owned());
    }
    if !volume.backing_file_path.is_empty() {
        let what = format!("names the backing image {}", volume.backing_file_path);
        add(Code::BackingFile, what);
    }
}

/// Reads the layers that have a fresh checksum.
fn verify(
    fresh: &[(PathBuf, u64)],
    options: &HashOptions,
    checked: &mut Checked,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<()> {
    progress.total_bytes.set(fresh.iter().map(|(_, allocated)| allocated).sum());
    for (path, _) in fresh {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match ChecksumState::verified(path, options, progress, cancel) {
            Ok(ChecksumState::Right) => {}
            Ok(ChecksumState::Wrong) => {
                let what =
                    "has other content than its checksum file says, and was not changed since";
                checked.add(Code::ChecksumWrong, name, what);
            }
            // It changed since it was looked at.
            Ok(_) => continue,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // Either was found before.
            Err(Error::Busy { .. } | Error::Unfinished { .. }) => continue,
            Err(error) => {
                checked.errors.push(error);
                continue;
            }
        }
        checked.verified += 1;
    }
    Ok(())
}
