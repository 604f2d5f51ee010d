//! `lacuna partials`: list what interrupted sessions left under a directory, or remove it.

use std::io::Write;
use std::time::{Instant, SystemTime};

use lacuna::partials::{self, Leftover, LeftoverKind, Partials};
use serde::Serialize;

use crate::args::PartialsArgs;
use crate::failure::unless_stopped;
use crate::list::List;
use crate::meter::attended;
use crate::output::{Output, StdoutError};
use crate::remedy::GO_ON;
use crate::units::{age, bytes, counted};

/// A leftover in JSON.
#[derive(Serialize)]
struct Line {
    path: String,
    kind: LeftoverKind,
    image: String,
    size_bytes: u64,
    allocated_bytes: u64,
    age_seconds: u64,
    in_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<bool>,
}

/// What comes behind the list.
#[derive(Serialize)]
struct Totals {
    directory: String,
    allocated_bytes: u64,
    unread: Vec<String>,
    #[serde(flatten)]
    done: Done,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Listed { dry_run: bool, reclaimed_bytes_max: u64 },
    Removed { reclaimed_bytes: u64, elapsed_seconds: f64 },
}

pub(crate) fn run(args: &PartialsArgs, output: &Output) -> anyhow::Result<()> {
    let begun = Instant::now();
    let removes = args.remove && !args.dry_run;
    let mut found = if removes { remove(args, output)? } else { partials::plan(&args.directory)? };
    let mut errors = std::mem::take(&mut found.errors).into_iter();
    let error = errors.next();
    let elapsed_seconds = removes.then(|| begun.elapsed().as_secs_f64());
    let totals = Totals::of(args, &found, elapsed_seconds);
    let printed = match output.json {
        true => in_json(&found, &totals, error.is_some(), output),
        false => output.report(&totals, || lines(&found, &totals)),
    };
    for path in &totals.unread {
        output.remark(&format!("{path} may not be read: not looked at"));
    }
    errors.for_each(|error| output.note(&lacuna::describe(&error)));
    match error {
        // Whether that could be printed or not, the command has failed.
        Some(error) => Err(error.into()),
        None if removes => {
            Ok(printed.map_err(|error| error.but("what could be removed is gone".to_owned()))?)
        }
        None => Ok(printed?),
    }
}

fn remove(args: &PartialsArgs, output: &Output) -> anyhow::Result<Partials> {
    let removed = attended(output, None, |_, cancel| partials::apply(&args.directory, cancel))?;
    removed.map_err(|error| {
        let operation = format!("removal of what is left under {}", args.directory.display());
        unless_stopped(error.into(), operation, GO_ON)
    })
}

impl Totals {
    /// Of a removal, when it took some time.
    fn of(args: &PartialsArgs, found: &Partials, elapsed_seconds: Option<f64>) -> Self {
        Self {
            directory: args.directory.display().to_string(),
            allocated_bytes: allocated(found, |_| true),
            unread: found.unread.iter().map(|path| path.display().to_string()).collect(),
            done: match elapsed_seconds {
                Some(elapsed_seconds) => Done::Removed {
                    reclaimed_bytes: allocated(found, |leftover| leftover.removed),
                    elapsed_seconds,
                },
                None => Done::Listed {
                    dry_run: true,
                    reclaimed_bytes_max: allocated(found, is_removable),
                },
            },
        }
    }

    /// For people.
    fn line(&self, found: &Partials) -> String {
        let all = counted(found.leftovers.len() as u64, "file");
        let done = match self.done {
            Done::Listed { reclaimed_bytes_max, .. } => {
                format!("--remove gives back at most {}", bytes(reclaimed_bytes_max))
            }
            Done::Removed { reclaimed_bytes, .. } => {
                let removed = found.leftovers.iter().filter(|leftover| leftover.removed).count();
                format!("removed {removed}, which took {}", bytes(reclaimed_bytes))
            }
        };
        format!("total: {all}, {} allocated; {done}", bytes(self.allocated_bytes))
    }
}

fn allocated(found: &Partials, which: impl Fn(&Leftover) -> bool) -> u64 {
    let those = found.leftovers.iter().filter(|leftover| which(leftover));
    those.fold(0, |sum, leftover| sum.saturating_add(leftover.allocated_bytes))
}

fn is_removable(leftover: &Leftover) -> bool {
    leftover.kind != LeftoverKind::Mark && leftover.in_use == Some(false)
}

fn age_seconds(leftover: &Leftover) -> u64 {
    let age = SystemTime::now().duration_since(leftover.modified);
    // By whatever clock, one of the future is as young as can be.
    age.map_or(0, |age| age.as_secs())
}

/// The object; one that has failed ends with what went wrong.
fn in_json(
    found: &Partials,
    totals: &Totals,
    has_failed: bool,
    output: &Output,
) -> Result<(), StdoutError> {
    let mut out = output.stdout();
    let mut list = List::new("leftovers", &mut out, output);
    for leftover in &found.leftovers {
        list.add(&Line {
            path: leftover.path.display().to_string(),
            kind: leftover.kind,
            image: leftover.image.display().to_string(),
            size_bytes: leftover.size_bytes,
            allocated_bytes: leftover.allocated_bytes,
            age_seconds: age_seconds(leftover),
            in_use: leftover.in_use,
            removed: match totals.done {
                Done::Listed { .. } => None,
                Done::Removed { .. } => Some(leftover.removed),
            },
        })?;
    }
    if !has_failed {
        list.end(totals)?;
    }
    Ok(out.flush()?)
}

fn lines(found: &Partials, totals: &Totals) -> Vec<String> {
    if found.leftovers.is_empty() {
        return vec![format!("nothing is left under {}", totals.directory)];
    }
    let column = match totals.done {
        Done::Listed { .. } => "in use",
        Done::Removed { .. } => "removed",
    };
    let mut lines = vec![row(["kind", "size", "allocated", "age", column, "name"])];
    lines.extend(found.leftovers.iter().map(|leftover| {
        row([
            &leftover.kind.to_string(),
            &bytes(leftover.size_bytes),
            &bytes(leftover.allocated_bytes),
            &age(age_seconds(leftover)),
            state(leftover, &totals.done),
            &leftover.path.display().to_string(),
        ])
    }));
    lines.push(totals.line(found));
    if found.leftovers.iter().any(|leftover| leftover.kind == LeftoverKind::Mark) {
        lines.push(MARKED.to_owned());
    }
    lines
}

fn row([kind, size, allocated, age, state, name]: [&str; 6]) -> String {
    format!("{kind:<6} {size:>9} {allocated:>10} {age:>8}  {state:<7}  {name}")
}

const MARKED: &str = "a mark stays: the image beside it is half written, and the same sync, fold, prune or \
    squash again completes it";

fn state(leftover: &Leftover, done: &Done) -> &'static str {
    match (done, leftover.in_use) {
        (Done::Listed { .. }, Some(false)) => "no",
        (Done::Listed { .. }, Some(true)) => "yes",
        (Done::Listed { .. }, None) => "?",
        (Done::Removed { .. }, _) if leftover.removed => "yes",
        (Done::Removed { .. }, Some(true)) => "in use",
        (Done::Removed { .. }, _) => "no",
    }
}
