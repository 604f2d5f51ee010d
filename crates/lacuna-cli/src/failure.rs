//! From an error to what a person reads and a shell sees.

use std::process::ExitCode;

use crate::output::Output;

/// A mistake on the command line that only shows when it is carried out.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What to do about an error, to be read after it.
#[derive(Debug)]
pub(crate) struct Remedy(pub(crate) String);

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reports an error, if there is one: 0 done, 1 failed, 2 wrong usage.
pub(crate) fn exit_code(command: &str, output: &Output, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let line = describe(&error);
    let remedy = remedy(&error);
    output.failed(command, &line, remedy.as_deref());
    ExitCode::from(if error.downcast_ref::<Usage>().is_some() { 2 } else { 1 })
}

/// Whoever read our output has gone, which is their right.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Remedy>() {
        // The remedy is said on a line of its own.
        Some(_) => error.source().map_or_else(|| error.to_string(), lacuna::describe),
        None => lacuna::describe(error.as_ref()),
    }
}

fn remedy(error: &anyhow::Error) -> Option<String> {
    let said = error.downcast_ref::<Remedy>().map(|remedy| remedy.0.clone());
    said.or_else(|| error.downcast_ref::<lacuna::Error>().and_then(lacuna::Error::remedy))
        .or_else(|| error.downcast_ref::<lacuna_sync::Error>().and_then(lacuna_sync::Error::remedy))
}
