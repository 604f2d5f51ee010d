//! `lacuna chain diff`: where two replicas differ.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use lacuna::Error;
use lacuna::chain::diff::{
    self, LayerDiff, Part, ReplicaDiff, ReplicaDiffOptions, Side, VolumeDiff,
};
use lacuna::chain::{ChainOptions, Replica};
use lacuna::diff::{DiffOptions, DiffStats};
use serde::Serialize;

use crate::args::ChainDiffArgs;
use crate::diff::{Found, HEADING, Line, ended};
use crate::failure::{Outcome, unless_stopped};
use crate::list::List;
use crate::meter::attended;
use crate::output::{Output, printable};
use crate::remedy::BEGIN_ANEW;
use crate::units::{bytes, counted, seconds};

#[derive(Serialize)]
struct Report<'a> {
    left: String,
    right: String,
    same: bool,
    layers: Vec<LayerLine<'a>>,
    volume: VolumeLine,
    elapsed_seconds: f64,
}

/// A layer of both, in JSON.
#[derive(Serialize)]
struct LayerLine<'a> {
    left: Option<SideLine<'a>>,
    right: Option<SideLine<'a>>,
    same: bool,
    metadata: &'a [&'static str],
    image: Option<&'a DiffStats>,
}

/// A layer of one of them.
#[derive(Serialize)]
struct SideLine<'a> {
    layer: &'a str,
    parent: &'a str,
    removed: bool,
    user_created: bool,
    labels: &'a BTreeMap<String, String>,
}

/// The volume, in JSON.
#[derive(Serialize)]
struct VolumeLine {
    same: Option<bool>,
    content_bytes: u64,
    past_end_bytes: u64,
    ranges: u64,
    read_bytes: u64,
}

/// A range in JSON.
#[derive(Serialize)]
struct RangeLine<'a> {
    layer: Option<&'a str>,
    #[serde(flatten)]
    line: &'a Line,
}

pub(crate) fn run(args: &ChainDiffArgs, output: &Output) -> anyhow::Result<Outcome> {
    let mut out = output.stdout();
    let shown = match (output.json, args.ranges) {
        (true, true) => in_json(args, output, &mut out),
        _ => in_lines(args, output, &mut out),
    };
    ended(shown, &mut out)
}

fn in_json(args: &ChainDiffArgs, output: &Output, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut list = List::new("differences", out, output);
    let found = compare(args, output, |part, line| {
        let layer = match part {
            Part::Layer(name) => Some(name),
            Part::Volume => None,
        };
        list.add(&RangeLine { layer, line })
    })?;
    let outcome = outcome(&found);
    list.end(&report(args, &found, begun)).map_err(|error| Found { outcome, error })?;
    Ok(outcome)
}

fn in_lines(
    args: &ChainDiffArgs,
    output: &Output,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut shown: Option<String> = None;
    let found = compare(args, output, |part, line| {
        let name = match part {
            _ if !args.ranges => return Ok(()),
            Part::Layer(name) => name,
            Part::Volume => "volume",
        };
        if shown.as_deref() != Some(name) {
            writeln!(out, "{}\n{HEADING}", printable(name))?;
            shown = Some(name.to_owned());
        }
        line.write(out)
    })?;
    let (outcome, report) = (outcome(&found), report(args, &found, begun));
    let written = match output.json {
        true => serde_json::to_string(&report)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}")),
        false => {
            lines(&found, &report).iter().try_for_each(|line| writeln!(out, "{}", printable(line)))
        }
    };
    written.map_err(|error| Found { outcome, error })?;
    Ok(outcome)
}

fn outcome(found: &ReplicaDiff) -> Outcome {
    if found.is_same() { Outcome::Good } else { Outcome::Bad }
}

