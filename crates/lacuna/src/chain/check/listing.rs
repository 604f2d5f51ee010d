//! The files of a directory, each by what its name says.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::finding::{Code, Finding};
use crate::beside::{self, DATA, DRAFT, PARTIAL, UNFINISHED, shown};
use crate::chain::{ChainError, VolumeMeta};
use crate::error::Result;
use crate::layer::has_layer_name;

/// The names in a directory.
#[derive(Default)]
pub(super) struct Listing {
    /// `*.img`.
    pub(super) images: BTreeSet<String>,
    /// The images of `*.img.meta`, which need not be there.
    pub(super) described: BTreeSet<String>,
    /// The images of `*.img.checksum`.
    pub(super) checksums: BTreeSet<String>,
    has_volume: bool,
}

impl Listing {
    /// Those of `directory`; what does not belong to a chain is added to `found`.
    pub(super) fn read(directory: &Path, found: &mut Vec<Finding>) -> Result<Self> {
        let mut listing = Self::default();
        for path in beside::entries(directory)? {
            found.extend(listing.add(path.file_name().unwrap_or_default()));
        }
        for finding in found.iter_mut().filter(|finding| finding.code == Code::Unfinished) {
            if !listing.images.contains(&finding.file) {
                let mark = beside::hidden(Path::new(&finding.file), UNFINISHED);
                let what = format!("marks {}, which is gone", finding.file);
                *finding = Code::Partial.of(mark.to_string_lossy(), what);
            }
        }
        let is_layer = |name: &String| has_layer_name(Path::new(name));
        match listing.has_volume
            || !listing.described.is_empty()
            || listing.images.iter().any(is_layer)
        {
            true => Ok(listing),
            false => Err(ChainError::NotAReplica { directory: directory.to_owned() }.into()),
        }
    }

    /// Takes a name, or says what is to be known of it.
    fn add(&mut self, name: &OsStr) -> Option<Finding> {
        let shows = |suffix| shown(name, suffix).map(|image| image.to_string_lossy().into_owned());
        if let Some(image) = shows(UNFINISHED) {
            let what = format!("is half written: {} tells what was interrupted", name.display());
            return Some(Code::Unfinished.of(image, what));
        }
        if let Some(image) = shows(DATA).or(shows(PARTIAL)).or(shows(DRAFT)) {
            let what = format!("belongs to a session of lacuna that wrote {image}");
            return Some(Code::Partial.of(name.to_string_lossy(), what));
        }
        if [b".tmp".as_slice(), b".snap_tmp"].iter().any(|end| name.as_bytes().ends_with(end)) {
            let what = "was left by an engine that was interrupted, or is being written";
            return Some(Code::Leftover.of(name.to_string_lossy(), what));
        }
        let text = name.to_string_lossy();
        let image = |suffix| text.strip_suffix(suffix).filter(|image| image.ends_with(".img"));
        match (image(""), image(".meta"), image(".checksum")) {
            (Some(image), ..) => self.images.insert(image.to_owned()),
            (_, Some(image), _) => self.described.insert(image.to_owned()),
            (.., Some(image)) => self.checksums.insert(image.to_owned()),
            _ if text == VolumeMeta::NAME => std::mem::replace(&mut self.has_volume, true),
            _ if text == "revision.counter" => true,
            _ => return Some(Code::StrayFile.of(text, "is no file of a replica")),
        };
        None
    }
}
