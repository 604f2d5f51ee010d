//! `sync` and `serve`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{IoArgs, ReflinkChoice, jobs};

const TO_PATH: &str = "When DST is a path";
const TO_SERVER: &str = "When DST is a server";

/// Make DST equal to SRC: content, holes and unwritten space.
///
/// DST is a path on this machine, or ssync://HOST[:PORT] for a server that speaks Longhorn's ssync
/// protocol: `lacuna serve --once FILE`, or Longhorn's own `ssync -daemon FILE`. It carries no
/// encryption and no password. Over it, unwritten space arrives as data that is zero, and of ranges of
/// up to 1 MiB those that differ are sent whole.
///
/// On this machine only what differs is written. A new target appears under its name when it is
/// complete and durable, here and behind `lacuna serve`; Longhorn's daemon writes in place. A sync to
/// a path that was interrupted goes on where it stopped when the same command is run again. To a
/// server, start that again first: then the same command compares and goes on.
///
/// With --direct to a server, the size of SRC must be a multiple of 4096.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna sync disk.img backup/disk.img\n  \
    lacuna sync disk.img ssync://node2:5000\n  \
    lacuna sync --dry-run disk.img /dev/sdx")]
pub(crate) struct SyncArgs {
    /// The image to read: a file or a block device
    #[arg(value_name = "SRC")]
    pub(crate) source: OsString,
    /// What is to become equal: a file, a block device, or ssync://HOST[:PORT]
    #[arg(value_name = "DST")]
    pub(crate) target: OsString,
    /// Only tell what would be done, from the layouts; write and send nothing. A server is not asked:
    /// it is taken to have nothing yet
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) io: IoArgs,
    /// Ranges copied, or requests in flight, at the same time
    /// [default: 2 on this machine, 32 to a server]
    #[arg(long, value_name = "N", value_parser = jobs())]
    pub(crate) jobs: Option<u16>,
    /// Trust nothing of what an interrupted sync left: compare all of it
    #[arg(long, help_heading = TO_PATH)]
    pub(crate) no_resume: bool,
    /// Permission bits of a new target, in octal [default: those of SRC, less the umask]
    #[arg(long, value_name = "MODE", value_parser = octal, help_heading = TO_PATH)]
    pub(crate) chmod: Option<u32>,
    /// Whether DST shares the space of SRC where both are on one XFS or btrfs [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, help_heading = TO_PATH)]
    pub(crate) reflink: Option<ReflinkChoice>,
    /// For how many seconds to try to reach the server [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = TO_SERVER)]
    pub(crate) connect_timeout: Option<u32>,
    /// How often to repeat a request that failed, with growing pauses [default: 0]
    #[arg(long, value_name = "N", help_heading = TO_SERVER)]
    pub(crate) retries: Option<u32>,
    /// Compare even when both sides have equal, fresh .checksum files
    #[arg(long, help_heading = TO_SERVER)]
    pub(crate) no_fast: bool,
}

/// Receive one image from a client that speaks Longhorn's ssync protocol, then exit.
///
/// The client is `lacuna sync SRC ssync://HOST:PORT` or Longhorn's own `ssync -host HOST SRC`. The
/// protocol has no encryption and no password: whoever reaches the port may write FILE.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lacuna serve --once disk.img --listen 127.0.0.1:5000")]
pub(crate) struct ServeArgs {
    /// The image to receive; created when it does not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) once: PathBuf,
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    pub(crate) listen: String,
    /// Listen beyond this machine, though nothing protects the connection
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Exit when no request came for so many seconds, at least 1
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) idle_timeout: u32,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("permission bits are octal, like 640".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal("640"), Ok(0o640));
        assert!(octal("8").is_err());
        assert!(octal("17777").is_err());
    }
}
