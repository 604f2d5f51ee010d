//! `lacuna sync`: make one image equal to another.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::copy::{self, CopyOptions, CopyPlan};
use lacuna::{Cancel, ImageOptions, IoMode, Source};
use lacuna_sync::v1::{self, SyncOptions};
use lacuna_sync::v2::Remote;

use crate::args::{SyncArgs, TransferArgs};
use crate::endpoint::{self, Endpoint};
use crate::export::ChainOrigin;
use crate::failure::{Interrupted, Usage, of_session, unless_stopped};
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::{BEGIN_ANEW, GO_ON, SERVER_AGAIN};
use crate::report::{DryRun, Report};
use crate::strangers::{self, Via, What};
use crate::{remote, replica};

/// What is read on this machine.
pub(crate) enum Origin {
    Image(PathBuf),
    Chain(ChainOrigin),
}

impl Origin {
    pub(crate) fn open(&self, io: IoMode, cancel: &Cancel) -> lacuna::Result<Arc<Source>> {
        let image = ImageOptions { io, ..ImageOptions::default() };
        match self {
            Self::Image(path) => Source::open(path, &image).map(Arc::new),
            Self::Chain(chain) => chain.open(io, cancel),
        }
    }

    /// What errors call it that know its size alone.
    fn path(&self) -> &Path {
        match self {
            Self::Image(path) => path,
            Self::Chain(chain) => chain.path(),
        }
    }
}

/// Which way an image goes.
pub(crate) enum Way {
    Local(Origin, PathBuf),
    V1(Origin, String),
    Push(Origin, Remote),
    Pull(Remote, PathBuf),
}

impl Way {
    fn via(&self) -> Via<'_> {
        match self {
            Self::Local(..) => Via::Paths,
            Self::V1(..) => Via::V1,
            Self::Push(_, remote) | Self::Pull(remote, _) => Via::V2(&remote.reach),
        }
    }
}

/// What is to be done, as a person has said it.
pub(crate) struct Job<'a> {
    /// `sync` or `export`.
    pub(crate) verb: &'static str,
    pub(crate) source: &'a OsStr,
    pub(crate) target: &'a OsStr,
    pub(crate) args: &'a TransferArgs,
}

pub(crate) fn run(args: &SyncArgs, output: &Output) -> anyhow::Result<()> {
    let source = endpoint::parse(&args.source).map_err(Usage)?;
    let target = endpoint::parse(&args.target).map_err(Usage)?;
    if let Some(places) = replica::places(&args.transfer, &source, &target)? {
        return replica::run(args, places, output);
    }
    if args.force {
        return Err(Usage("--force is for replica directories only".to_owned()).into());
    }
    let way = way(args, source, target)?;
    let (source, target) = (&args.source, &args.target);
    Job { verb: "sync", source, target, args: &args.transfer }.run(&way, output)
}

impl Job<'_> {
    pub(crate) fn run(&self, way: &Way, output: &Output) -> anyhow::Result<()> {
        let args = self.args;
        refuse_special_bits(args, way)?;
        strangers::refuse(args, What::Image, way.via())?;
        if args.dry_run {
            return self.dry_run(way, output);
        }
        let begun = Instant::now();
        let (done, remedy) = match way {
            Way::Local(origin, target) => (to_path(args, origin, target, output), GO_ON),
            Way::V1(origin, address) => (to_server(args, origin, address, output), SERVER_AGAIN),
            Way::Push(origin, remote) => (remote::push(args, origin, remote, output), GO_ON),
            Way::Pull(remote, target) => (remote::pull(args, remote, target, output), GO_ON),
        };
        let done = done.map_err(|error| self.named(error, way, remedy));
        let elapsed_seconds = begun.elapsed().as_secs_f64();
        let (source, target) = self.ends();
        let report = Report { source, target, elapsed_seconds, ..done? };
        let printed = output.report(&report, || report.lines());
        Ok(printed.map_err(|error| error.but(format!("{} is complete", report.target)))?)
    }

    fn dry_run(&self, way: &Way, output: &Output) -> anyhow::Result<()> {
        let args = self.args;
        let (protocol, plan) = match way {
            Way::Local(origin, target) => ("local", plan_local(args, origin, target, output)),
            Way::V1(origin, _) => ("v1", plan_v1(args, origin, output)),
            Way::Push(origin, remote) => ("v2", remote::plan_push(args, origin, remote, output)),
            Way::Pull(remote, target) => ("v2", remote::plan_pull(args, remote, target, output)),
        };
        let plan = plan.map_err(|error| self.named(error, way, BEGIN_ANEW))?;
        let (source, target) = self.ends();
        let dry_run = DryRun { source, target, protocol, dry_run: true, plan };
        Ok(output.report(&dry_run, || dry_run.lines())?)
    }

    fn ends(&self) -> (String, String) {
        (self.source.display().to_string(), self.target.display().to_string())
    }

    /// Names the operation where an error does not: what goes wrong at the other end, or on the way
    /// there, names no image of this one.
    fn named(&self, error: anyhow::Error, way: &Way, remedy: &'static str) -> anyhow::Error {
        let (source, target) = self.ends();
        let dry = if self.args.dry_run { "dry run of the " } else { "" };
        let operation = format!("{dry}{} of {source} to {target}", self.verb);
        let error = unless_stopped(error, operation.clone(), remedy);
        match way {
            Way::Push(..) | Way::Pull(..) if !error.is::<Interrupted>() && !error.is::<Usage>() => {
                error.context(operation)
            }
            _ => error,
        }
    }
}

