//! `lacuna fold`: write what a child layer has into its parent.

use std::time::Instant;

use lacuna::fold::{self, FoldOptions, FoldPlan, FoldStats};
use serde::Serialize;

use crate::args::FoldArgs;
use crate::failure::unless_stopped;
use crate::hint::GO_ON;
use crate::meter::attended;
use crate::output::Output;
use crate::units::{bytes, seconds, sizes};

#[derive(Serialize)]
struct Report {
    child: String,
    parent: String,
    free: bool,
    #[serde(flatten)]
    stats: FoldStats,
    elapsed_seconds: f64,
}

#[derive(Serialize)]
struct DryRun {
    child: String,
    parent: String,
    dry_run: bool,
    free: bool,
    #[serde(flatten)]
    plan: FoldPlan,
    fits: bool,
}

pub(crate) fn run(args: &FoldArgs, output: &Output) -> anyhow::Result<()> {
    let options = FoldOptions {
        io: args.work.io.mode(),
        threads: args.work.threads(),
        reflink: args.reflink.into(),
        free: args.free,
        force_layer: args.force_layer,
    };
    let (child, parent) = (args.child.display().to_string(), args.into.display().to_string());
    if args.dry_run {
        let plan = fold::plan(&args.child, &args.into, &options)?;
        let fits = plan.fits();
        let dry_run = DryRun { child, parent, dry_run: true, free: args.free, plan, fits };
        return Ok(output.report(&dry_run, || dry_run.lines())?);
    }
    let begun = Instant::now();
    let folded = attended(output, |progress, cancel| {
        fold::apply(&args.child, &args.into, &options, progress, cancel)
    })?;
    let stats = folded.map_err(|error| {
        let operation = format!("fold of {child} into {parent}");
        unless_stopped(error.into(), operation, GO_ON)
    })?;
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    let report = Report { child, parent, free: args.free, stats, elapsed_seconds };
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.parent)))?)
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let Self { child, parent, stats, .. } = self;
        let kinds = sizes(stats.size_bytes, &stats.kinds);
        let seconds = seconds(self.elapsed_seconds);
        let mut lines = vec![
            format!("{child} into {parent}: {kinds} in {seconds}"),
            moved("", stats.reflinked_bytes, stats.written_bytes, stats.zeroed_bytes),
        ];
        if stats.grown_bytes > 0 {
            lines.push(format!("{parent} grew by {}", bytes(stats.grown_bytes)));
        }
        if stats.reclaimed_bytes > 0 {
            let freed = bytes(stats.reclaimed_bytes);
            lines.push(format!(
                "{child} gave up {freed} and is no layer on its own any more: {parent} has all of it"
            ));
        }
        lines
    }
}

impl DryRun {
    fn lines(&self) -> Vec<String> {
        let Self { child, parent, plan, .. } = self;
        let kinds = sizes(plan.size_bytes, &plan.kinds);
        let mut lines = vec![
            format!("{child} into {parent}: {kinds}, nothing done"),
            moved("would have ", plan.reflink_bytes, plan.copy_bytes, plan.zero_range_bytes),
        ];
        if plan.grown_bytes > 0 {
            lines.push(format!("{parent} would grow by {}", bytes(plan.grown_bytes)));
        }
        if let Some(free) = plan.free_bytes {
            let verdict = if self.fits { "it fits" } else { "not enough" };
            let needed = bytes(plan.needed_bytes);
            lines.push(format!("needs {needed} more space, {} are free: {verdict}", bytes(free)));
        }
        if self.free {
            lines.push(format!("{child} would give up all of it, and be no layer on its own"));
        }
        lines
    }
}

fn moved(would: &str, reflinked: u64, copied: u64, zero: u64) -> String {
    let (reflinked, copied, zero) = (bytes(reflinked), bytes(copied), bytes(zero));
    format!("{would}reflinked {reflinked}, copied {copied}, made zero {zero}")
}
