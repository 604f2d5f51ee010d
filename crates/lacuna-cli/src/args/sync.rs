//! `sync`.

use std::ffi::OsString;

use super::TransferArgs;

/// Make DST equal to SRC: content, holes and unwritten space.
///
/// SRC and DST are paths on this machine, or one of them is on another: HOST:PATH or USER@HOST:PATH runs
/// `lacuna serve --stdio` there by ssh; lacuna://HOST[:PORT]/PATH is behind `lacuna serve --root`, and
/// lacunas:// is the same by TLS. Write ./a:b for a file whose name has a colon. Of what is there
/// already only the blocks that differ are sent, and both ends compute a receipt over size, kinds and
/// content before DST counts as done.
///
/// DST may also be ssync://HOST[:PORT] for a server that speaks Longhorn's ssync protocol: `lacuna
/// serve --once FILE`, or Longhorn's own `ssync -daemon FILE`. It carries no encryption and no
/// password. Over it, unwritten space arrives as data that is zero, and of ranges of up to 1 MiB those
/// that differ are sent whole.
///
/// On this machine only what differs is written. A new target appears under its name when it is
/// complete and durable, here and behind `lacuna serve`; Longhorn's daemon writes in place. A sync that
/// was interrupted goes on where it stopped when the same command is run again. To ssync://, start the
/// server again first: then the same command compares and goes on.
///
/// SRC may be the directory of a Longhorn replica, on another machine with a slash at its end: then DST becomes
/// the same, with all layers and what describes them. Until that is complete, its volume.meta says
/// `Rebuilding`. Layers that both have with equal, fresh .checksum files and equal layouts are not read; files of
/// a replica that SRC does not have are removed.
///
/// With --direct to ssync://, the size of SRC must be a multiple of 4096.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna sync disk.img backup/disk.img\n  \
    lacuna sync disk.img lacuna://node2:5000/disk.img\n  \
    lacuna sync node2:/srv/disk.img disk.img\n  \
    lacuna sync --tls-ca ca.pem --token-file token disk.img lacunas://node2:5000/disk.img\n  \
    lacuna sync disk.img ssync://node2:5000\n  \
    lacuna sync replicas/pvc-1a2b-0f3c9a7e node2:/srv/replicas/pvc-1a2b-0f3c9a7e\n  \
    lacuna sync --dry-run --compare disk.img /dev/sdx")]
pub(crate) struct SyncArgs {
    /// The image to read: a file, a block device, HOST:PATH, lacuna://HOST[:PORT]/PATH or lacunas://. Or a
    /// replica directory: a path, or one of the others with a slash at its end
    #[arg(value_name = "SRC")]
    pub(crate) source: OsString,
    /// What is to become equal: an image, named in the same ways or by ssync://HOST[:PORT]; for a replica
    /// directory another one, with or without the slash
    #[arg(value_name = "DST")]
    pub(crate) target: OsString,
    /// When SRC is a replica directory: copy it though others have its files open for writing (what they write
    /// meanwhile fails the copy, once it is noticed), though it is not complete itself, or though its filesystem
    /// has no FIEMAP (zeros that were never written become holes, and show what the layers below have)
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}
