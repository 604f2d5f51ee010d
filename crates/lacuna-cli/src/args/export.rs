//! `export`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::TransferArgs;

/// Write what a snapshot chain reads as to an image: all layers as one.
///
/// SRC is the directory of one Longhorn replica: no cluster, no engine, no container is needed, and nothing in
/// it is written. DST is anything that `lacuna sync` takes: a file, a block device, an image on another
/// machine. Only what differs from a DST that is there is written or sent, holes stay holes, and no temporary
/// space is needed. An export that was interrupted goes on when the same command is run again.
///
/// SRC may also be the layers themselves, from the oldest to the newest, whatever .meta files say.
///
/// The volume is as large as volume.meta says, a snapshot as large as it was then. A directory is refused whose
/// files another process has open for writing, and one whose copy was never completed (Rebuilding).
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "lacuna export [OPTIONS] SRC... DST",
    after_help = "Examples:\n  \
    lacuna export /var/lib/longhorn/replicas/pvc-1a2b-0f3c9a7e disk.img\n  \
    lacuna export --snapshot before-upgrade replicas/pvc-1a2b-0f3c9a7e node2:/srv/disk.img\n  \
    lacuna export --backing base.raw replicas/pvc-1a2b-0f3c9a7e /dev/sdx\n  \
    lacuna export base.img middle.img newest.img disk.img"
)]
pub(crate) struct ExportArgs {
    /// A replica directory, or the layers from the oldest to the newest; and behind them what is to become
    /// equal: a path, HOST:PATH, lacuna://, lacunas:// or ssync://
    #[arg(value_name = "SRC... DST", required = true)]
    pub(crate) names: Vec<OsString>,
    /// The volume as it was at this snapshot, instead of now
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// The raw image that the oldest layer stands on
    #[arg(long, value_name = "FILE")]
    pub(crate) backing: Option<PathBuf>,
    /// Read though others have the files open for writing (what they write meanwhile fails the export, once it
    /// is noticed) or though the replica was never completed (what had not arrived is missing)
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}
