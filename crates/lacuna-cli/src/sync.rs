//! `lacuna sync`: make one image equal to another.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::Progress;
use lacuna::copy::{self, CopyOptions};
use lacuna_sync::v1::{self, SyncOptions};

use crate::args::SyncArgs;
use crate::endpoint::{self, Endpoint};
use crate::failure::{Usage, of_session, unless_stopped};
use crate::meter::{Meter, attended};
use crate::output::Output;
use crate::remedy::{GO_ON, SERVER_AGAIN};
use crate::report::{DryRun, Report};
use crate::signals;

pub(crate) fn run(args: &SyncArgs, output: &Output) -> anyhow::Result<()> {
    let source = match endpoint::parse(&args.source).map_err(Usage)? {
        Endpoint::Path(path) => path,
        Endpoint::Ssync(_) => {
            let why = "a server can only be the target: name an image on this machine as SRC";
            return Err(Usage(why.to_owned()).into());
        }
    };
    let target = endpoint::parse(&args.target).map_err(Usage)?;
    refuse_strangers(args, &target)?;
    if args.dry_run {
        return dry_run(args, &source, &target, output);
    }
    let begun = Instant::now();
    let (synced, remedy) = match &target {
        Endpoint::Path(target) => (to_path(args, &source, target, output), GO_ON),
        Endpoint::Ssync(address) => (to_server(args, &source, address, output), SERVER_AGAIN),
    };
    let (source, target) = (args.source.display().to_string(), args.target.display().to_string());
    let synced = synced.map_err(|error| {
        let operation = format!("sync of {source} to {target}");
        unless_stopped(error, operation, remedy)
    });
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    let report = Report { source, target, elapsed_seconds, ..synced? };
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.target)))?)
}

/// Options that the kind of target knows nothing of are mistakes, not decoration.
fn refuse_strangers(args: &SyncArgs, target: &Endpoint) -> Result<(), Usage> {
    let (strangers, kind, other) = match target {
        Endpoint::Path(_) => (
            [
                ("--connect-timeout", args.connect_timeout.is_some()),
                ("--retries", args.retries.is_some()),
                ("--no-fast", args.no_fast),
            ]
            .to_vec(),
            "a path",
            "ssync:// targets",
        ),
        Endpoint::Ssync(_) => (
            [
                ("--no-resume", args.no_resume),
                ("--chmod", args.chmod.is_some()),
                ("--reflink", args.reflink.is_some()),
            ]
            .to_vec(),
            "a server",
            "targets on this machine",
        ),
    };
    match strangers.iter().find(|(_, given)| *given) {
        Some((option, _)) => {
            Err(Usage(format!("{option} means nothing when DST is {kind}: it is for {other}")))
        }
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

fn dry_run(
    args: &SyncArgs,
    source: &Path,
    target: &Endpoint,
    output: &Output,
) -> anyhow::Result<()> {
    let (protocol, plan) = match target {
        Endpoint::Path(target) => ("local", copy::plan(source, target, &copy_options(args))?),
        Endpoint::Ssync(_) => ("v1", copy::plan_remote(source, &copy_options(args))?),
    };
    let (source, target) = (args.source.display().to_string(), args.target.display().to_string());
    let dry_run = DryRun { source, target, protocol, dry_run: true, plan };
    Ok(output.report(&dry_run, || dry_run.lines())?)
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
