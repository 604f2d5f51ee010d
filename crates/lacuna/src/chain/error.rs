//! What can be wrong with a chain.

use std::path::{Path, PathBuf};

use crate::extent::Range;

/// Why a chain cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The directory of something else, or an empty one.
    #[error("{} is no replica directory: it has no volume.meta", directory.display())]
    NotAReplica {
        /// The directory.
        directory: PathBuf,
    },
    /// No layer was named.
    #[error("a chain has at least one layer")]
    NoLayers,
    /// A layer was asked for that is not there.
    #[error("{} has no layer {layer}", directory.display())]
    NoLayer {
        /// The directory.
        directory: PathBuf,
        /// As it was asked for.
        layer: String,
        /// The names of those that are there.
        layers: Vec<String>,
    },
    /// The oldest layer of a squash is nowhere, as after a squash that is complete.
    #[error(
        "there is no {}{}",
        old.display(),
        parent.as_deref().map_or_else(
            || format!(", and of the others only {}", new.display()),
            |parent| format!(", and {} stands on {}", new.display(), if parent.is_empty() { "nothing" } else { parent }),
        )
    )]
    NoOldest {
        /// The oldest layer.
        old: PathBuf,
        /// The newest, which is there.
        new: PathBuf,
        /// What it stands on; empty for nothing, `None` where no `.meta` files say that.
        parent: Option<String>,
    },
    /// The chain leads to a layer that is not described.
    #[error("{} or its .meta file is missing, which {named_by} names", image.display())]
    NoMeta {
        /// The image.
        image: PathBuf,
        /// The file that names it.
        named_by: String,
    },
    /// An image that no `.meta` file describes.
    #[error("{} has no .meta file", image.display())]
    Undescribed {
        /// The image.
        image: PathBuf,
    },
    /// A `.meta` file of which the image is gone.
    #[error("{} is missing: only its .meta file is there", image.display())]
    ImageMissing {
        /// The image.
        image: PathBuf,
    },
    /// The parents of a layer lead back to it.
    #[error("the chain leads back to {}", layer.display())]
    Cycle {
        /// The layer.
        layer: PathBuf,
    },
    /// The newest layer is larger than the volume.
    #[error("{} has {layer_size} bytes, more than the {size} of its volume", layer.display())]
    LargerThanVolume {
        /// The layer.
        layer: PathBuf,
        /// In bytes.
        layer_size: u64,
        /// Of the volume, in bytes.
        size: u64,
    },
    /// The replica is a copy that was not completed.
    #[error("{} is not complete: it was being rebuilt", directory.display())]
    Rebuilding {
        /// The directory.
        directory: PathBuf,
    },
    /// The volume reads through an image that is elsewhere.
    #[error("{} stands on the backing image {}", directory.display(), backing.display())]
    NeedsBacking {
        /// The directory.
        directory: PathBuf,
        /// The image, as the directory names it.
        backing: PathBuf,
    },
    /// The directory does not say any more that this rebuild goes on: another has begun, or an engine.
    #[error("volume.meta of {} is not that of this copy any more", directory.display())]
    Overtaken {
        /// The directory.
        directory: PathBuf,
    },
    /// A file that no replica has was to be written or removed.
    #[error("{name} is no file of a replica, in {}", directory.display())]
    NotOurs {
        /// The directory.
        directory: PathBuf,
        /// The name.
        name: String,
    },
    /// A squash of no more than one layer.
    #[error("one layer is one already")]
    OneLayer,
    /// A layer that does not stand on the one that it is to become one with.
    #[error("{} does not stand on {}", new.display(), old.display())]
    NotAbove {
        /// The layer that was named as the oldest.
        old: PathBuf,
        /// The one that was named as the newest.
        new: PathBuf,
    },
    /// Another layer stands on one that is to go.
    #[error("{} is the parent of {other} as well", layer.display())]
    OtherChild {
        /// The layer.
        layer: PathBuf,
        /// The name of the other one.
        other: String,
    },
    /// The layer that the volume is written to is to go.
    #[error("{} is the head of its volume", layer.display())]
    IsHead {
        /// The layer.
        layer: PathBuf,
    },
    /// An image in a list of layers that a directory describes.
    #[error("{} is described by a .meta file", layer.display())]
    Described {
        /// The layer.
        layer: PathBuf,
    },
    /// A file that cannot take the name of another.
    #[error("{} and {} are not on one mounted filesystem", old.display(), new.display())]
    Apart {
        /// The oldest layer.
        old: PathBuf,
        /// The newest.
        new: PathBuf,
    },
    /// A layer that would be lost with what it holds.
    #[error("{} has something at {range} that {} does not hide", layer.display(), new.display())]
    NotHidden {
        /// The layer.
        layer: PathBuf,
        /// What takes the place of both.
        new: PathBuf,
        /// Where.
        range: Range,
    },
    /// Two layers are one file, as a squash leaves its oldest and its newest when it is interrupted at its end.
    #[error("{} and {} are one file: a squash of the one to the other was interrupted", old.display(), new.display())]
    HalfSquashed {
        /// The oldest layer of that squash.
        old: PathBuf,
        /// The newest, which is complete.
        new: PathBuf,
    },
    /// Two layers are one file.
    #[error("{} and {} are one file", layer.display(), other.display())]
    OneFile {
        /// The layer.
        layer: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A layer that is to be written has another name.
    #[error("{} has another name too, by which it would be written as well", layer.display())]
    Linked {
        /// The layer.
        layer: PathBuf,
    },
    /// A backing image in a format that is not read here.
    #[error("{} is a qcow2 image, not a raw one", backing.display())]
    NotRaw {
        /// The image.
        backing: PathBuf,
    },
}

