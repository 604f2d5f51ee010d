//! Commands on images that stand for themselves: `map`, `diff`, `dig` and `hash`.

use std::path::PathBuf;

use clap::ValueEnum;
use lacuna::hash::Method;

use super::WorkArgs;

/// Show the layout of an image: what is data, zero or hole.
///
/// data is allocated and written, zero is allocated and was never written, hole is not allocated. Both
/// of the latter read as zeros; in a snapshot layer a hole lets the parent show and zero hides it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lacuna map disk.img\n  lacuna map --extents disk.img\n  \
    lacuna map --json --extents disk.img")]
pub(crate) struct MapArgs {
    /// The image: a file or a block device
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// List every extent
    #[arg(long)]
    pub(crate) extents: bool,
}

/// Show where two images differ, in content or in kind.
///
/// The kinds are data, zero and hole. Two blocks with the same bytes differ when one of them is a hole
/// and the other is allocated: in a snapshot layer they mean different things. Different sizes are a
/// difference, too. Only data is read, and not where both images are at one place on the disk.
///
/// Exit status: 0 the same, 1 different, 2 trouble.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna diff disk.img copy.img\n  \
    lacuna diff --ranges disk.img copy.img\n  \
    lacuna diff --quiet disk.img copy.img && echo the same")]
pub(crate) struct DiffArgs {
    /// An image: a file or a block device
    #[arg(value_name = "A")]
    pub(crate) left: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    pub(crate) right: PathBuf,
    /// List every range that differs
    #[arg(long)]
    pub(crate) ranges: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Turn blocks of zeros, and space that was never written, into holes.
///
/// What is read stays the same at every instant; space is given back. Not for a layer of a snapshot
/// chain, where zeros hide what the parent has and a hole would show it: such an image is refused, as
/// far as its name and the .meta files beside it tell. May be interrupted at any time. Nobody
/// else may have the image open; who opens it meanwhile is noticed, and a reader let in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lacuna dig --dry-run disk.img\n  lacuna dig disk.img")]
pub(crate) struct DigArgs {
    /// The image: a file or a block device
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Only tell how much would become holes: reads all data, writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Dig although the image is a layer of a chain: what it hides of its parent will show
    #[arg(long)]
    pub(crate) force_layer: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// Print the digest of an image; write or check the .checksum file that Longhorn keeps beside it.
///
/// The digest covers the whole size, holes and unwritten space as zeros; only data is read. The line is
/// that of sha512sum: DIGEST, two spaces, NAME. With --layout it is a receipt, which covers size, kinds
/// and content: two images with the same receipt are the same as `lacuna diff` sees them.
///
/// A .checksum file is sound when it speaks of the image as it is and is right; stale when the image
/// was changed after it was written, by its change time; corrupt when the bytes are others and the
/// change time is not; or it is missing. Exit status with --check: 0 sound, 1 otherwise, 2 trouble.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna hash disk.img\n  \
    lacuna hash --method sha512 disk.img\n  \
    lacuna hash --write volume-snap-1.img\n  \
    lacuna hash --check volume-snap-1.img\n  \
    lacuna hash --layout disk.img")]
pub(crate) struct HashArgs {
    /// The image: a file or a block device
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Which digest [default: crc64]
    #[arg(long, value_name = "METHOD", value_enum)]
    pub(crate) method: Option<HashMethod>,
    /// Make the image durable and write IMAGE.checksum, by crc64
    #[arg(long)]
    pub(crate) write: bool,
    /// With --write: only tell what would be read and written
    #[arg(long, requires = "write")]
    pub(crate) dry_run: bool,
    /// Tell whether IMAGE.checksum holds: sound, stale, corrupt or missing
    #[arg(long, conflicts_with_all = ["write", "dry_run"])]
    pub(crate) check: bool,
    /// Print a receipt of size, kinds and content
    #[arg(long, conflicts_with_all = ["method", "write", "check", "dry_run"])]
    pub(crate) layout: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// The digests, as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashMethod {
    /// Longhorn's CRC-64
    Crc64,
    /// SHA-512, as sha512sum
    Sha512,
    /// BLAKE3, as b3sum
    Blake3,
}

impl From<HashMethod> for Method {
    fn from(method: HashMethod) -> Self {
        match method {
            HashMethod::Crc64 => Self::Crc64,
            HashMethod::Sha512 => Self::Sha512,
            HashMethod::Blake3 => Self::Blake3,
        }
    }
}
