//! What the person who reads an error can do.

use std::io;
use std::path::Path;

use super::Error;

impl Error {
    /// What the person who reads the error can do.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, .. } => return io_remedy(source).map(str::to_owned),
            Self::NotAnImage { what, .. } if what.contains("directory") => IN_DIRECTORY,
            Self::NotAnImage { .. } => "name a regular file or a block device",
            Self::SameFile { .. } => "name two different images",
            Self::Busy { .. } => "wait for the other process to finish, or stop it",
            Self::Replaced { .. } => "run the command again",
            Self::Changed { .. } => {
                "stop what writes to it, or take a snapshot of it, and run again"
            }
            Self::NotDirect { .. } => "use buffered I/O",
            Self::NotReflinked { .. } => "use two files on one XFS or btrfs, or copy",
            Self::NoLayout { .. } => "move the layers to ext4, XFS or btrfs",
            Self::LargeBlocks { .. } => "move the layers to a filesystem with blocks of 4096 bytes",
            Self::LargerParent { .. } => LARGER_PARENT,
            Self::NotItsParent { .. } | Self::SharedParent { .. } => WRONG_CHAIN,
            Self::IsLayer { .. } => ZEROS_HIDE,
            Self::NoSpace { .. } => "free some space",
            Self::OpenForWriting { path } | Self::OpenElsewhere { path } => {
                return Some(in_use(path));
            }
            Self::OpenedMeanwhile { .. } => "check what it wrote there: it may be lost",
            Self::Unfinished { mark, .. } => return Some(unfinished(mark)),
            Self::DanglingLink { .. } => "name the file itself, or remove the link",
            Self::TooSmall { .. } => "choose a larger device",
            Self::KindsDiffer { .. } => NO_KINDS,
            Self::NotAllMoved { .. } => "keep the child, and report this: it is a fault of lacuna",
            Self::Malformed { path, .. } => malformed_remedy(path),
            Self::Chain(error) => return Some(error.remedy()),
            Self::Cancelled => "run the same command again to go on",
        };
        Some(text.to_owned())
    }
}

const IN_DIRECTORY: &str = "name the image file inside it";
const LARGER_PARENT: &str = "check which is the child: its parent is never larger, unless the child \
    was cut short after a fold had begun; make it as large again then (truncate -s). If a squash was \
    interrupted, run it again";
const WRONG_CHAIN: &str = "check the chain; if the .meta files are wrong, they can be overridden";
const ZEROS_HIDE: &str =
    "leave it: its zeros hide its parent; if it stands alone, that can be overridden";
const NO_KINDS: &str =
    "write to a filesystem that keeps holes and unwritten extents: ext4, XFS or btrfs";

fn in_use(path: &Path) -> String {
    format!("stop what has it open (fuser -v {}), and run again", path.display())
}

fn unfinished(mark: &Path) -> String {
    format!("repeat what was interrupted, as {} tells", mark.display())
}

fn io_remedy(error: &io::Error) -> Option<&'static str> {
    // Its kind has no stable name.
    if rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::LOOP) {
        return Some("mend or remove the symbolic link");
    }
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check the permissions, or run as a user who has them",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and run the same command again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the filesystem for writing",
        io::ErrorKind::FileTooLarge => "choose a filesystem that holds files of this size",
        io::ErrorKind::ResourceBusy => "unmount the device, or stop what uses it",
        io::ErrorKind::NotADirectory => "check the path: a part of it is a file",
        io::ErrorKind::InvalidFilename => "choose a shorter name",
        io::ErrorKind::AlreadyExists => {
            "move the file of this name away and run the same command again"
        }
        io::ErrorKind::Unsupported => "choose a filesystem that can do this: ext4, XFS or btrfs",
        _ => return None,
    })
}

fn malformed_remedy(path: &Path) -> &'static str {
    let is = |end: &str| path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes());
    if is(".meta") {
        "restore it from whoever keeps the chain"
    } else if is(".lacuna-unfinished") {
        "keep it, and do not use the image beside it before what it speaks of was repeated"
    } else {
        "remove the file if nothing else explains it"
    }
}