impl ChainError {
    /// What the person who reads the error can do.
    pub fn remedy(&self) -> String {
        let remedy = match self {
            Self::NotAReplica { .. } => {
                "name the directory of one replica, like replicas/VOLUME-1a2b3c4d"
            }
            Self::NoLayers | Self::OneLayer => "name the images from the oldest to the newest",
            Self::NoOldest { .. } => {
                "nothing, if this squash was run before: it is complete; else check the names"
            }
            Self::NoLayer { layers, .. } if layers.is_empty() => "it has no layers",
            Self::LargerThanVolume { .. } => "compare volume.meta with that of another replica",
            Self::Rebuilding { .. } => {
                "run the copy to it again that was interrupted, or use another replica"
            }
            Self::NeedsBacking { .. } => "name a raw copy of it",
            Self::Overtaken { .. } => "see whether another copy, or an engine, is at work there",
            Self::NotOurs { .. } => "leave it alone: the other end asks for what it should not",
            Self::NotAbove { .. } => "name two layers of one chain, the older one first",
            Self::IsHead { .. } => "let the head be the newest layer, or leave it out",
            Self::Described { .. } => "name the replica directory, and two of its layers",
            Self::Apart { .. } => "move the layers to one filesystem",
            Self::HalfSquashed { .. } | Self::OneFile { .. } => {
                "run the squash again that was interrupted: it completes it"
            }
            Self::NoLayer { .. }
            | Self::NoMeta { .. }
            | Self::Undescribed { .. }
            | Self::ImageMissing { .. }
            | Self::Cycle { .. }
            | Self::OtherChild { .. }
            | Self::NotHidden { .. }
            | Self::Linked { .. }
            | Self::NotRaw { .. } => return self.remedy_by_name(),
        };
        remedy.to_owned()
    }

    /// The same, of those whose remedy names a file.
    fn remedy_by_name(&self) -> String {
        match self {
            Self::NoLayer { layers, .. } => format!("name one of {}", layers.join(", ")),
            Self::NoMeta { image, .. } => {
                format!("bring {} back from another replica, with its .meta file", name(image))
            }
            Self::Undescribed { image } => {
                let image = name(image);
                format!("copy {image}.meta from another replica, or move {image} elsewhere")
            }
            Self::ImageMissing { image } => format!(
                "run the squash again that was interrupted, if there was one, or bring {} back from \
                 another replica",
                name(image)
            ),
            Self::Cycle { layer } => {
                format!("restore the .meta files from another replica, {}.meta first", name(layer))
            }
            Self::OtherChild { other, .. } => {
                format!("remove {other} first, or choose layers that nothing else stands on")
            }
            Self::NotHidden { layer, .. } => {
                format!("keep {}: no squash has left it behind", name(layer))
            }
            Self::Linked { layer } => format!(
                "find the other name (find -samefile {}), and copy the file to have one of its own",
                layer.display()
            ),
            Self::NotRaw { backing } => {
                format!("make it raw: qemu-img convert -O raw {} OUT", backing.display())
            }
            _ => String::new(),
        }
    }
}

fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
