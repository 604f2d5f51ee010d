//! A command whose input and output are the stream, like that of ssh.

use std::ffi::OsString;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::error::{Error, Result, SSH_FAILED, Unreached};

/// How long a command may take to end once its stream has.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Exit status of a shell that does not find the command.
const NOT_FOUND: i32 = 127;

/// The pipes of a command.
pub(super) struct Pipes {
    output: ChildStdout,
    /// Closed when there is nothing more to be said.
    input: Option<ChildStdin>,
}

impl Pipes {
    fn input(self: Pin<&mut Self>) -> io::Result<Pin<&mut ChildStdin>> {
        match &mut self.get_mut().input {
            Some(input) => Ok(Pin::new(input)),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buf)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.input()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

/// A command that carries a session.
pub(in crate::v2) struct Running {
    child: Child,
    command: String,
    host: String,
}

/// Starts the command that leads to `host`. What it says on standard error is for the person here.
pub(super) fn start(words: &[OsString], host: &str) -> Result<(Pipes, Running)> {
    let (program, arguments) = match words.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (OsString::new(), &[][..]),
    };
    let command = program.to_string_lossy().into_owned();
    let cannot = |source| Unreached::Spawn { command: command.clone(), source };
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(cannot(io::ErrorKind::BrokenPipe.into()).into());
    };
    let host = host.to_owned();
    Ok((Pipes { output, input: Some(input) }, Running { child, command, host }))
}

impl Running {
    /// Lets the command end, and tells what `error` of the session over it came from.
    pub(in crate::v2) async fn explain(mut self, error: Error) -> Error {
        let is_noise = matches!(error, Error::NotLacuna { .. });
        if !is_noise && !error.is_of_the_connection() {
            return error;
        }
        let Some(status) = self.end().await else { return error };
        let Self { command, host, .. } = self;
        match status.code() {
            Some(NOT_FOUND) => Unreached::NoLacuna { host }.into(),
            Some(SSH_FAILED) => Unreached::Command { command, host, status }.into(),
            _ if is_noise => Unreached::Noise { host }.into(),
            Some(0) => error,
            _ => Unreached::Command { command, host, status }.into(),
        }
    }

    /// How the command ended, whose stream is closed; `None` when it does not.
    pub(in crate::v2) async fn end(&mut self) -> Option<ExitStatus> {
        timeout(LAST_WORDS, self.child.wait()).await.ok()?.ok()
    }
}
