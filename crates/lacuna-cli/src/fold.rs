//! `lacuna fold`: write what a child layer has into its parent.

use std::time::Instant;

use lacuna::fold::{self, FoldOptions, FoldPlan, FoldStats};
use serde::Serialize;

use crate::args::FoldArgs;
use crate::failure::unless_stopped;
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::GO_ON;
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
    let folded = attended(output, None, |progress, cancel| {
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
        let (reflinked, copied) = (bytes(stats.reflinked_bytes), bytes(stats.written_bytes));
        let zero = bytes(stats.zeroed_bytes);
        let mut lines = vec![
            format!("{child} into {parent}: {kinds} in {seconds}"),
            format!("reflinked {reflinked}, copied {copied}, made zero {zero}"),
        ];
        if stats.grown_bytes > 0 {
            lines.push(format!("{parent} grew by {}", bytes(stats.grown_bytes)));
        }
        if stats.freed {
            let reclaimed = bytes(stats.reclaimed_bytes);
            lines.push(format!(
                "{child} takes {reclaimed} less and is no layer on its own any more: {parent} has all \
                 that it gave up"
            ));
        }
        lines
    }
}

impl DryRun {
    fn lines(&self) -> Vec<String> {
        let Self { child, parent, plan, .. } = self;
        let kinds = sizes(plan.size_bytes, &plan.kinds);
        let (reflink, copy) = (bytes(plan.reflink_bytes), bytes(plan.copy_bytes));
        let zero = bytes(plan.zero_range_bytes);
        let mut lines = vec![
            format!("{child} into {parent}: {kinds}, nothing done"),
            format!("would reflink {reflink}, copy {copy}, make zero {zero}"),
        ];
        if plan.grown_bytes > 0 {
            lines.push(format!("{parent} would grow by {}", bytes(plan.grown_bytes)));
        }
        if let Some(free) = plan.free_bytes {
            let verdict = match (self.fits, self.free) {
                (true, _) => "it fits",
                (false, true) => "not enough",
                (false, false) => "not enough (see --free)",
            };
            let needed = bytes(plan.needed_bytes);
            lines.push(format!("needs {needed} more space, {} are free: {verdict}", bytes(free)));
        }
        if self.free {
            lines.push(format!("{child} would give up what it has, and be no layer on its own"));
        }
        lines
    }
}
