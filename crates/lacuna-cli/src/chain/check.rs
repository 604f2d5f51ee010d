//! `lacuna chain check`: is a replica directory sound?

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use lacuna::chain::check::{CheckOptions, Checked, Code, Finding, Severity, check};
use lacuna::chain::{ChainError, Replica};
use serde::Serialize;

use crate::args::ChainCheckArgs;
use crate::failure::{Outcome, unless_stopped};
use crate::list::List;
use crate::meter::attended;
use crate::output::{Output, StdoutError};
use crate::remedy::BEGIN_ANEW;
use crate::units::counted;

/// A finding in JSON.
#[derive(Serialize)]
struct Line<'a> {
    severity: Severity,
    code: Code,
    file: &'a str,
    what: &'a str,
    remedy: &'a str,
}

/// What comes behind the findings.
#[derive(Serialize)]
struct Totals {
    directory: String,
    sound: bool,
    layer_count: u64,
    unsound: u64,
    notes: u64,
    verified: u64,
    elapsed_seconds: f64,
}

pub(crate) fn run(args: &ChainCheckArgs, output: &Output) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let directory = args.directory.display().to_string();
    let verify = args.verify.then(|| super::hash_options(args.work));
    let checked = attended(output, None, |progress, cancel| {
        check(&args.directory, &CheckOptions { verify }, progress, cancel)
    })?;
    let mut checked = checked.map_err(|error| {
        unless_stopped(error.into(), format!("check of {directory}"), BEGIN_ANEW)
    })?;
    let mut errors = std::mem::take(&mut checked.errors).into_iter();
    let error = errors.next();
    let totals = Totals {
        directory,
        sound: checked.is_sound(),
        layer_count: checked.layers,
        unsound: checked.count(Severity::Unsound),
        notes: checked.count(Severity::Note),
        verified: checked.verified,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let printed = match output.json {
        true => in_json(&checked, &totals, error.is_some(), output),
        false => output.report(&totals, || lines(&checked, &totals, error.is_some())),
    };
    errors.for_each(|error| output.note(&lacuna::describe(&error)));
    match (error, printed) {
        (Some(error), _) => Err(error.into()),
        // What cannot be written any more does not change what was found.
        (None, Err(error)) if !error.is_broken_pipe() => Err(error.into()),
        _ if totals.sound => Ok(Outcome::Good),
        _ => Ok(Outcome::Bad),
    }
}

/// The object; one of a check that could not look at everything ends with what went wrong.
fn in_json(
    checked: &Checked,
    totals: &Totals,
    has_failed: bool,
    output: &Output,
) -> Result<(), StdoutError> {
    let mut out = output.stdout();
    let mut list = List::new("findings", &mut out, output);
    for Finding { severity, file, code, what } in &checked.findings {
        let remedy = &remedy(*code, &totals.directory);
        list.add(&Line { severity: *severity, code: *code, file, what, remedy })?;
    }
    if !has_failed {
        list.end(totals)?;
    }
    Ok(out.flush()?)
}

/// What to do, by the command that does it.
fn remedy(code: Code, directory: &str) -> String {
    let one_file = || {
        let replica = Replica::open(Path::new(directory)).ok()?;
        match replica.refuse_one_file(replica.layers().keys().map(String::as_str)) {
            Err(lacuna::Error::Chain(ChainError::HalfSquashed { old, new })) => Some((old, new)),
            _ => None,
        }
    };
    match (code == Code::HalfSquashed).then(one_file).flatten() {
        Some((old, new)) => super::squash::again(&old, &new),
        None => code.remedy().to_owned(),
    }
}

fn lines(checked: &Checked, totals: &Totals, has_failed: bool) -> Vec<String> {
    let line = |finding: &Finding| {
        let Finding { severity, file, code, what } = finding;
        let file = if file == "." { &totals.directory } else { file };
        format!("{severity:<7}  {file} {what}; {}", remedy(*code, &totals.directory))
    };
    let mut lines: Vec<_> = checked.findings.iter().map(line).collect();
    let Totals { directory, layer_count, unsound, notes, verified, .. } = totals;
    let verdict = match (has_failed, totals.sound) {
        (true, _) => "could not be checked whole".to_owned(),
        (false, true) => "is sound".to_owned(),
        (false, false) => format!("is unsound: {}", counted(*unsound, "fault")),
    };
    let verified = match verified {
        0 => String::new(),
        _ => format!(", {} read and compared", counted(*verified, "checksum")),
    };
    let (layers, notes) = (counted(*layer_count, "layer"), counted(*notes, "note"));
    lines.push(format!("{directory} {verdict}; {layers}, {notes}{verified}"));
    lines
}
