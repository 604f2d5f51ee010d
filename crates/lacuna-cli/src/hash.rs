//! `lacuna hash`: digests, receipts and `.checksum` files.

mod check;

use std::time::Instant;

use lacuna::checksum_file;
use lacuna::hash::{self, HashOptions, Hashed, Method};
use lacuna::receipt::{self, ReceiptOptions, Receipted};
use lacuna::{ImageOptions, KindBytes, LayoutOptions, LayoutOrigin, Source, Target};
use serde::Serialize;

use crate::args::{HashArgs, HashMethod};
use crate::clock::{local_zone, now};
use crate::failure::{Outcome, Usage, unless_stopped};
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::BEGIN_ANEW;
use crate::units::bytes;

#[derive(Serialize)]
struct Report<'a> {
    image: &'a str,
    #[serde(flatten)]
    hashed: Hashed,
    /// The file that was written, if one was.
    checksum_file: Option<String>,
    elapsed_seconds: f64,
}

#[derive(Serialize)]
struct LayoutReport<'a> {
    image: &'a str,
    method: &'static str,
    #[serde(flatten)]
    receipted: Receipted,
    elapsed_seconds: f64,
}

/// What `--write` would read, and where it would write.
#[derive(Serialize)]
struct DryRun<'a> {
    image: &'a str,
    dry_run: bool,
    method: Method,
    size_bytes: u64,
    #[serde(flatten)]
    kinds: KindBytes,
    read_bytes: u64,
    checksum_file: String,
}

pub(crate) fn run(args: &HashArgs, output: &Output) -> anyhow::Result<Outcome> {
    refuse_contradictions(args)?;
    let image = args.image.display().to_string();
    let done = match args {
        HashArgs { check: true, .. } => return check::run(args, &image, output),
        HashArgs { layout: true, .. } => print_receipt(args, &image, output),
        HashArgs { dry_run: true, .. } => print_dry_run(args, &image, output),
        _ => print_digest(args, &image, output),
    };
    done.map(|()| Outcome::Good)
}

/// A `.checksum` file is of one method, and of a file.
fn refuse_contradictions(args: &HashArgs) -> anyhow::Result<()> {
    let option = match args {
        HashArgs { write: true, .. } => "--write",
        HashArgs { check: true, .. } => "--check",
        _ => return Ok(()),
    };
    if args.method.is_some_and(|method| method != HashMethod::Crc64) {
        let why = format!("{option} goes with --method crc64: .checksum files know no other");
        return Err(Usage(why).into());
    }
    if Target::is_device(&args.image) {
        let image = args.image.display();
        anyhow::bail!(
            "{image} is a block device: it has no change time that a .checksum file could speak of"
        );
    }
    Ok(())
}

fn options(args: &HashArgs) -> HashOptions {
    let method = args.method.map_or_else(Method::default, Method::from);
    HashOptions { method, io: args.work.io.mode(), threads: args.work.threads() }
}

fn stopped(error: lacuna::Error, image: &str) -> anyhow::Error {
    unless_stopped(error.into(), format!("hashing {image}"), BEGIN_ANEW)
}

fn print_digest(args: &HashArgs, image: &str, output: &Output) -> anyhow::Result<()> {
    let begun = Instant::now();
    let options = options(args);
    let hashed = attended(output, None, |progress, cancel| match args.write {
        true => {
            let (zone, now) = (local_zone(), now());
            hash::write(&args.image, &options, &zone, &now, progress, cancel)
        }
        false => hash::hash(&args.image, &options, progress, cancel),
    })?;
    let hashed = hashed.map_err(|error| stopped(error, image))?;
    let checksum_file = args.write.then(|| checksum_name(args));
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    let report = Report { image, hashed, checksum_file, elapsed_seconds };
    let printed = output.report(&report, || vec![line(&report.hashed.digest, image)]);
    let Some(written) = &report.checksum_file else { return Ok(printed?) };
    output.remark(&format!("{written} is written"));
    Ok(printed.map_err(|error| error.but(format!("{written} is written")))?)
}

fn print_receipt(args: &HashArgs, image: &str, output: &Output) -> anyhow::Result<()> {
    let begun = Instant::now();
    let options = ReceiptOptions { io: args.work.io.mode(), threads: args.work.threads() };
    let receipted = attended(output, None, |progress, cancel| {
        receipt::receipt(&args.image, &options, progress, cancel)
    })?;
    let receipted = receipted.map_err(|error| stopped(error, image))?;
    let elapsed_seconds = begun.elapsed().as_secs_f64();
    let report = LayoutReport { image, method: "receipt", receipted, elapsed_seconds };
    let layout_from = match report.receipted.layout_from {
        LayoutOrigin::Fiemap => "FIEMAP (data, zero and hole)",
        LayoutOrigin::SeekHole => "SEEK_HOLE (data and hole)",
        LayoutOrigin::Device => "a block device (data alone)",
    };
    let printed = output.report(&report, || vec![line(&report.receipted.digest, image)]);
    output.remark(&format!(
        "layout from {layout_from}: compare only with receipts that say the same"
    ));
    Ok(printed?)
}

fn print_dry_run(args: &HashArgs, image: &str, output: &Output) -> anyhow::Result<()> {
    let options = ImageOptions { io: args.work.io.mode(), ..ImageOptions::default() };
    let source = Source::open(&args.image, &options)?;
    let mut kinds = KindBytes::default();
    for extent in source.layout(&LayoutOptions::default())? {
        let extent = extent?;
        kinds.add(extent.kind, extent.range.len());
    }
    let dry_run = DryRun {
        image,
        dry_run: true,
        method: Method::Crc64,
        size_bytes: source.size(),
        kinds,
        read_bytes: kinds.data_bytes,
        checksum_file: checksum_name(args),
    };
    let lines = || {
        vec![format!(
            "{image}: would read {} and write {}, nothing done",
            bytes(dry_run.read_bytes),
            dry_run.checksum_file
        )]
    };
    Ok(output.report(&dry_run, lines)?)
}

/// Beside the image itself, where the name is a link.
fn checksum_name(args: &HashArgs) -> String {
    let real = std::fs::canonicalize(&args.image);
    let is_link = std::fs::symlink_metadata(&args.image).is_ok_and(|it| it.is_symlink());
    let image = if is_link { real.as_ref().unwrap_or(&args.image) } else { &args.image };
    checksum_file::path_of(image).display().to_string()
}

/// As `sha512sum` prints it.
fn line(digest: &str, image: &str) -> String {
    format!("{digest}  {image}")
}
