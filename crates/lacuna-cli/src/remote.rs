//! Syncs with a server of lacuna's own.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use lacuna::Links;
use lacuna::copy::CopyPlan;
use lacuna_sync::v2::{self, Dry, Landing, LinkOptions, Reach, Remote, SyncOptions, Synced, Token};

use crate::args::TransferArgs;
use crate::endpoint::Endpoint;
use crate::failure::Usage;
use crate::meter::attended;
use crate::output::Output;
use crate::report::Report;
use crate::sync::Origin;

/// Over ssh, the command there.
const COMMAND: &str = "lacuna";

/// The server that `image` is behind, which is not on this machine. The token is not read yet.
pub(crate) fn at(args: &TransferArgs, image: Endpoint) -> anyhow::Result<Remote> {
    let (reach, path) = match image {
        Endpoint::Lacuna { address, path, tls: false } => (Reach::Tcp(address), path),
        Endpoint::Lacuna { address, path, tls: true } => {
            (Reach::Tls { address, trusted: args.tls_ca.clone() }, path)
        }
        Endpoint::Ssh { host, path } => {
            let words = words(args, &host)?;
            (Reach::Command { words, host }, path)
        }
        Endpoint::Path(_) | Endpoint::Ssync(_) => {
            return Err(Usage("that is no image behind a server of lacuna's own".to_owned()).into());
        }
    };
    Ok(Remote { reach, path: path.into_bytes(), token: None, insecure: false })
}

/// The command that runs lacuna on `host`.
fn words(args: &TransferArgs, host: &str) -> Result<Vec<OsString>, Usage> {
    let rsh = args.rsh.as_deref().unwrap_or("ssh");
    let words = shlex::split(rsh).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| {
        Usage(format!("--rsh '{rsh}' names no command, or a quote is not closed"))
    })?;
    let command = args.remote_command.as_deref().unwrap_or(COMMAND);
    let rest = [host, command, "serve", "--stdio"].map(str::to_owned);
    Ok(words.into_iter().chain(rest).map(OsString::from).collect())
}

/// With the token that a server may ask for.
pub(crate) fn admissible(args: &TransferArgs, remote: &Remote) -> anyhow::Result<Remote> {
    let token = token(args.token_file.as_deref())?;
    Ok(Remote { token, insecure: args.insecure, ..remote.clone() })
}

/// The first line of a file.
pub(crate) fn token(file: Option<&Path>) -> anyhow::Result<Option<Token>> {
    let Some(path) = file else { return Ok(None) };
    let text = std::fs::read(path).map_err(|error| lacuna::Error::io("read", path, error))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let wrong = |why: &str| Err(Usage(format!("{}: {why}", path.display())).into());
    match line.len() {
        0 => wrong("there is no token in the first line"),
        1..=Token::MAX => Ok(Some(line.to_vec().into())),
        _ => wrong(&format!("the token in the first line is longer than {} bytes", Token::MAX)),
    }
}

/// Makes the image behind a server what `origin` is.
pub(crate) fn push(
    args: &TransferArgs,
    origin: &Origin,
    remote: &Remote,
    output: &Output,
) -> anyhow::Result<Report> {
    let (remote, options) = (&admissible(args, remote)?, options(args));
    let pushed = attended(output, Some(remote.reach.peer()), |progress, cancel| {
        let source = origin.open(args.io.mode(), cancel).map_err(lacuna_sync::Error::from)?;
        v2::push(&source, remote, &options, progress, cancel)
    })?;
    Ok(report(pushed?))
}

/// Makes `target` what the image behind a server is.
pub(crate) fn pull(
    args: &TransferArgs,
    remote: &Remote,
    target: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    let (remote, options) = (&admissible(args, remote)?, options(args));
    let landing = landing(args, target);
    let pulled = attended(output, Some(remote.reach.peer()), |progress, cancel| {
        v2::pull(remote, &landing, &options, progress, cancel)
    })?;
    Ok(report(pulled?))
}

fn report((synced, wire_bytes): (Synced, u64)) -> Report {
    Report {
        protocol: "v2",
        size_bytes: synced.size_bytes,
        kinds: synced.kinds,
        read_bytes: synced.read_bytes,
        compared_bytes: synced.compared_bytes,
        sent_bytes: synced.sent_bytes,
        wire_bytes,
        written_bytes: synced.written_bytes,
        rest_bytes: synced.rest_bytes,
        target_layout_from: Some(synced.target_layout_from),
        receipt: Some(lacuna::digest::hex(&synced.receipt)),
        ..Report::default()
    }
}

/// What [`push`] would do.
pub(crate) fn plan_push(
    args: &TransferArgs,
    origin: &Origin,
    remote: &Remote,
    output: &Output,
) -> anyhow::Result<CopyPlan> {
    let (remote, options) = (&admissible(args, remote)?, options(args));
    Ok(attended(output, Some(remote.reach.peer()), |progress, cancel| {
        let source = origin.open(args.io.mode(), cancel).map_err(lacuna_sync::Error::from)?;
        v2::plan_push(&source, remote, dry(args), &options, progress, cancel)
    })??)
}

/// What [`pull`] would do.
pub(crate) fn plan_pull(
    args: &TransferArgs,
    remote: &Remote,
    target: &Path,
    output: &Output,
) -> anyhow::Result<CopyPlan> {
    let (remote, options) = (&admissible(args, remote)?, options(args));
    let landing = landing(args, target);
    Ok(attended(output, Some(remote.reach.peer()), |progress, cancel| {
        v2::plan_pull(remote, &landing, dry(args), &options, progress, cancel)
    })??)
}

pub(crate) fn dry(args: &TransferArgs) -> Dry {
    if args.compare { Dry::Compare } else { Dry::Plan }
}

fn landing(args: &TransferArgs, target: &Path) -> Landing {
    let (path, io) = (target.to_owned(), args.io.mode());
    Landing { path, io, links: Links::Follow, mode: args.chmod, rebuild: None }
}

pub(crate) fn options(args: &TransferArgs) -> SyncOptions {
    let defaults = SyncOptions::default();
    SyncOptions {
        threads: args.jobs.map_or(defaults.threads, usize::from),
        zstd: args.compress.map_or(defaults.zstd, |compression| compression.0),
        verify: args.verify,
        no_resume: args.no_resume,
        mode: args.chmod,
        rebuild: None,
        connect_timeout: args
            .connect_timeout
            .map_or(defaults.connect_timeout, |seconds| Duration::from_secs(seconds.into())),
        retries: args.retries.unwrap_or(defaults.retries),
        link: LinkOptions { rate: args.bwlimit, ..defaults.link },
    }
}
