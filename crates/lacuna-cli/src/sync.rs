//! `lacuna sync`: make one image equal to another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::Progress;
use lacuna::copy::{self, CopyOptions, CopyPlan};
use lacuna_sync::v1::{self, SyncOptions};
use lacuna_sync::v2::{Reach, Remote};

use crate::args::SyncArgs;
use crate::endpoint::{self, Endpoint};
use crate::failure::{Interrupted, Usage, of_session, unless_stopped};
use crate::meter::{Meter, attended};
use crate::output::Output;
use crate::remedy::{BEGIN_ANEW, GO_ON, SERVER_AGAIN};
use crate::report::{DryRun, Report};
use crate::{remote, signals};

/// Which way an image goes.
enum Way {
    Local(PathBuf, PathBuf),
    V1(PathBuf, String),
    Push(PathBuf, Remote),
    Pull(Remote, PathBuf),
}

pub(crate) fn run(args: &SyncArgs, output: &Output) -> anyhow::Result<()> {
    let way = way(args)?;
    refuse_strangers(args, &way)?;
    if args.dry_run {
        return dry_run(args, &way, output);
    }
    let begun = Instant::now();
    let (synced, remedy) = match &way {
        Way::Local(source, target) => (to_path(args, source, target, output), GO_ON),
        Way::V1(source, address) => (to_server(args, source, address, output), SERVER_AGAIN),
        Way::Push(source, remote) => (remote::push(args, source, remote, output), GO_ON),
        Way::Pull(remote, target) => (remote::pull(args, remote, target, output), GO_ON),
    };
    let (source, target) = (args.source.display().to_string(), args.target.display().to_string());
    let operation = format!("sync of {source} to {target}");
    let synced = synced.map_err(|error| named(error, &way, operation, remedy));
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    let report = Report { source, target, elapsed_seconds, ..synced? };
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.target)))?)
}

/// Names `operation` where an error does not: what goes wrong at the other end, or on the way there, names
/// no image of this one.
fn named(
    error: anyhow::Error,
    way: &Way,
    operation: String,
    remedy: &'static str,
) -> anyhow::Error {
    let error = unless_stopped(error, operation.clone(), remedy);
    match way {
        Way::Push(..) | Way::Pull(..) if !error.is::<Interrupted>() && !error.is::<Usage>() => {
            error.context(operation)
        }
        _ => error,
    }
}

fn way(args: &SyncArgs) -> anyhow::Result<Way> {
    let source = endpoint::parse(&args.source).map_err(Usage)?;
    let target = endpoint::parse(&args.target).map_err(Usage)?;
    match (source, target) {
        (Endpoint::Path(source), Endpoint::Path(target)) => Ok(Way::Local(source, target)),
        (Endpoint::Path(source), Endpoint::Ssync(address)) => Ok(Way::V1(source, address)),
        (Endpoint::Path(source), target) => Ok(Way::Push(source, remote::at(args, target)?)),
        (Endpoint::Ssync(_), _) => {
            let why = "a server of ssync:// can only be the target: name an image on this machine \
                or lacuna://HOST:PORT/PATH as SRC";
            Err(Usage(why.to_owned()).into())
        }
        (source, Endpoint::Path(target)) => Ok(Way::Pull(remote::at(args, source)?, target)),
        _ => {
            let why = "one of SRC and DST must be a path on this machine";
            Err(Usage(why.to_owned()).into())
        }
    }
}

/// Options that a way knows nothing of are mistakes, not decoration.
fn refuse_strangers(args: &SyncArgs, way: &Way) -> Result<(), Usage> {
    if let (Way::Push(..), Some(mode @ 0o1000..)) = (way, args.chmod) {
        return Err(Usage(format!(
            "--chmod {mode:o}: a server gives no image more than 777, never setuid, setgid or sticky"
        )));
    }
    const PATHS: &str = "paths on this machine";
    const SERVERS: &str = "servers";
    const REMOTE: &str = "images on other machines";
    let reach = match way {
        Way::Push(_, remote) | Way::Pull(remote, _) => Some(&remote.reach),
        Way::Local(..) | Way::V1(..) => None,
    };
    let (local, v1, v2) =
        (matches!(way, Way::Local(..)), matches!(way, Way::V1(..)), reach.is_some());
    let ssh = matches!(reach, Some(Reach::Command { .. }));
    let tls = matches!(reach, Some(Reach::Tls { .. }));
    let options = [
        ("--connect-timeout", args.connect_timeout.is_some(), !local && !ssh, SERVERS),
        ("--retries", args.retries.is_some(), !local, SERVERS),
        ("--no-fast", args.no_fast, v1, "ssync:// targets"),
        ("--no-resume", args.no_resume, !v1, "all but ssync:// targets"),
        ("--chmod", args.chmod.is_some(), !v1, "all but ssync:// targets"),
        ("--reflink", args.reflink.is_some(), local, PATHS),
        ("--compress", args.compress.is_some(), v2, REMOTE),
        ("--bwlimit", args.bwlimit.is_some(), v2, REMOTE),
        ("--verify", args.verify, v2, REMOTE),
        ("--token-file", args.token_file.is_some(), v2 && !ssh, "lacuna:// and lacunas:// images"),
        ("--tls-ca", args.tls_ca.is_some(), tls, "lacunas:// images"),
        ("--rsh", args.rsh.is_some(), ssh, "HOST:PATH images"),
        ("--remote-command", args.remote_command.is_some(), ssh, "HOST:PATH images"),
        ("--compare", args.compare, !v1, "all but ssync:// targets"),
    ];
    match options.iter().find(|(_, given, known, _)| *given && !known) {
        Some((option, _, _, other)) => Err(Usage(format!("{option} is for {other} only"))),
        None => Ok(()),
    }
}

