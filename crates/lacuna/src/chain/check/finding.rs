//! What a check can find, and what to do about it.

use std::fmt;

use serde::Serialize;

/// Something that is worth knowing of a replica directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Whether the replica can be relied on all the same.
    pub severity: Severity,
    /// The name of the file in the directory; `.` for the directory itself.
    pub file: String,
    /// What it is.
    pub code: Code,
    /// The same for people, as what is said of the file: `is empty`.
    pub what: String,
}

/// Whether a replica can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No.
    Unsound,
    /// Yes, but this should be known.
    Note,
}

/// What was found. The names in JSON, and of [`Display`](fmt::Display), stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// There is no `volume.meta`.
    VolumeMetaMissing,
    /// `volume.meta` is empty.
    VolumeMetaEmpty,
    /// `volume.meta` does not describe a volume.
    VolumeMetaMalformed,
    /// An image has no `.meta` file.
    LayerMetaMissing,
    /// A `.meta` file does not describe a layer.
    LayerMetaMalformed,
    /// A `.meta` file has no image.
    ImageMissing,
    /// In the place of an image is a symbolic link, a directory or the like.
    NotRegular,
    /// Two layers are one file.
    SameFile,
    /// A layer is the file of the oldest that a squash was making one with it.
    HalfSquashed,
    /// A layer stands on one that is not there.
    ParentMissing,
    /// The parents of a layer lead back to it.
    Cycle,
    /// `volume.meta` names a head that is not there.
    HeadMissing,
    /// The only head is not the one that `volume.meta` names.
    HeadNotNamed,
    /// There is more than one head.
    TwoHeads,
    /// A layer stands on the head.
    HeadHasChild,
    /// A layer without a parent is not the base of the head.
    SecondBase,
    /// A layer is larger than one that stands on it.
    LargerThanChild,
    /// The head is not as large as the volume.
    HeadSize,
    /// The volume is not whole blocks.
    SizeUnaligned,
    /// `Rebuilding` is set.
    Rebuilding,
    /// `Error` is set.
    EngineError,
    /// A session that wrote an image was interrupted.
    Unfinished,
    /// The content of a layer is not what its fresh checksum says.
    ChecksumWrong,
    /// A checksum file says that its layer was found to be corrupted.
    SilentlyCorrupted,
    /// The filesystem does not show what is allocated.
    NoFiemap,
    /// The filesystem allocates more than a block at a time.
    LargeBlocks,
    /// Another process has a layer open for writing, or for itself.
    InUse,
    /// `Dirty` is set.
    Dirty,
    /// The oldest layer stands on a backing image.
    BackingFile,
    /// A checksum file speaks of its layer as it was.
    ChecksumStale,
    /// A checksum file does not hold a checksum.
    ChecksumMalformed,
    /// The engine was interrupted.
    Leftover,
    /// A session of lacuna was interrupted, or is under way.
    Partial,
    /// A file that no replica has.
    StrayFile,
}

impl Code {
    /// Whether the replica can be relied on all the same.
    pub fn severity(self) -> Severity {
        match self {
            Self::InUse
            | Self::Dirty
            | Self::BackingFile
            | Self::ChecksumStale
            | Self::ChecksumMalformed
            | Self::Leftover
            | Self::Partial
            | Self::StrayFile => Severity::Note,
            _ => Severity::Unsound,
        }
    }

    /// What the person who reads it can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::VolumeMetaMissing | Self::VolumeMetaEmpty => MADE_ANEW,
            Self::VolumeMetaMalformed => {
                "copy that of another replica and name the head that is here"
            }
            Self::LayerMetaMissing | Self::LayerMetaMalformed => "copy it from another replica",
            Self::ImageMissing => IMAGE_MISSING,
            Self::ParentMissing => "bring the image back from another replica, with its .meta file",
            Self::NotRegular => "put the image itself in its place",
            Self::SameFile => SAME_FILE,
            Self::HalfSquashed => "run the squash again that was interrupted: it completes it",
            Self::Cycle | Self::HeadHasChild | Self::SecondBase => {
                "compare the .meta files with those of another replica"
            }
            Self::HeadMissing => "bring the head back, or use another replica",
            Self::HeadNotNamed | Self::TwoHeads => WHICH_HEAD,
            Self::LargerThanChild => CUT_SHORT,
            Self::HeadSize | Self::SizeUnaligned => {
                "compare the sizes with volume.meta of another replica"
            }
            Self::Rebuilding => {
                "run the copy to it again that was interrupted, or use another replica"
            }
            Self::EngineError => "use another replica, or find out what the error was",
            Self::Unfinished => "repeat what was interrupted",
            Self::ChecksumWrong | Self::SilentlyCorrupted => {
                "do not trust the layer: bring it back from another replica"
            }
            Self::NoFiemap => "copy the directory to ext4, XFS or btrfs, from where it was intact",
            Self::LargeBlocks => "copy the directory to a filesystem with blocks of 4096 bytes",
            Self::InUse => "stop what has it open before anything relies on what is read",
            Self::Dirty => {
                "leave it: like a disk that lost power, the filesystem on it mends itself"
            }
            Self::BackingFile => "have a raw copy of it at hand: the volume reads through it",
            Self::ChecksumStale | Self::ChecksumMalformed => "leave it, or hash the layer again",
            Self::Leftover => "leave it, or remove it once nothing uses the replica",
            Self::Partial => "repeat the sync that it belongs to, or remove it",
            Self::StrayFile => "leave it, or move it elsewhere",
        }
    }

    /// Found in `file`, of which `what` is said.
    pub(super) fn of(self, file: impl Into<String>, what: impl Into<String>) -> Finding {
        let (file, what) = (file.into(), what.into());
        Finding { severity: self.severity(), file, code: self, what }
    }
}

const SAME_FILE: &str = "if a squash was interrupted here, run it again; else bring both layers back from another \
    replica";
const IMAGE_MISSING: &str = "bring the image back from another replica, with its .meta file; if a squash that was \
    to remove it was interrupted, run that again instead";
const MADE_ANEW: &str = "the engine makes it anew when it starts the replica; or copy that of another \
    replica and name the head that is here";
const CUT_SHORT: &str = "compare the sizes with another replica; a child that was cut short is made as \
    large again by truncate -s; if a squash was interrupted, run it again";
const WHICH_HEAD: &str =
    "compare volume.meta with that of another replica before anything uses this one";

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unsound => "unsound",
            Self::Note => "note",
        })
    }
}
