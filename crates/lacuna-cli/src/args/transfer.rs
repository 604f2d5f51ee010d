//! `sync` and `serve`.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

use lacuna_sync::v2::LEAST_RATE;

use super::{IoArgs, ReflinkChoice, jobs};

const NOT_V1: &str = "When DST is not ssync://";
const TO_PATH: &str = "When SRC and DST are paths";
const TO_SERVER: &str = "When DST or SRC is a server";
const TO_LACUNA: &str = "When DST or SRC is HOST:PATH, lacuna:// or lacunas://";

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
/// With --direct to ssync://, the size of SRC must be a multiple of 4096.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna sync disk.img backup/disk.img\n  \
    lacuna sync disk.img lacuna://node2:5000/disk.img\n  \
    lacuna sync node2:/srv/disk.img disk.img\n  \
    lacuna sync --tls-ca ca.pem --token-file token disk.img lacunas://node2:5000/disk.img\n  \
    lacuna sync disk.img ssync://node2:5000\n  \
    lacuna sync --dry-run --compare disk.img /dev/sdx")]
pub(crate) struct SyncArgs {
    /// The image to read: a file, a block device, HOST:PATH, lacuna://HOST[:PORT]/PATH or lacunas://
    #[arg(value_name = "SRC")]
    pub(crate) source: OsString,
    /// What is to become equal: the same, or ssync://HOST[:PORT]
    #[arg(value_name = "DST")]
    pub(crate) target: OsString,
    /// Only tell what would be done, from the layouts; write nothing. A server of ssync:// is not asked:
    /// it is taken to have nothing yet
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: compare what both have, to tell exactly what would be written
    #[arg(long, requires = "dry_run")]
    pub(crate) compare: bool,
    #[command(flatten)]
    pub(crate) io: IoArgs,
    /// Ranges copied, or requests in flight, at the same time
    /// [default: 2 on this machine, 4 to another, 32 to ssync://]
    #[arg(long, value_name = "N", value_parser = jobs())]
    pub(crate) jobs: Option<u16>,
    /// Begin afresh: throw away what an interrupted sync left of a new DST. A DST that exists is compared
    /// all the same
    #[arg(long, help_heading = NOT_V1)]
    pub(crate) no_resume: bool,
    /// Permission bits of a new target, in octal [default: those of SRC, less the umask]
    #[arg(long, value_name = "MODE", value_parser = octal, help_heading = NOT_V1)]
    pub(crate) chmod: Option<u32>,
    /// Whether DST shares the space of SRC where both are on one XFS or btrfs [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, help_heading = TO_PATH)]
    pub(crate) reflink: Option<ReflinkChoice>,
    /// For how many seconds to try to reach the server [default: 10]
    #[arg(long, value_name = "SECONDS", help_heading = TO_SERVER)]
    pub(crate) connect_timeout: Option<u32>,
    /// How often to repeat a request, or a session that lost its connection, with growing pauses [default: 0]
    #[arg(long, value_name = "N", help_heading = TO_SERVER)]
    pub(crate) retries: Option<u32>,
    /// Compare even when both sides have equal, fresh .checksum files (ssync:// only)
    #[arg(long, help_heading = TO_SERVER)]
    pub(crate) no_fast: bool,
    /// Compress what is sent, at either end: zstd, zstd:LEVEL (1 to 19) or none; a server compresses at
    /// most at level 3 [default: zstd:1]
    #[arg(long, value_name = "HOW", value_parser = compression, help_heading = TO_LACUNA)]
    pub(crate) compress: Option<Compression>,
    /// Send and receive no more than so many bytes a second, at least 16K: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = TO_LACUNA)]
    pub(crate) bwlimit: Option<NonZeroU64>,
    /// Read DST again from the medium before it counts as done
    #[arg(long, help_heading = TO_LACUNA)]
    pub(crate) verify: bool,
    /// A file whose first line is the token that the server asks for
    #[arg(long, value_name = "FILE", help_heading = TO_LACUNA)]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token over lacuna:// though it can be read on the way
    #[arg(long, help_heading = TO_LACUNA, requires = "token_file")]
    pub(crate) insecure: bool,
    /// Certificates that may vouch for the server of lacunas://, as PEM, instead of the system's
    #[arg(long, value_name = "FILE", help_heading = TO_LACUNA)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// What takes HOST and a command to run there, for HOST:PATH [default: ssh]
    #[arg(short = 'e', long, value_name = "COMMAND", help_heading = TO_LACUNA)]
    pub(crate) rsh: Option<String>,
    /// How lacuna is called there; the shell of HOST reads it [default: lacuna]
    #[arg(long, value_name = "COMMAND", help_heading = TO_LACUNA)]
    pub(crate) remote_command: Option<String>,
}

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression(pub(crate) Option<u8>);