fn way(args: &SyncArgs, source: Endpoint, target: Endpoint) -> anyhow::Result<Way> {
    match (source, target) {
        (Endpoint::Path(source), target) => to(&args.transfer, Origin::Image(source), target),
        (Endpoint::Ssync(_), _) => {
            let why = "a server of ssync:// can only be the target: name an image on this machine \
                or lacuna://HOST:PORT/PATH as SRC";
            Err(Usage(why.to_owned()).into())
        }
        (source, Endpoint::Path(target)) => {
            Ok(Way::Pull(remote::at(&args.transfer, source)?, target))
        }
        _ => {
            let why = "one of SRC and DST must be a path on this machine";
            Err(Usage(why.to_owned()).into())
        }
    }
}

/// The way of what is read on this machine.
pub(crate) fn to(args: &TransferArgs, origin: Origin, target: Endpoint) -> anyhow::Result<Way> {
    Ok(match target {
        Endpoint::Path(target) => Way::Local(origin, target),
        Endpoint::Ssync(address) => Way::V1(origin, address),
        target => Way::Push(origin, remote::at(args, target)?),
    })
}

/// A server gives no image such a mode.
fn refuse_special_bits(args: &TransferArgs, way: &Way) -> Result<(), Usage> {
    match (way, args.chmod) {
        (Way::Push(..), Some(mode @ 0o1000..)) => Err(Usage(format!(
            "--chmod {mode:o}: a server gives no image more than 777, never setuid, setgid or sticky"
        ))),
        _ => Ok(()),
    }
}

fn to_path(
    args: &TransferArgs,
    origin: &Origin,
    target: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    let stats = attended(output, None, |progress, cancel| {
        let source = origin.open(args.io.mode(), cancel)?;
        copy::copy(&source, target, &copy_options(args), progress, cancel)
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
    args: &TransferArgs,
    origin: &Origin,
    address: &str,
    output: &Output,
) -> anyhow::Result<Report> {
    let defaults = SyncOptions::default();
    let options = SyncOptions {
        target_io: args.io.mode(),
        connect_timeout: args
            .connect_timeout
            .map_or(defaults.connect_timeout, |seconds| Duration::from_secs(seconds.into())),
        retries: args.retries.unwrap_or(defaults.retries),
        in_flight: args.jobs.map_or(defaults.in_flight, usize::from),
        fast: !args.no_fast,
        ..defaults
    };
    let synced = attended(output, Some(address), |progress, cancel| {
        let source = origin.open(args.io.mode(), cancel)?;
        v1::sync(source, address, &options, progress, cancel)
    })?;
    let stats = synced.map_err(|error| of_session(error, origin.path()))?;
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

fn plan_local(
    args: &TransferArgs,
    origin: &Origin,
    target: &Path,
    output: &Output,
) -> anyhow::Result<CopyPlan> {
    let options = copy_options(args);
    Ok(attended(output, None, |progress, cancel| {
        let source = origin.open(args.io.mode(), cancel)?;
        match args.compare {
            true => copy::compare(&source, target, &options, progress, cancel),
            false => copy::plan(&source, target, &options),
        }
    })??)
}

fn plan_v1(args: &TransferArgs, origin: &Origin, output: &Output) -> anyhow::Result<CopyPlan> {
    Ok(attended(output, None, |_, cancel| {
        copy::plan_remote(&*origin.open(args.io.mode(), cancel)?)
    })??)
}

pub(crate) fn copy_options(args: &TransferArgs) -> CopyOptions {
    let defaults = CopyOptions::default();
    CopyOptions {
        io: args.io.mode(),
        threads: args.jobs.map_or(defaults.threads, usize::from),
        mode: args.chmod,
        resume: !args.no_resume,
        reflink: args.reflink.unwrap_or_default().into(),
    }
}
