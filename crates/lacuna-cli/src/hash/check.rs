//! `lacuna hash --check`: does a `.checksum` file hold?

use std::time::Instant;

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
    recorded: Option<&'a str>,
    /// What the image has, where it was read.
    digest: Option<&'a str>,
    read_bytes: u64,
    elapsed_seconds: f64,
}

pub(super) fn run(args: &HashArgs, image: &str, output: &Output) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let options = super::options(args);
    let checked = attended(output, None, |progress, cancel| {
        hash::check(&args.image, &options, progress, cancel)
    })?;
    let verdict = checked.map_err(|error| super::stopped(error, image))?;
    let (name, recorded, hashed) = match &verdict {
        Verdict::Sound(hashed) => ("sound", Some(&hashed.digest), Some(hashed)),
        Verdict::Corrupt { recorded, hashed } => ("corrupt", Some(recorded), Some(hashed)),
        Verdict::Stale { recorded } => ("stale", Some(recorded), None),
        Verdict::Missing => ("missing", None, None),
    };
    let report = Report {
        image,
        verdict: name,
        recorded: recorded.map(String::as_str),
        read_bytes: hashed.map_or(0, |hashed| hashed.read_bytes),
        digest: hashed.map(|hashed| &*hashed.digest),
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let outcome = match verdict {
        Verdict::Sound(_) => Outcome::Good,
        _ => Outcome::Bad,
    };
    match output.report(&report, || vec![format!("{image}: {name}{}", why(&verdict))]) {
        // What cannot be written any more does not change what was found.
        Err(error) if !error.is_broken_pipe() => Err(error.into()),
        _ => Ok(outcome),
    }
}

fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Sound(_) => String::new(),
        Verdict::Stale { .. } => {
            ": the image was changed after its .checksum was written".to_owned()
        }
        Verdict::Missing => ": there is no .checksum file".to_owned(),
        Verdict::Corrupt { recorded, hashed } if *recorded == hashed.digest => {
            ": its .checksum says that it was found corrupt before".to_owned()
        }
        Verdict::Corrupt { recorded, hashed } => format!(
            ": its .checksum says {recorded}, its content has {}, and nothing wrote to it since",
            hashed.digest
        ),
    }
}