fn compression(text: &str) -> Result<Compression, String> {
    let level = match text.split_once(':') {
        _ if text == "none" => return Ok(Compression(None)),
        None if text == "zstd" => Some(1),
        Some(("zstd", level)) => level.parse().ok().filter(|level| (1..=19).contains(level)),
        _ => None,
    };
    match level {
        Some(level) => Ok(Compression(Some(level))),
        None => Err("write zstd, zstd:1 to zstd:19, or none".to_owned()),
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let (digits, unit) = match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
        digits if digits.len() < text.len() => text.split_at(digits.len()),
        digits => (digits, ""),
    };
    let unit: Option<u64> = match unit.to_ascii_uppercase().as_str() {
        "" => Some(1),
        "K" | "KIB" => Some(1 << 10),
        "M" | "MIB" => Some(1 << 20),
        "G" | "GIB" => Some(1 << 30),
        _ => None,
    };
    let rate =
        digits.parse::<u64>().ok().zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
    let rate = rate.filter(|rate| *rate >= LEAST_RATE).and_then(NonZeroU64::new);
    rate.ok_or_else(|| "write bytes a second, like 500K, 20M or 1G, at least 16K".to_owned())
}

/// Serve the images under a directory, or receive a single image and exit.
///
/// With --root, clients are `lacuna sync` to or from lacuna://HOST:PORT/PATH, where PATH is under DIR;
/// no name leads out of it. With --tls-cert and --tls-key they say lacunas://, and with --token-file
/// they must have the token. Beyond this machine, both are asked for. With --json, each session that has
/// ended is an object on standard output, one a line: `what`, `path`, `peer`, `direction`, `bytes`, `ok`,
/// `error` and `left`.
///
/// With --once, FILE is received from `lacuna sync SRC lacuna://HOST:PORT/NAME`, where NAME is that of
/// FILE, from `lacuna sync SRC ssync://HOST:PORT`, or from Longhorn's own `ssync -host HOST SRC`. The last
/// two have no encryption and no password: whoever reaches the port may write FILE. With a token or a
/// certificate they are sent away.
///
/// --stdio is what `lacuna sync` runs by ssh.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lacuna serve --root /srv/images --listen 127.0.0.1:5000\n  \
    lacuna serve --root /srv/images --listen 0.0.0.0:5000 \\\n      \
    --tls-cert cert.pem --tls-key key.pem --token-file token\n  \
    lacuna serve --once disk.img --listen 127.0.0.1:5000")]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["once", "root", "stdio"])))]
pub(crate) struct ServeArgs {
    /// The image to receive; created when it does not exist
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root", "stdio", "direct", "buffered"])]
    pub(crate) once: Option<PathBuf>,
    /// The directory under which clients name images
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Serve one client over standard input and output: without --root, with all that this user can
    /// reach
    #[arg(long, conflicts_with_all = ["listen", "insecure", "max_sessions", "token_file", "tls_cert"])]
    pub(crate) stdio: bool,
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5000")]
    pub(crate) listen: String,
    /// Listen beyond this machine though the connection is not protected by TLS and a token
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Exit when no request came for so many seconds, at least 1 [default: 300]
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with_all = ["root", "stdio"],
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) idle_timeout: Option<u32>,
    /// Let nobody write
    #[arg(long, conflicts_with = "once")]
    pub(crate) read_only: bool,
    /// Serve block devices under DIR too
    #[arg(long, requires = "root")]
    pub(crate) devices: bool,
    /// Sessions at the same time, of about 25 MiB of memory each (with 4 --jobs); more are sent away
    /// [default: 16]
    #[arg(long, value_name = "N", requires = "root", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_sessions: Option<u16>,
    #[command(flatten)]
    pub(crate) io: IoArgs,
    /// Threads for each kind of work, of each session [default: 4]
    #[arg(long, value_name = "N", value_parser = jobs(), conflicts_with = "once")]
    pub(crate) jobs: Option<u16>,
    /// Whether clients may have compressed what is sent either way: zstd, or none [default: zstd]
    #[arg(long, value_name = "HOW", value_parser = ["zstd", "none"], hide_possible_values = true,
          conflicts_with = "once")]
    pub(crate) compress: Option<String>,
    /// A file whose first line is the token that clients must have
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Speak TLS: the certificate of this server, and those that lead to its issuer, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
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
    fn a_rate_is_one_that_peers_have_patience_with() {
        let read = |text| rate(text).ok().map(NonZeroU64::get);
        assert_eq!(read("500K"), Some(500 << 10));
        assert_eq!(read("1gib"), Some(1 << 30));
        assert_eq!(read("16384"), Some(LEAST_RATE));
        for refused in ["16383", "15K", "0", "", "K", "1T", "99999999999G", "-1M"] {
            assert_eq!(read(refused), None, "{refused}");
        }
        assert!(rate("15K").unwrap_err().contains("at least 16K"));
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(octal("640"), Ok(0o640));
        assert!(octal("8").is_err());
        assert!(octal("17777").is_err());
    }
}
