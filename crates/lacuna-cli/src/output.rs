//! Where words go: reports to standard output, everything else to standard error. A stream that takes
//! nothing never ends the process; of standard output it is an error.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::args::{OutputArgs, ProgressStyle};
use crate::lines::{self, Std};

/// How this run of a command speaks.
pub(crate) struct Output {
    pub(crate) json: bool,
    /// Whether an object with a list in it was begun on standard output.
    pub(crate) in_list: Cell<bool>,
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
            .with_writer(|| Log)
            .with_ansi(false)
            .with_target(false)
            .without_time();
        // Where there is a logger already, it will do.
        let _ = logging.try_init();
        let progress = if args.quiet { ProgressStyle::None } else { args.progress };
        Self { json: args.json, in_list: Cell::new(false), quiet: args.quiet, progress }
    }

    /// Prints a report: `json` as one object, or `lines`. Nothing but JSON when quiet.
    pub(crate) fn report(
        &self,
        json: &impl Serialize,
        lines: impl FnOnce() -> Vec<String>,
    ) -> Result<(), StdoutError> {
        let text = match (self.json, self.quiet) {
            (true, _) => serde_json::to_string(json).map_err(io::Error::from)? + "\n",
            (false, true) => return Ok(()),
            (false, false) => joined(lines().iter().map(String::as_str)),
        };
        Ok(print(&text)?)
    }

    /// Standard output, for a report that is written bit by bit. Nothing but JSON when quiet.
    pub(crate) fn stdout(&self) -> Box<dyn Write> {
        match self.quiet && !self.json {
            true => Box::new(io::sink()),
            false => Box::new(BufWriter::new(io::stdout().lock())),
        }
    }

    /// Says on standard error what an object says by itself.
    pub(crate) fn remark(&self, line: &str) {
        if !self.json {
            self.note(line);
        }
    }

    /// Says something on standard error, unless quiet.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            say([line]);
        }
    }

    /// Says that the command failed, and what to do.
    pub(crate) fn failed(&self, command: &str, error: &str, remedy: Option<&str>) {
        let first = format!("{command}: {error}");
        let second = remedy.map(|remedy| format!("  what to do: {remedy}"));
        say([first.as_str()].into_iter().chain(second.as_deref()));
        if self.json {
            print_failure(self.in_list.get(), error, remedy);
        }
    }
}

/// Prints the object of a command that failed, or the rest of it when its list was begun.
pub(crate) fn print_failure(in_list: bool, error: &str, remedy: Option<&str>) {
    let object = serde_json::json!({ "error": error, "remedy": remedy }).to_string();
    let text = match object.strip_prefix('{').filter(|_| in_list) {
        Some(rest) => format!("],{rest}\n"),
        None => object + "\n",
    };
    // The command has failed already, and says so on standard error.
    let _ = print(&text);
}

/// Writes `text` to standard output, at once.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes lines for people to standard error, at once: others may be writing there too.
pub(crate) fn say<'a>(lines: impl IntoIterator<Item = &'a str>) {
    let text = joined(lines);
    match lines::started() {
        Some(lines) => lines.tell(Std::Err, text),
        None => {
            // There is nowhere left to complain.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

fn joined<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    lines.into_iter().map(|line| printable(line) + "\n").collect()
}

/// `line` with its control characters escaped: names of files may have any, and a terminal obeys them.
pub(crate) fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter.is_control() && letter != '\t' {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
    }
    text
}

/// Whether `stream` is a terminal that knows more than lines.
pub(crate) fn is_capable(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_some_and(|name| name != "dumb")
}

/// Lines of the log.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say([String::from_utf8_lossy(bytes).trim_end_matches('\n')]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output did not take a report.
#[derive(Debug)]
pub(crate) struct StdoutError {
    source: io::Error,
    /// What was done all the same.
    done: Option<String>,
}

impl StdoutError {
    /// Says what was done all the same.
    pub(crate) fn but(self, done: String) -> Self {
        Self { done: Some(done), ..self }
    }

    /// Whoever read our output has gone, which is their right.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

impl From<io::Error> for StdoutError {
    fn from(source: io::Error) -> Self {
        Self { source, done: None }
    }
}

impl fmt::Display for StdoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", lacuna::system_words(&self.source))?;
        match &self.done {
            Some(done) => write!(f, "; {done}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StdoutError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\n\x1b[2Jb\u{9b}.img"), "a\\n\\u{1b}[2Jb\\u{9b}.img");
        assert_eq!(printable("größe\t\u{fffd}"), "größe\t\u{fffd}");
        assert_eq!(joined(["a\nb", "c"]), "a\\nb\nc\n");
    }
}
