//! `sfold`: Longhorn's command line, unchanged.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use lacuna::fold::{self, FoldOptions};

use crate::args::{OutputArgs, ProgressStyle};
use crate::failure::{self, Outcome, unless_stopped};
use crate::go_flags::{self, Flag, Stop, Value};
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::{GO_ON, SFOLD};

fn flags() -> [Flag; 1] {
    [Flag { name: "verbose", default: Value::Bool(false), help: "say more" }]
}

/// Runs `sfold` with the words after its name.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = match go_flags::parse(&flags(), words) {
        Ok(parsed) => parsed,
        Err(stop) => return stop.exit(&usage()),
    };
    let (child, parent) = match parsed.words.as_slice() {
        [] => return wrong("Error: missing file paths"),
        [_] => return wrong("Error: missing destination file path"),
        [child, parent] => (Path::new(child), Path::new(parent)),
        _ => return wrong("Error: too many arguments"),
    };
    let output = Output::new(&OutputArgs {
        verbose: parsed.bool("verbose").into(),
        progress: ProgressStyle::None,
        ..OutputArgs::default()
    });
    let folded = run(child, parent, &output).map(|()| Outcome::Good);
    failure::exit_code(&SFOLD, &output, folded, 1)
}

/// Ends a command whose line was no good.
fn wrong(why: &str) -> ExitCode {
    Stop::Wrong(why.to_owned()).exit(&usage())
}

fn usage() -> String {
    let words = "  sfold [flags] CHILD PARENT\n";
    let usage = go_flags::usage("sfold", &flags());
    let (title, flags) = usage.split_once('\n').unwrap_or((&usage, ""));
    format!("{title}\n{words}{flags}")
}

fn run(child: &Path, parent: &Path, output: &Output) -> anyhow::Result<()> {
    let (from, into) = (child.display(), parent.display());
    tracing::info!("folding {from} into {into}");
    let folded = attended(output, None, |progress, cancel| {
        fold::apply(child, parent, &FoldOptions::default(), progress, cancel)
    })?;
    let stats = folded.map_err(|error| {
        unless_stopped(error.into(), format!("fold of {from} into {into}"), GO_ON)
    })?;
    tracing::info!(
        written_bytes = stats.written_bytes,
        reflinked_bytes = stats.reflinked_bytes,
        "folded"
    );
    Ok(())
}
