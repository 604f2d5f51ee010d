//! `serve`.

use std::path::PathBuf;

use super::{IoArgs, jobs};

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
