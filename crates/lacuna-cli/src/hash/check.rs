//! `lacuna hash --check`: does a `.checksum` file hold?

use std::time::Instant;

use lacuna::checksum_file::ChecksumFile;
use lacuna::hash::{self, Verdict};
use serde::Serialize;

use crate::args::HashArgs;
use crate::failure::Outcome;
use crate::meter::attended;
use crate::output::Output;

#[derive(Serialize)]
struct Report<'a> {
    image: &'a str,
    verdict: &'static str,
    /// What the file says.
    recorded: Option<String>,
    /// What the image has, where it was read.
    digest: Option<String>,
    read_bytes: u64,
    elapsed_seconds: f64,
}

pub(super) fn run(args: &HashArgs, image: &str, output: &Output) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let options = super::options(args);
    let checked = attended(output, |progress, cancel| {
        let real = std::fs::canonicalize(&args.image).unwrap_or_else(|_| args.image.clone());
        let recorded = ChecksumFile::read(&real)?;
        let verdict = hash::check(&args.image, &options, progress, cancel)?;
        Ok((recorded, verdict))
    })?;
    let (recorded, verdict) = checked.map_err(|error| super::stopped(error, image))?;
    let (name, hashed) = match verdict {
        Verdict::Sound(hashed) => ("sound", Some(hashed)),
        Verdict::Corrupt(hashed) => ("corrupt", Some(hashed)),
        Verdict::Stale => ("stale", None),
        Verdict::Missing => ("missing", None),
    };
    let report = Report {
        image,
        verdict: name,
        recorded: recorded.map(|recorded| recorded.checksum),
        read_bytes: hashed.as_ref().map_or(0, |hashed| hashed.read_bytes),
        digest: hashed.map(|hashed| hashed.digest),
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let outcome = if name == "sound" { Outcome::Good } else { Outcome::Bad };
    match output.report(&report, || vec![report.line()]) {
        // What cannot be written any more does not change what was found.
        Err(error) if !error.is_broken_pipe() => Err(error.into()),
        _ => Ok(outcome),
    }
}

impl Report<'_> {
    fn line(&self) -> String {
        let why = match (self.verdict, &self.recorded, &self.digest) {
            ("stale", ..) => ": the image was changed after its .checksum was written".to_owned(),
            ("missing", ..) => ": there is no .checksum file".to_owned(),
            ("corrupt", Some(recorded), Some(digest)) if recorded == digest => {
                ": its .checksum says that it was found corrupt before".to_owned()
            }
            ("corrupt", Some(recorded), Some(digest)) => format!(
                ": its .checksum says {recorded}, its content has {digest}, and nothing wrote to it since"
            ),
            _ => String::new(),
        };
        format!("{}: {}{why}", self.image, self.verdict)
    }
}
