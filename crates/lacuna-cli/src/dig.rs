//! `lacuna dig`: turn blocks of zeros into holes.

use std::time::Instant;

use lacuna::dig::{self, DigOptions, DigPlan, DigStats};
use serde::Serialize;

use crate::args::DigArgs;
use crate::failure::unless_stopped;
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::DIG_ON;
use crate::units::{bytes, seconds};

#[derive(Serialize)]
struct Report {
    image: String,
    #[serde(flatten)]
    stats: DigStats,
    elapsed_seconds: f64,
}

#[derive(Serialize)]
struct DryRun {
    image: String,
    dry_run: bool,
    #[serde(flatten)]
    plan: DigPlan,
    elapsed_seconds: f64,
}

pub(crate) fn run(args: &DigArgs, output: &Output) -> anyhow::Result<()> {
    let options = DigOptions {
        io: args.work.io.mode(),
        threads: args.work.threads(),
        force_layer: args.force_layer,
    };
    let image = args.image.display().to_string();
    let stopped = |error: lacuna::Error| {
        let operation = format!("digging {}", args.image.display());
        unless_stopped(error.into(), operation, DIG_ON)
    };
    let begun = Instant::now();
    if args.dry_run {
        let planned = attended(output, None, |progress, cancel| {
            dig::plan(&args.image, &options, progress, cancel)
        })?;
        let plan = planned.map_err(stopped)?;
        let elapsed_seconds = begun.elapsed().as_secs_f64();
        let dry_run = DryRun { image, dry_run: true, plan, elapsed_seconds };
        return Ok(output.report(&dry_run, || dry_run.lines())?);
    }
    let dug = attended(output, None, |progress, cancel| {
        dig::apply(&args.image, &options, progress, cancel)
    })?;
    let stats = dug.map_err(stopped)?;
    let report = Report { image, stats, elapsed_seconds: begun.elapsed().as_secs_f64() };
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is dug", report.image)))?)
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let stats = &self.stats;
        let (size, seconds) = (bytes(stats.size_bytes), seconds(self.elapsed_seconds));
        let (read, zero) = (bytes(stats.read_bytes), bytes(stats.dug_bytes));
        let reclaimed = bytes(stats.reclaimed_bytes);
        vec![
            format!("{}: {size} in {seconds}", self.image),
            format!("read {read}, {zero} of zeros are holes now; it takes {reclaimed} less"),
        ]
    }
}

impl DryRun {
    fn lines(&self) -> Vec<String> {
        let plan = &self.plan;
        let (size, seconds) = (bytes(plan.size_bytes), seconds(self.elapsed_seconds));
        let (read, zero) = (bytes(plan.read_bytes), bytes(plan.dug_bytes));
        vec![
            format!("{}: {size}, looked at in {seconds}, nothing done", self.image),
            format!("read {read}, {zero} of zeros would become holes"),
        ]
    }
}
