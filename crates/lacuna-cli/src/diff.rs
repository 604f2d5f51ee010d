//! `lacuna diff`: where two images differ.

use std::io::{self, Write};
use std::time::Instant;

use lacuna::diff::{self, DiffOptions, DiffStats, Difference};
use lacuna::{Error, ImageOptions, Kind, Source};
use serde::Serialize;

use crate::args::DiffArgs;
use crate::failure::{Outcome, unless_stopped};
use crate::list::List;
use crate::meter::attended;
use crate::output::{Output, StdoutError, printable};
use crate::remedy::BEGIN_ANEW;
use crate::units::{bytes, counted, seconds};

#[derive(Serialize)]
struct Report {
    left: String,
    right: String,
    same: bool,
    #[serde(flatten)]
    stats: DiffStats,
    elapsed_seconds: f64,
}

/// A range that differs, as it is shown.
#[derive(Serialize)]
pub(crate) struct Line {
    start_bytes: u64,
    length_bytes: u64,
    differs: &'static str,
    left_kind: Option<Kind>,
    right_kind: Option<Kind>,
}

pub(crate) fn run(args: &DiffArgs, output: &Output) -> anyhow::Result<Outcome> {
    let mut out = output.stdout();
    let begun = Instant::now();
    let finished = |stats: DiffStats| Report {
        left: args.left.display().to_string(),
        right: args.right.display().to_string(),
        same: stats.is_same(),
        stats,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let shown = match (args.ranges, output.json) {
        (true, true) => in_json(args, output, &mut out, finished),
        (ranges, _) => in_lines(args, output, ranges, &mut out, finished),
    };
    ended(shown, &mut out)
}

/// What cannot be written any more does not change what was found.
pub(crate) fn ended(
    shown: anyhow::Result<Outcome>,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let shown = shown.and_then(|outcome| match out.flush() {
        Ok(()) => Ok(outcome),
        Err(error) => Err(Found { outcome, error }.into()),
    });
    match shown.map_err(|error| error.downcast::<Found>()) {
        Ok(outcome) => Ok(outcome),
        Err(Ok(found)) if found.error.kind() == io::ErrorKind::BrokenPipe => Ok(found.outcome),
        Err(Ok(found)) => Err(StdoutError::from(found.error).into()),
        Err(Err(error)) => Err(error),
    }
}

/// Standard output took no more, when this was known.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) outcome: Outcome,
    pub(crate) error: io::Error,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Found {}

impl Found {
    pub(crate) fn bad(error: io::Error) -> anyhow::Error {
        Self { outcome: Outcome::Bad, error }.into()
    }
}

fn in_json(
    args: &DiffArgs,
    output: &Output,
    out: &mut impl Write,
    finished: impl FnOnce(DiffStats) -> Report,
) -> anyhow::Result<Outcome> {
    let mut list = List::new("differences", out, output);
    let stats = compare(args, output, |line| list.add(line))?;
    let report = finished(stats);
    let outcome = report.outcome();
    list.end(&report).map_err(|error| Found { outcome, error })?;
    Ok(outcome)
}

fn in_lines(
    args: &DiffArgs,
    output: &Output,
    ranges: bool,
    out: &mut impl Write,
    finished: impl FnOnce(DiffStats) -> Report,
) -> anyhow::Result<Outcome> {
    let mut heading = Some(HEADING);
    let stats = compare(args, output, |line| match ranges {
        true => {
            if let Some(heading) = heading.take() {
                writeln!(out, "{heading}")?;
            }
            line.write(out)
        }
        false => Ok(()),
    })?;
    let report = finished(stats);
    let outcome = report.outcome();
    let written = match output.json {
        true => serde_json::to_string(&report)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}")),
        false => report.lines().iter().try_for_each(|line| writeln!(out, "{}", printable(line))),
    };
    written.map_err(|error| Found { outcome, error })?;
    Ok(outcome)
}

fn compare(
    args: &DiffArgs,
    output: &Output,
    mut show: impl FnMut(&Line) -> io::Result<()>,
) -> anyhow::Result<DiffStats> {
    let options = DiffOptions { threads: args.work.threads() };
    let image = ImageOptions { io: args.work.io.mode(), ..ImageOptions::default() };
    let mut stdout_error = None;
    let compared = attended(output, None, |progress, cancel| {
        let (left, right) = (Source::open(&args.left, &image)?, Source::open(&args.right, &image)?);
        diff::diff(&left, &right, &options, progress, cancel, |difference| {
            show(&Line::of(difference)).map_err(|error| {
                stdout_error = Some(error);
                Error::Cancelled
            })
        })
    })?;
    if let Some(error) = stdout_error {
        return Err(Found::bad(error));
    }
    compared.map_err(|error| {
        let operation = format!("diff of {} and {}", args.left.display(), args.right.display());
        unless_stopped(error.into(), operation, BEGIN_ANEW)
    })
}

/// Above [lines](Line).
pub(crate) const HEADING: &str = "               start               length  differs   A     B";

impl Line {
    pub(crate) fn of(difference: &Difference) -> Self {
        Self {
            start_bytes: difference.range.start(),
            length_bytes: difference.range.len(),
            differs: match difference {
                Difference { left: None, .. } | Difference { right: None, .. } => "past-end",
                Difference { content: true, .. } => "content",
                Difference { content: false, .. } => "kind",
            },
            left_kind: difference.left,
            right_kind: difference.right,
        }
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (left, right) = (kind(self.left_kind), kind(self.right_kind));
        let (start, length) = (self.start_bytes, self.length_bytes);
        writeln!(out, "{start:>20} {length:>20}  {:<8}  {left:<4}  {right}", self.differs)
    }
}

fn kind(kind: Option<Kind>) -> String {
    kind.map_or("-".to_owned(), |kind| kind.to_string())
}

impl Report {
    fn outcome(&self) -> Outcome {
        if self.same { Outcome::Good } else { Outcome::Bad }
    }

    fn lines(&self) -> Vec<String> {
        let Self { left, right, stats, .. } = self;
        let size = bytes(stats.left_size_bytes);
        let mut lines = vec![match self.same {
            true => format!("{left} and {right} are the same: {size}"),
            false => {
                format!("{left} and {right} differ in {}", counted(stats.ranges, "range"))
            }
        }];
        for (what, amount) in [
            ("content", stats.content_bytes),
            ("kind only", stats.kind_bytes),
            ("past end", stats.past_end_bytes),
        ] {
            if !self.same {
                lines.push(format!("  {what:<9} {:>9}", bytes(amount)));
            }
        }
        if stats.left_size_bytes != stats.right_size_bytes {
            let (left, right) = (stats.left_size_bytes, stats.right_size_bytes);
            lines.push(format!("sizes: {left} and {right} bytes"));
        }
        let (read, shared) = (bytes(stats.read_bytes), bytes(stats.shared_bytes));
        let seconds = seconds(self.elapsed_seconds);
        lines.push(format!("read {read} of both, known to be shared {shared}, {seconds}"));
        if !stats.kinds_compared {
            lines.push("not all kinds were compared: one of the two does not show them".to_owned());
        }
        lines
    }
}
