//! From an error to what a person reads and a shell sees.

use std::process::ExitCode;

use lacuna::copy::{Kept, Stopped};

use crate::output::Output;
use crate::units;

/// A mistake on the command line that only shows when it is carried out.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reports an error, if there is one: 0 done, 1 failed, 2 wrong usage.
pub(crate) fn exit_code(command: &str, output: &Output, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let line = lacuna::describe(error.as_ref());
    let remedy = remedy(&error);
    output.failed(command, &line, remedy.as_deref());
    ExitCode::from(if error.downcast_ref::<Usage>().is_some() { 2 } else { 1 })
}

/// Whoever read our output has gone, which is their right.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// What to do about it, and what it left.
fn remedy(error: &anyhow::Error) -> Option<String> {
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        let parts = stopped.cause.remedy().into_iter().chain(kept(&stopped.kept));
        return Some(parts.collect::<Vec<_>>().join("; "));
    }
    let local = error.downcast_ref::<lacuna::Error>().and_then(lacuna::Error::remedy);
    local
        .or_else(|| error.downcast_ref::<lacuna_sync::Error>().and_then(lacuna_sync::Error::remedy))
}

fn kept(kept: &Kept) -> Option<String> {
    Some(match kept {
        Kept::Nothing | Kept::Part { done_bytes: 0, .. } => return None,
        Kept::Part { path, done_bytes } => format!(
            "the first {} are kept in {}, and the same command goes on behind them",
            units::bytes(*done_bytes),
            path.display()
        ),
        Kept::HalfWritten(path) => format!(
            "{} is half old and half new, and marked unfinished: the same command completes it",
            path.display()
        ),
        Kept::HalfWrittenDevice(path) => format!(
            "{} is half old and half new: do not use it before the same command has completed it",
            path.display()
        ),
    })
}
