//! The kinds of filesystem, and how each is made.

use std::fmt;
use std::fs::File;
use std::path::Path;

use super::MountOptions;
use crate::host::{may_mount, run, tool};

/// A kind of filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fs {
    /// ext4 with blocks of 4096 bytes. (The default of `mkfs.ext4` on a disk this small is 1024.)
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// tmpfs: no FIEMAP, and no `Zero`.
    Tmpfs,
}

impl Fs {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Tmpfs];

    /// Whether a file on it can hold [`Kind::Zero`](crate::pattern::Kind::Zero): blocks that are
    /// allocated, unwritten, and seen to be so.
    pub fn has_zero(self) -> bool {
        self != Self::Tmpfs
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// What this machine lacks to mount one.
    pub(super) fn lacks(self) -> Option<String> {
        if !may_mount() {
            return Some("root".to_owned());
        }
        if self == Self::Tmpfs {
            return None;
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("loop devices".to_owned());
        }
        // filefrag is what the extents are compared with.
        let mkfs = format!("mkfs.{self}");
        ["filefrag", &mkfs].into_iter().find(|name| tool(name).is_none()).map(str::to_owned)
    }

    /// Makes an empty one in a new sparse file.
    pub(super) fn make(self, disk: &Path, options: &MountOptions) {
        let (least_mib, arguments): (u64, &[&str]) = match self {
            Self::Ext4 => (8, &["-q", "-F", "-b", "4096"]),
            Self::Xfs => (300, &["-q", "-f"]),
            Self::Btrfs => (128, &["-q", "-f"]),
            Self::Tmpfs => return,
        };
        let size = options.size_mib.max(least_mib) << 20;
        File::create_new(disk).and_then(|file| file.set_len(size)).expect("make a disk");
        run(&format!("mkfs.{self}"), |command| {
            command.args(arguments).args(&options.mkfs).arg(disk)
        })
        .unwrap_or_else(|error| panic!("make a {self}: {error}"));
    }

    /// The argument of `mount -o`.
    pub(super) fn mount_options(self, options: &MountOptions) -> String {
        let own = match self {
            Self::Tmpfs => format!("size={}m", options.size_mib),
            _ => "loop".to_owned(),
        };
        [&[own], options.mount.as_slice()].concat().join(",")
    }
}

impl fmt::Display for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