fn compare(
    args: &ChainDiffArgs,
    output: &Output,
    mut show: impl FnMut(Part<'_>, &Line) -> io::Result<()>,
) -> anyhow::Result<ReplicaDiff> {
    let (left, right) = (Replica::open(&args.left)?, Replica::open(&args.right)?);
    let chain =
        ChainOptions { io: args.work.io.mode(), backing: args.backing.clone(), force: args.force };
    let options = ReplicaDiffOptions { chain, diff: DiffOptions { threads: args.work.threads() } };
    let mut stdout_error = None;
    let compared = attended(output, None, |progress, cancel| {
        diff::diff(&left, &right, &options, progress, cancel, |part, difference| {
            show(part, &Line::of(difference)).map_err(|error| {
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

fn report<'a>(args: &ChainDiffArgs, found: &'a ReplicaDiff, begun: Instant) -> Report<'a> {
    let side = |side: &'a Side| SideLine {
        layer: &side.name,
        parent: &side.meta.parent,
        removed: side.meta.removed,
        user_created: side.meta.user_created,
        labels: &side.meta.labels,
    };
    let layer = |layer: &'a LayerDiff| LayerLine {
        left: layer.left.as_ref().map(side),
        right: layer.right.as_ref().map(side),
        same: layer.is_same(),
        metadata: &layer.metadata,
        image: layer.stats.as_ref(),
    };
    let stats = match &found.volume {
        VolumeDiff::Read(stats) => stats.clone(),
        VolumeDiff::Same | VolumeDiff::Unknown => DiffStats::default(),
    };
    Report {
        left: args.left.display().to_string(),
        right: args.right.display().to_string(),
        same: found.is_same(),
        layers: found.layers.iter().map(layer).collect(),
        volume: VolumeLine {
            same: found.volume.is_same(),
            content_bytes: stats.content_bytes,
            past_end_bytes: stats.past_end_bytes,
            ranges: stats.ranges,
            read_bytes: stats.read_bytes,
        },
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    }
}

fn lines(found: &ReplicaDiff, report: &Report<'_>) -> Vec<String> {
    let mut rows: Vec<(String, String)> =
        found.layers.iter().map(|layer| (names(layer), differs(layer))).collect();
    let volume = match &found.volume {
        VolumeDiff::Same => "same".to_owned(),
        VolumeDiff::Unknown => {
            "unknown: it reads through a backing image, see --backing".to_owned()
        }
        VolumeDiff::Read(stats) => amounts(stats),
    };
    rows.push(("the volume".to_owned(), volume));
    let wide = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<_> =
        rows.iter().map(|(name, differs)| format!("{name:<wide$}  {differs}")).collect();
    let Report { left, right, same, .. } = report;
    let verdict = if *same { "are the same" } else { "differ" };
    let images = found.layers.iter().filter_map(|layer| layer.stats.as_ref());
    let read: u64 = images.map(|stats| stats.read_bytes).sum::<u64>() + report.volume.read_bytes;
    let took = seconds(report.elapsed_seconds);
    lines.push(format!("{left} and {right} {verdict}; read {} of both, {took}", bytes(read)));
    lines
}

/// One name, or both.
fn names(layer: &LayerDiff) -> String {
    match (&layer.left, &layer.right) {
        (Some(left), Some(right)) if left.name != right.name => {
            format!("{} | {}", left.name, right.name)
        }
        (left, right) => left.as_ref().or(right.as_ref()).map_or("", |side| &side.name).to_owned(),
    }
}

fn differs(layer: &LayerDiff) -> String {
    let (Some(left), Some(right), Some(stats)) = (&layer.left, &layer.right, &layer.stats) else {
        return if layer.left.is_some() { "only in A" } else { "only in B" }.to_owned();
    };
    let said = layer.metadata.iter().map(|key| {
        let [a, b] = [left, right].map(|side| said(side, key));
        format!("{key}: {a} | {b}")
    });
    let all = Some(amounts(stats)).filter(|_| !stats.is_same()).into_iter().chain(said);
    match all.collect::<Vec<_>>().join("; ") {
        text if text.is_empty() => "same".to_owned(),
        text => text,
    }
}

fn said(side: &Side, key: &str) -> String {
    match key {
        "parent" if side.meta.parent.is_empty() => "none".to_owned(),
        "parent" => side.meta.parent.clone(),
        "removed" => side.meta.removed.to_string(),
        "user_created" => side.meta.user_created.to_string(),
        _ => {
            let labels = side.meta.labels.iter().map(|(key, value)| format!("{key}={value}"));
            labels.collect::<Vec<_>>().join(" ")
        }
    }
}

fn amounts(stats: &DiffStats) -> String {
    let amounts = [
        ("content", stats.content_bytes),
        ("kind only", stats.kind_bytes),
        ("past end", stats.past_end_bytes),
    ];
    let amounts = amounts.iter().filter(|(_, amount)| *amount > 0);
    let amounts: Vec<_> =
        amounts.map(|(what, amount)| format!("{what} {}", bytes(*amount))).collect();
    match stats.is_same() {
        true => "same".to_owned(),
        false => format!("{} in {}", amounts.join(", "), counted(stats.ranges, "range")),
    }
}