fn to_path(
    args: &SyncArgs,
    source: &Path,
    target: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    let stats = attended(output, |progress, cancel| {
        copy::copy(source, target, &copy_options(args), progress, cancel)
    })??;
    Ok(Report {
        protocol: "local",
        size_bytes: stats.size_bytes,
        kinds: stats.kinds,
        read_bytes: stats.read_bytes,
        compared_bytes: stats.compared_bytes,
        written_bytes: stats.written_bytes,
        reflinked_bytes: stats.reflinked_bytes,
        resumed_bytes: stats.resumed_bytes,
        rest_bytes: stats.rest_bytes,
        target_layout_from: Some(stats.target_layout_from),
        ..Report::default()
    })
}

fn to_server(
    args: &SyncArgs,
    source: &Path,
    address: &str,
    output: &Output,
) -> anyhow::Result<Report> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    let defaults = SyncOptions::default();
    let options = SyncOptions {
        io: args.io.mode(),
        target_io: args.io.mode(),
        connect_timeout: args
            .connect_timeout
            .map_or(defaults.connect_timeout, |seconds| Duration::from_secs(seconds.into())),
        retries: args.retries.unwrap_or(defaults.retries),
        in_flight: args.jobs.map_or(defaults.in_flight, usize::from),
        fast: !args.no_fast,
        ..defaults
    };
    let meter = Meter::start(&progress, output.progress, Some(address));
    let synced = v1::sync(source, address, &options, &progress, &cancel);
    drop(meter);
    let stats = synced.map_err(|error| of_session(error, source))?;
    Ok(Report {
        protocol: "v1",
        size_bytes: stats.size_bytes,
        kinds: stats.kinds,
        read_bytes: stats.read_bytes,
        compared_bytes: stats.compared_bytes,
        sent_bytes: stats.sent_bytes,
        wire_bytes: stats.wire_bytes,
        // Whatever is sent over v1 is written there.
        written_bytes: stats.sent_bytes,
        skipped: stats.skipped,
        ..Report::default()
    })
}

fn dry_run(args: &SyncArgs, way: &Way, output: &Output) -> anyhow::Result<()> {
    let (protocol, plan) = match way {
        Way::Local(source, target) => ("local", plan_local(args, source, target, output)),
        Way::V1(source, _) => ("v1", Ok(copy::plan_remote(source, &copy_options(args))?)),
        Way::Push(source, remote) => ("v2", remote::plan_push(args, source, remote, output)),
        Way::Pull(remote, target) => ("v2", remote::plan_pull(args, remote, target, output)),
    };
    let (source, target) = (args.source.display().to_string(), args.target.display().to_string());
    let operation = format!("dry run of the sync of {source} to {target}");
    let plan = plan.map_err(|error| named(error, way, operation, BEGIN_ANEW))?;
    let dry_run = DryRun { source, target, protocol, dry_run: true, plan };
    Ok(output.report(&dry_run, || dry_run.lines())?)
}

fn plan_local(
    args: &SyncArgs,
    source: &Path,
    target: &Path,
    output: &Output,
) -> anyhow::Result<CopyPlan> {
    let options = copy_options(args);
    match args.compare {
        true => Ok(attended(output, |progress, cancel| {
            copy::compare(source, target, &options, progress, cancel)
        })??),
        false => Ok(copy::plan(source, target, &options)?),
    }
}

fn copy_options(args: &SyncArgs) -> CopyOptions {
    let defaults = CopyOptions::default();
    CopyOptions {
        io: args.io.mode(),
        threads: args.jobs.map_or(defaults.threads, usize::from),
        mode: args.chmod,
        resume: !args.no_resume,
        reflink: args.reflink.unwrap_or_default().into(),
    }
}
