//! Options that mean nothing for what is synced, or for the way that it goes: mistakes, not decoration.

use lacuna_sync::v2::Reach;

use crate::args::TransferArgs;
use crate::failure::Usage;

/// What becomes equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Image,
    Directory,
}

/// The way that it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Via<'a> {
    Paths,
    V1,
    V2(&'a Reach),
}

const NOT_V1: &str = "all but ssync:// targets";
const REMOTE: &str = "HOST:PATH, lacuna:// and lacunas://";

/// Fails when `args` has one of them.
pub(crate) fn refuse(args: &TransferArgs, what: What, via: Via<'_>) -> Result<(), Usage> {
    let is_image = what == What::Image;
    let (local, v1, v2) = match via {
        Via::Paths => (true, false, false),
        Via::V1 => (false, true, false),
        Via::V2(_) => (false, false, true),
    };
    let ssh = matches!(via, Via::V2(Reach::Command { .. }));
    let tls = matches!(via, Via::V2(Reach::Tls { .. }));
    let options = [
        ("--connect-timeout", args.connect_timeout.is_some(), !local && !ssh, "servers"),
        ("--retries", args.retries.is_some(), !local, "servers"),
        ("--no-fast", args.no_fast, v1, "ssync:// targets"),
        ("--no-resume", args.no_resume, !v1, NOT_V1),
        ("--chmod", args.chmod.is_some(), is_image, "images"),
        ("--chmod", args.chmod.is_some(), !v1, NOT_V1),
        ("--reflink", args.reflink.is_some(), local, "paths on this machine"),
        ("--compress", args.compress.is_some(), v2, REMOTE),
        ("--bwlimit", args.bwlimit.is_some(), v2, REMOTE),
        ("--verify", args.verify, v2, REMOTE),
        ("--token-file", args.token_file.is_some(), v2 && !ssh, "lacuna:// and lacunas://"),
        ("--tls-ca", args.tls_ca.is_some(), tls, "lacunas://"),
        ("--rsh", args.rsh.is_some(), ssh, "HOST:PATH"),
        ("--remote-command", args.remote_command.is_some(), ssh, "HOST:PATH"),
        ("--compare", args.compare, !v1, NOT_V1),
    ];
    match options.iter().find(|(_, given, known, _)| *given && !known) {
        Some((option, _, _, other)) => Err(Usage(format!("{option} is for {other} only"))),
        None => Ok(()),
    }
}
