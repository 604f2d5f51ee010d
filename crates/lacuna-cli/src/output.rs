//! Where words go: reports to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::args::{OutputArgs, ProgressStyle};

/// How this run of a command speaks.
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) progress: ProgressStyle,
}

impl Output {
    /// Also starts logging to standard error, as much as was asked for.
    pub(crate) fn new(args: &OutputArgs) -> Self {
        let level = match (args.quiet, args.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, _) => LevelFilter::DEBUG,
        };
        let logging = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .without_time();
        // Where there is a logger already, it will do.
        let _ = logging.try_init();
        let progress = if args.quiet { ProgressStyle::None } else { args.progress };
        Self { json: args.json, quiet: args.quiet, progress }
    }

    /// Prints a report: `json` as one object, or what `text` writes. Nothing but JSON when quiet.
    pub(crate) fn report(
        &self,
        json: &impl Serialize,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut stdout, json).map_err(io::Error::from)?;
            writeln!(stdout)?;
        } else if !self.quiet {
            text(&mut stdout)?;
        }
        Ok(stdout.flush()?)
    }

    /// Says something on standard error, unless quiet.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// Says that the command failed, and what to do.
    pub(crate) fn failed(&self, command: &str, error: &str, remedy: Option<&str>) {
        eprintln!("{command}: {error}");
        if let Some(remedy) = remedy {
            eprintln!("  what to do: {remedy}");
        }
        if self.json {
            println!("{}", serde_json::json!({ "error": error, "remedy": remedy }));
        }
    }
}
