//! What `sync` and `export` have in common.

use std::num::NonZeroU64;
use std::path::PathBuf;

use lacuna_sync::v2::LEAST_RATE;

use super::{IoArgs, ReflinkChoice, jobs};

const NOT_V1: &str = "When DST is not ssync://";
const TO_PATH: &str = "When SRC and DST are paths";
const TO_SERVER: &str = "When DST or SRC is a server";
const TO_LACUNA: &str = "When DST or SRC is HOST:PATH, lacuna:// or lacunas://";

/// How a source becomes a target.
#[derive(Debug, clap::Args)]
pub(crate) struct TransferArgs {
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
