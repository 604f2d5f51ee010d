//! Commands on directories of images: `partials`.

use std::path::PathBuf;

/// List what interrupted sessions left under a directory, or remove it.
///
/// An interrupted sync leaves the part of a new image (.NAME.lacuna-data) and a record of how far it is
/// complete (.NAME.lacuna-partial): the same sync goes on with them, and whoever does not want that
/// removes them here. A record, a mark or a .checksum that was being written may be left as a draft
/// (.lacuna-draft): it is worth nothing. A link is another name of a layer that a squash was to put in the
/// place of NAME: the layer stays. All of these are listed, and removed with --remove.
///
/// What a running session has locked is shown as in use, and stays. So does every mark
/// (.NAME.lacuna-unfinished): the image NAME is half written. Run the same sync, fold, prune or squash again: it
/// completes the image and removes the mark.
///
/// DIR is looked through with all directories below it, on its own filesystem only: what is mounted below
/// is left out. Symbolic links are not followed, except for DIR itself. Directories that may not be read
/// are named and left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna partials /srv/images\n  \
    lacuna partials --remove /srv/images")]
pub(crate) struct PartialsArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Remove what is left, but for what is in use and for marks
    #[arg(long)]
    pub(crate) remove: bool,
    /// Only list, as without --remove
    #[arg(long)]
    pub(crate) dry_run: bool,
}
