//! `lacuna sync`: make one image equal to another.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lacuna::copy::{self, CopyOptions, CopyPlan};
use lacuna::{Cancel, IoMode, KindBytes, Progress};
use lacuna_sync::v1::{self, SyncOptions};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::SyncArgs;
use crate::endpoint::{self, Endpoint};
use crate::failure::Usage;
use crate::meter::Meter;
use crate::output::Output;
use crate::units;

/// What a sync did. Every key is there whatever the protocol; what it does not know is 0.
#[derive(Default, Serialize)]
struct Report {
    source: String,
    target: String,
    protocol: &'static str,
    size_bytes: u64,
    #[serde(flatten)]
    kinds: KindBytes,
    read_bytes: u64,
    compared_bytes: u64,
    sent_bytes: u64,
    wire_bytes: u64,
    written_bytes: u64,
    resumed_bytes: u64,
    rest_bytes: u64,
    skipped: bool,
    elapsed_seconds: f64,
}

/// What a sync would do.
#[derive(Serialize)]
struct DryRun {
    source: String,
    target: String,
    protocol: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    plan: CopyPlan,
}

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
    let mut report = match &target {
        Endpoint::Path(target) => to_path(args, &source, target, output)?,
        Endpoint::Ssync(address) => to_server(args, &source, address, output)?,
    };
    report.source = args.source.display().to_string();
    report.target = args.target.display().to_string();
    report.elapsed_seconds = begun.elapsed().as_secs_f64();
    output.report(&report, |out| report.print(out))
}

/// Options that the kind of target knows nothing of are mistakes, not decoration.
fn refuse_strangers(args: &SyncArgs, target: &Endpoint) -> Result<(), Usage> {
    let (strangers, kind) = match target {
        Endpoint::Path(_) => (
            [
                ("--connect-timeout", args.connect_timeout.is_some()),
                ("--retries", args.retries.is_some()),
                ("--no-fast", args.no_fast),
            ]
            .to_vec(),
            "a path",
        ),
        Endpoint::Ssync(_) => (
            [("--no-resume", args.no_resume), ("--chmod", args.chmod.is_some())].to_vec(),
            "a server",
        ),
    };
    match strangers.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Usage(format!("{option} means nothing when DST is {kind}"))),
        None => Ok(()),
    }
}

fn to_path(
    args: &SyncArgs,
    source: &Path,
    target: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    let cancel = cancel_on_signals().context("cannot handle signals")?;
    let progress = Arc::new(Progress::default());
    let meter = Meter::start(&progress, output.progress);
    let copied = copy::copy(source, target, &copy_options(args), &progress, &cancel);
    drop(meter);
    let stats = copied?;
    Ok(Report {
        protocol: "local",
        size_bytes: stats.size_bytes,
        kinds: stats.kinds,
        read_bytes: stats.read_bytes,
        compared_bytes: stats.compared_bytes,
        written_bytes: stats.written_bytes,
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
    let cancel = cancel_on_signals().context("cannot handle signals")?;
    let progress = Arc::new(Progress::default());
    let defaults = SyncOptions::default();
    let options = SyncOptions {
        io: io_mode(args),
        target_io: io_mode(args),
        connect_timeout: args
            .connect_timeout
            .map_or(defaults.connect_timeout, |seconds| Duration::from_secs(seconds.into())),
        retries: args.retries.unwrap_or(defaults.retries),
        in_flight: args.jobs.map_or(defaults.in_flight, usize::from),
        fast: !args.no_fast,
        ..defaults
    };
    let _meter = Meter::start(&progress, output.progress);
    let stats = v1::sync(source, address, &options, &progress, &cancel)?;
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
    output.report(&dry_run, |out| dry_run.print(out))
}

fn copy_options(args: &SyncArgs) -> CopyOptions {
    let defaults = CopyOptions::default();
    CopyOptions {
        io: io_mode(args),
        threads: args.jobs.map_or(defaults.threads, usize::from),
        mode: args.chmod,
        resume: !args.no_resume,
    }
}

fn io_mode(args: &SyncArgs) -> IoMode {
    match (args.direct, args.buffered) {
        (true, _) => IoMode::Direct,
        (_, true) => IoMode::Buffered,
        _ => IoMode::Auto,
    }
}

/// A cancel that SIGINT and SIGTERM ask for; the second of them ends the process at once.
pub(crate) fn cancel_on_signals() -> io::Result<Cancel> {
    let cancel = Cancel::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, cancel.flag())?;
        signal_hook::flag::register(signal, cancel.flag())?;
    }
    Ok(cancel)
}

impl Report {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = units::bytes;
        let seconds = units::seconds(self.elapsed_seconds);
        if self.skipped {
            return writeln!(
                out,
                "{} -> {}: both have the same fresh .checksum, nothing sent, {seconds}",
                self.source, self.target
            );
        }
        writeln!(
            out,
            "{} -> {}: {} ({} data, {} zero, {} hole) in {seconds}",
            self.source,
            self.target,
            bytes(self.size_bytes),
            bytes(self.kinds.data_bytes),
            bytes(self.kinds.zero_bytes),
            bytes(self.kinds.hole_bytes),
        )?;
        write!(out, "read {}, compared {}", bytes(self.read_bytes), bytes(self.compared_bytes))?;
        match self.protocol {
            "local" => writeln!(out, ", written {}", bytes(self.written_bytes))?,
            _ => {
                let (sent, wire) = (bytes(self.sent_bytes), bytes(self.wire_bytes));
                writeln!(out, ", sent {sent} ({wire} on the wire)")?;
            }
        }
        if self.resumed_bytes > 0 {
            writeln!(out, "the first {} were there already", bytes(self.resumed_bytes))?;
        }
        if self.rest_bytes > 0 {
            writeln!(out, "the last {} of the target were left alone", bytes(self.rest_bytes))?;
        }
        Ok(())
    }
}

impl DryRun {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let (bytes, plan) = (units::bytes, &self.plan);
        writeln!(
            out,
            "{} -> {}: {} ({} data, {} zero, {} hole), nothing done",
            self.source,
            self.target,
            bytes(plan.size_bytes),
            bytes(plan.kinds.data_bytes),
            bytes(plan.kinds.zero_bytes),
            bytes(plan.kinds.hole_bytes),
        )?;
        let verb = if self.protocol == "local" { "write" } else { "send" };
        writeln!(
            out,
            "would read {}, compare {}, {verb} at most {}, punch or zero {}",
            bytes(plan.read_bytes),
            bytes(plan.compared_bytes),
            bytes(plan.written_bytes_max),
            bytes(plan.cleared_bytes),
        )?;
        if let Some(free) = plan.free_bytes {
            let (needed, free) = (bytes(plan.needed_bytes), bytes(free));
            writeln!(out, "needs {needed} more space, {free} are free")?;
        }
        Ok(())
    }
}
