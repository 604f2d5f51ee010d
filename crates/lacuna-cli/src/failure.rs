//! From an error to what a person reads and a shell sees.

use std::path::Path;
use std::process::ExitCode;

use lacuna::Stopped;
use lacuna_sync::v2;

use crate::output::{self, Output, StdoutError};
use crate::remedy::Words;

/// How a command ended that did what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done; the same, or sound, where that was the question.
    Good,
    /// Different, or unsound.
    Bad,
}

/// A mistake on the command line that only shows when it is carried out.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// SRC and DST are one directory.
#[derive(Debug)]
pub(crate) struct SameDirectory(pub(crate) String, pub(crate) String);

impl std::fmt::Display for SameDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {} are the same directory", self.0, self.1)
    }
}

impl std::error::Error for SameDirectory {}

/// An operation that a signal stopped; the error that ended it lies under this.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// As a noun: `sync of a.img to b.img`.
    pub(crate) operation: String,
    pub(crate) remedy: &'static str,
    /// Where what had arrived is.
    pub(crate) kept: Option<String>,
}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was stopped by a signal", self.operation)?;
        self.kept.iter().try_for_each(|kept| write!(f, "; {kept}"))
    }
}

/// Names `operation` before an error that says no more than that somebody asked to stop.
pub(crate) fn unless_stopped(
    error: anyhow::Error,
    operation: String,
    remedy: &'static str,
) -> anyhow::Error {
    let local = error.downcast_ref::<lacuna::Error>();
    let local = local.or(error.downcast_ref::<Stopped>().map(|stopped| &stopped.cause));
    let session = error.downcast_ref::<lacuna_sync::Error>();
    let session = session.or(error.downcast_ref::<v2::Stopped>().map(|stopped| &*stopped.cause));
    let is_cancelled = matches!(local, Some(lacuna::Error::Cancelled))
        || session.is_some_and(lacuna_sync::Error::is_cancelled);
    let kept = match session {
        Some(lacuna_sync::Error::Cancelled { kept }) => Some(kept.clone()),
        _ => None,
    };
    if is_cancelled { error.context(Interrupted { operation, remedy, kept }) } else { error }
}

/// Names `image` where an error speaks of its size alone.
pub(crate) fn of_session(error: lacuna_sync::Error, image: &Path) -> anyhow::Error {
    match error {
        lacuna_sync::Error::UnalignedSize(_) => {
            anyhow::Error::from(error).context(image.display().to_string())
        }
        error => error.into(),
    }
}

/// Reports an error, if there is one: 0 done, 1 failed, 2 wrong usage. Of a command that answers a
/// question, `trouble` is the status when there is no answer.
pub(crate) fn exit_code(
    words: &Words,
    output: &Output,
    result: anyhow::Result<Outcome>,
    trouble: u8,
) -> ExitCode {
    let error = match result {
        Ok(Outcome::Good) => return ExitCode::SUCCESS,
        Ok(Outcome::Bad) => return ExitCode::FAILURE,
        Err(error) => error,
    };
    if error.downcast_ref::<StdoutError>().is_some_and(StdoutError::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let line = match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => interrupted.to_string(),
        None => lacuna::describe(error.as_ref()),
    };
    output.failed(words.command, &line, words.remedy(&error).as_deref());
    ExitCode::from(if error.downcast_ref::<Usage>().is_some() { 2 } else { trouble })
}

/// Ends a command whose line was no good, or which was asked for help.
pub(crate) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Nobody wants to read it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    output::say(text.trim_end().lines());
    if json {
        let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let what = one_line(what.strip_prefix("error: ").unwrap_or(what));
        let rest = one_line(rest);
        output::print_failure(
            false,
            &what,
            Some(&rest).filter(|rest| !rest.is_empty()).map(|r| &**r),
        );
    }
    ExitCode::from(2)
}
