//! `lacuna prune`: punch out of a parent layer what its child hides.

use std::time::Instant;

use lacuna::prune::{self, PruneOptions, PrunePlan, PruneStats};
use serde::Serialize;

use crate::args::PruneArgs;
use crate::failure::unless_stopped;
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::GO_ON;
use crate::units::{bytes, counted, seconds};

#[derive(Serialize)]
struct Report {
    parent: String,
    child: String,
    #[serde(flatten)]
    stats: PruneStats,
    elapsed_seconds: f64,
}

#[derive(Serialize)]
struct DryRun {
    parent: String,
    child: String,
    dry_run: bool,
    #[serde(flatten)]
    plan: PrunePlan,
    /// What another file shares is not given back.
    reclaimed_bytes_max: u64,
}

pub(crate) fn run(args: &PruneArgs, output: &Output) -> anyhow::Result<()> {
    let options = PruneOptions { force_layer: args.force_layer };
    let (parent, child) = (args.parent.display().to_string(), args.under.display().to_string());
    if args.dry_run {
        let plan = prune::plan(&args.parent, &args.under, &options)?;
        let reclaimed_bytes_max = plan.hidden_bytes;
        let dry_run = DryRun { parent, child, dry_run: true, plan, reclaimed_bytes_max };
        return Ok(output.report(&dry_run, || dry_run.lines())?);
    }
    let begun = Instant::now();
    let pruned = attended(output, None, |progress, cancel| {
        prune::apply(&args.parent, &args.under, &options, progress, cancel)
    })?;
    let stats = pruned.map_err(|error| {
        let operation = format!("prune of {parent} under {child}");
        unless_stopped(error.into(), operation, GO_ON)
    })?;
    let report = Report { parent, child, stats, elapsed_seconds: begun.elapsed().as_secs_f64() };
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.parent)))?)
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let stats = &self.stats;
        let hidden = bytes(stats.hidden_bytes);
        vec![
            format!(
                "{} under {}: {} in {}",
                self.parent,
                self.child,
                bytes(stats.size_bytes),
                seconds(self.elapsed_seconds)
            ),
            format!(
                "hidden {hidden} in {}, punched; {} takes {} less",
                counted(stats.hidden_ranges, "range"),
                self.parent,
                bytes(stats.reclaimed_bytes)
            ),
        ]
    }
}

impl DryRun {
    fn lines(&self) -> Vec<String> {
        let plan = &self.plan;
        let size = bytes(plan.size_bytes);
        vec![
            format!("{} under {}: {size}, nothing done", self.parent, self.child),
            format!(
                "hidden {} in {}: would be punched, and free but for what other files share",
                bytes(plan.hidden_bytes),
                counted(plan.hidden_ranges, "range")
            ),
        ]
    }
}
