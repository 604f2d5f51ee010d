//! `lacuna chain squash`: make many layers one.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lacuna::chain::squash::{self, Span, SquashOptions, SquashPlan, SquashStats};
use serde::Serialize;

use crate::args::SquashArgs;
use crate::failure::{Usage, unless_stopped};
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::GO_ON;
use crate::units::{bytes, seconds, sizes};

#[derive(Serialize)]
struct Report {
    oldest: String,
    newest: String,
    free: bool,
    #[serde(flatten)]
    stats: SquashStats,
    removed_files: Vec<String>,
    elapsed_seconds: f64,
}

#[derive(Serialize)]
struct DryRun {
    oldest: String,
    newest: String,
    dry_run: bool,
    free: bool,
    #[serde(flatten)]
    plan: SquashPlan,
    fits: bool,
    removed_files: Vec<String>,
}

pub(crate) fn run(args: &SquashArgs, output: &Output) -> anyhow::Result<()> {
    let span = span(args)?;
    let options = SquashOptions {
        io: args.work.io.mode(),
        threads: args.work.threads(),
        reflink: args.reflink.into(),
        free: args.free,
    };
    if args.dry_run {
        let dry_run = DryRun::of(squash::plan(&span, &options)?, args.free);
        return Ok(output.report(&dry_run, || dry_run.lines())?);
    }
    let begun = Instant::now();
    let squashed = attended(output, None, |progress, cancel| {
        squash::apply(&span, &options, progress, cancel)
    })?;
    let stats = squashed.map_err(|error| {
        unless_stopped(error.into(), format!("squash of {}", what(&span)), GO_ON)
    })?;
    let report = Report::of(stats, args.free, begun.elapsed().as_secs_f64());
    let printed = output.report(&report, || report.lines());
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.newest)))?)
}

fn span(args: &SquashArgs) -> Result<Span, Usage> {
    match (&args.names[..], &args.from, &args.to) {
        ([directory], Some(old), Some(new)) => {
            let (directory, old, new) = (directory.clone(), old.clone(), new.clone());
            Ok(Span::Replica { directory, old, new })
        }
        (_, Some(_), _) => Err(Usage("--from and --to are layers of one DIR".to_owned())),
        ([directory], ..) if directory.is_dir() => {
            Err(Usage("name the layers of the directory: --from OLD --to NEW".to_owned()))
        }
        ([_], ..) => Err(Usage("name at least two layers, the oldest first".to_owned())),
        (paths, ..) => Ok(Span::Files(paths.to_vec())),
    }
}

/// For an error.
fn what(span: &Span) -> String {
    match span {
        Span::Replica { directory, old, new } => {
            format!("{old} to {new} in {}", directory.display())
        }
        Span::Files(paths) => paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", "),
    }
}

/// The command that completes a squash of `old` to `new` which was interrupted.
pub(crate) fn again(old: &Path, new: &Path) -> String {
    let quoted = |text: Option<&str>| {
        let quoted = text.and_then(|text| shlex::try_quote(text).ok());
        quoted.map_or_else(|| "...".to_owned(), Cow::into_owned)
    };
    let directory = quoted(
        new.parent().and_then(Path::to_str).map(|path| if path.is_empty() { "." } else { path }),
    );
    let name = |path: &Path| quoted(path.file_name().and_then(OsStr::to_str));
    let (old, new) = (name(old), name(new));
    format!(
        "run the squash again, which completes it: lacuna chain squash {directory} --from {old} --to {new}"
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn all_shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| shown(path)).collect()
}

fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match paths {
        [] => "nothing".to_owned(),
        paths => paths.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

impl Report {
    fn of(stats: SquashStats, free: bool, elapsed_seconds: f64) -> Self {
        let (oldest, newest) = (shown(&stats.old), shown(&stats.new));
        let removed_files = all_shown(&stats.removed);
        Self { oldest, newest, free, stats, removed_files, elapsed_seconds }
    }

    fn lines(&self) -> Vec<String> {
        let Self { oldest, newest, stats, .. } = self;
        let (fold, seconds) = (&stats.fold, seconds(self.elapsed_seconds));
        let mut lines = match stats.only_removed {
            true => vec![format!("{newest}: an interrupted squash is complete, in {seconds}")],
            false => {
                let kinds = sizes(fold.size_bytes, &fold.kinds);
                let (reflinked, copied) = (bytes(fold.reflinked_bytes), bytes(fold.written_bytes));
                let zero = bytes(fold.zeroed_bytes);
                vec![
                    format!("{oldest} to {newest}: {kinds} above the oldest, in {seconds}"),
                    format!("reflinked {reflinked}, copied {copied}, made zero {zero}"),
                ]
            }
        };
        lines.push(format!("removed {}", names(&stats.removed)));
        let reclaimed = bytes(fold.reclaimed_bytes);
        lines
            .push(format!("{newest} is the one layer now; it takes {reclaimed} less than all did"));
        lines
    }
}

impl DryRun {
    fn of(plan: SquashPlan, free: bool) -> Self {
        let (oldest, newest) = (shown(&plan.old), shown(&plan.new));
        let (fits, removed_files) = (plan.fold.fits(), all_shown(&plan.removed));
        Self { oldest, newest, dry_run: true, free, plan, fits, removed_files }
    }

    fn lines(&self) -> Vec<String> {
        let Self { oldest, newest, plan, .. } = self;
        let mut lines = match plan.only_removed {
            true => vec![format!("{newest}: an interrupted squash is left, nothing done")],
            false => self.move_lines(),
        };
        lines.push(format!("would remove {}", names(&plan.removed)));
        lines.push(format!("{newest} would be the one layer, in the file of {oldest}"));
        lines
    }

    fn move_lines(&self) -> Vec<String> {
        let Self { oldest, newest, plan, .. } = self;
        let fold = &plan.fold;
        let kinds = sizes(fold.size_bytes, &fold.kinds);
        let (reflink, copy) = (bytes(fold.reflink_bytes), bytes(fold.copy_bytes));
        let zero = bytes(fold.zero_range_bytes);
        let mut lines = vec![
            format!("{oldest} to {newest}: {kinds} above the oldest, nothing done"),
            format!("would reflink {reflink}, copy {copy}, make zero {zero}"),
        ];
        if let Some(free) = fold.free_bytes {
            let verdict = match (self.fits, self.free) {
                (true, _) => "it fits",
                (false, true) => "not enough",
                (false, false) => "not enough (see --free)",
            };
            let needed = bytes(fold.needed_bytes);
            lines.push(format!("needs {needed} more space, {} are free: {verdict}", bytes(free)));
        }
        lines
    }
}
