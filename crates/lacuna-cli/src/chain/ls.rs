//! `lacuna chain ls`: the layers of a replica directory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use lacuna::chain::ls::{ListedLayer, LsOptions, Share, ls};
use lacuna::chain::{ChecksumState, Replica};
use serde::Serialize;

use crate::args::ChainLsArgs;
use crate::failure::unless_stopped;
use crate::meter::attended;
use crate::output::{Output, StdoutError, printable};
use crate::remedy::BEGIN_ANEW;
use crate::strip::{SHARES, Strip, is_coloured, width};
use crate::units::{bytes, counted};

#[derive(Serialize)]
struct Report<'a> {
    directory: String,
    size_bytes: u64,
    head: &'a str,
    dirty: bool,
    rebuilding: bool,
    engine_error: &'a str,
    backing_file: &'a str,
    layers: Vec<Line<'a>>,
    elapsed_seconds: f64,
}

/// A layer in JSON.
#[derive(Serialize)]
struct Line<'a> {
    layer: &'a str,
    head: bool,
    parent: &'a str,
    created: &'a str,
    removed: bool,
    user_created: bool,
    labels: &'a BTreeMap<String, String>,
    size_bytes: u64,
    allocated_bytes: u64,
    exclusive_bytes: u64,
    hidden_bytes: u64,
    checksum: ChecksumState,
}

pub(crate) fn run(args: &ChainLsArgs, output: &Output) -> anyhow::Result<()> {
    let begun = Instant::now();
    let directory = args.directory.display().to_string();
    let replica = Replica::open(&args.directory)?;
    let options = LsOptions { verify: args.verify.then(|| super::hash_options(args.work)) };
    let mut strips: Vec<Strip> = vec![];
    let listed = attended(output, None, |progress, cancel| {
        ls(&replica, &options, progress, cancel, |layer, range, share| {
            let strip = || Strip::new(replica.volume().size, width(), &SHARES);
            strips.resize_with(strips.len().max(layer + 1), strip);
            strips[layer].add(range, rank(share));
        })
    })?;
    let layers = listed.map_err(|error| {
        unless_stopped(error.into(), format!("listing of {directory}"), BEGIN_ANEW)
    })?;
    let volume = replica.volume();
    let report = Report {
        directory,
        size_bytes: volume.size,
        head: &volume.head,
        dirty: volume.dirty,
        rebuilding: volume.rebuilding,
        engine_error: &volume.error,
        backing_file: &volume.backing_file_path,
        layers: layers.iter().map(|layer| line(layer, &volume.head)).collect(),
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    match output.json {
        true => output.report(&report, Vec::new)?,
        false => print(&report, &layers, &strips, output).map_err(StdoutError::from)?,
    }
    Ok(())
}

fn line<'a>(layer: &'a ListedLayer, head: &str) -> Line<'a> {
    Line {
        layer: &layer.name,
        head: layer.name == head,
        parent: &layer.meta.parent,
        created: &layer.meta.created,
        removed: layer.meta.removed,
        user_created: layer.meta.user_created,
        labels: &layer.meta.labels,
        size_bytes: layer.size_bytes,
        allocated_bytes: layer.allocated_bytes,
        exclusive_bytes: layer.exclusive_bytes,
        hidden_bytes: layer.hidden_bytes,
        checksum: layer.checksum,
    }
}

fn print(
    report: &Report<'_>,
    layers: &[ListedLayer],
    strips: &[Strip],
    output: &Output,
) -> io::Result<()> {
    let mut out = output.stdout();
    writeln!(out, "{}", printable(&heading(report)))?;
    let names = names(layers);
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let head = row("layer", wide, ["size", "allocated", "exclusive", "hidden"], "checksum", "is");
    writeln!(out, "{head}")?;
    let strips = strips.iter().map(Some).chain(std::iter::repeat(None));
    for ((name, line), strip) in names.iter().zip(&report.layers).zip(strips) {
        let sizes =
            [line.size_bytes, line.allocated_bytes, line.exclusive_bytes, line.hidden_bytes];
        let sizes = sizes.map(bytes);
        let checksum = state(line.checksum);
        let row = row(name, wide, sizes.each_ref().map(|size| &**size), checksum, &marks(line));
        writeln!(out, "{}", printable(row.trim_end()))?;
        if let Some(strip) = strip {
            writeln!(out, "{}", strip.line(is_coloured()))?;
        }
    }
    writeln!(out, "{}", SHARES.legend(is_coloured()))?;
    out.flush()
}

/// What stands in the first column: the names, indented where they do not lead to the head.
fn names(layers: &[ListedLayer]) -> Vec<String> {
    let depths: BTreeMap<&str, usize> =
        layers.iter().map(|layer| (&*layer.name, layer.depth)).collect();
    let name = |layer: &ListedLayer| {
        let below = depths.get(&*layer.meta.parent);
        let mark = match below.is_some_and(|below| *below < layer.depth) {
            _ if layer.depth == 0 => "",
            true => "+ ",
            false => "  ",
        };
        let indent = "  ".repeat(layer.depth.saturating_sub(1));
        printable(&format!("{indent}{mark}{}", layer.name))
    };
    layers.iter().map(name).collect()
}

fn heading(report: &Report<'_>) -> String {
    let Report { directory, size_bytes, head, .. } = report;
    let mut line = format!("{directory}: {}, head {head}", bytes(*size_bytes));
    for (is, word) in [(report.dirty, ", dirty"), (report.rebuilding, ", not complete: rebuilding")]
    {
        line += if is { word } else { "" };
    }
    for (words, text) in
        [(", given up: ", report.engine_error), (", on the backing image ", report.backing_file)]
    {
        if !text.is_empty() {
            line += &format!("{words}{text}");
        }
    }
    let sum = |of: fn(&Line<'_>) -> u64| bytes(report.layers.iter().map(of).sum());
    let allocated = sum(|line| line.allocated_bytes);
    let hidden = sum(|line| line.hidden_bytes);
    let layers = counted(report.layers.len() as u64, "layer");
    line + &format!("; {layers}, {allocated} allocated, {hidden} hidden")
}

fn row(name: &str, wide: usize, sizes: [&str; 4], checksum: &str, is: &str) -> String {
    let [size, allocated, exclusive, hidden] = sizes;
    format!(
        "{name:<wide$} {size:>9} {allocated:>9} {exclusive:>9} {hidden:>9}  {checksum:<9}  {is}"
    )
}

fn state(checksum: ChecksumState) -> &'static str {
    match checksum {
        ChecksumState::None => "none",
        ChecksumState::Malformed => "malformed",
        ChecksumState::SilentlyCorrupted => "corrupt",
        ChecksumState::Stale => "stale",
        ChecksumState::Fresh => "fresh",
        ChecksumState::Right => "right",
        ChecksumState::Wrong => "wrong",
    }
}

/// Its place among the marks of a strip.
fn rank(share: Share) -> usize {
    match share {
        Share::Visible => 0,
        Share::Hidden => 1,
        Share::Nothing => 2,
    }
}

/// What else is to be known of a layer.
fn marks(line: &Line<'_>) -> String {
    let mut marks = vec![];
    for (is, word) in [(line.head, "head"), (line.removed, "removed"), (line.user_created, "user")]
    {
        marks.extend(is.then(|| word.to_owned()));
    }
    marks.extend(Some(line.created.to_owned()).filter(|created| !created.is_empty()));
    marks.extend(line.labels.iter().map(|(key, value)| format!("{key}={value}")));
    marks.join(" ")
}
