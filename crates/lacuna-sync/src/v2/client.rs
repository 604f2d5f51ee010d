//! The end that dials.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, Counter, ImageOptions, IoMode, Progress, Source};
use lacuna_wire::{ClientHello, Role, VERSION};

use super::handshake::{PATIENCE, PROGRAM, greet};
use super::link::LinkOptions;
use super::session::{Failure, Landing, receive, send};
use super::source::{Sent, SourceOptions};
use super::target::{Received, TargetOptions};
use super::transport::{Reach, Running, Stream};
use crate::error::{Error, Result};
use crate::runtime::{self, unless_cancelled};

/// The pauses before another try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For the hello of a server behind a command, which may first ask a person for a password: sshd itself
/// gives that 120 s.
const COMMAND_PATIENCE: Duration = Duration::from_secs(130);

/// An image behind a server.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The way to the server.
    pub reach: Reach,
    /// As the server names it.
    pub path: Vec<u8>,
    /// What the server may ask for.
    pub token: Option<Vec<u8>>,
}

/// How to sync with a server.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// How the image on this machine is read or written.
    pub io: IoMode,
    /// Threads for each kind of work.
    pub threads: usize,
    /// The level of zstd.
    pub zstd: Option<i32>,
    /// Read the target again from the medium before it is committed.
    pub verify: bool,
    /// What an interrupted session left counts as unknown.
    pub no_resume: bool,
    /// Permission bits of a new target, whatever the umask.
    pub mode: Option<u32>,
    /// For how long the server is dialled.
    pub connect_timeout: Duration,
    /// Further tries when the connection is lost.
    pub retries: u32,
    /// When it counts as lost, and how fast it may be.
    pub link: LinkOptions,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            io: IoMode::Auto,
            threads: 4,
            zstd: Some(1),
            verify: false,
            no_resume: false,
            mode: None,
            connect_timeout: Duration::from_secs(10),
            retries: 0,
            link: LinkOptions::default(),
        }
    }
}

/// Makes the image at `remote` what the one at `source` is. Returns that and the bytes on the wire.
///
/// # Errors
///
/// Whatever went wrong first, at either end.
pub fn push(
    source: &Path,
    remote: &Remote,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<(Sent, u64)> {
    let image = ImageOptions { io: options.io, ..ImageOptions::default() };
    let source = Arc::new(Source::open(source, &image)?);
    let wire = Arc::new(Counter::default());
    let hello = hello(remote, options, Role::Source);
    let how = SourceOptions { threads: options.threads, zstd: options.zstd };
    let sent = runtime::block_on(again(options, progress, cancel, || async {
        let dialled = dial(remote, &hello, options, &wire, cancel);
        let Line { stream, zstd, running } = unless_cancelled(cancel, dialled).await?;
        let how = SourceOptions { zstd: how.zstd.filter(|_| zstd), ..how };
        let (source, progress) = (source.clone(), progress.clone());
        match send(stream, source, how, options.link.clone(), progress, cancel.clone()).await {
            Ok(sent) => Ok(sent),
            Err(error) => Err(explain(running, error, cancel).await),
        }
    }))?;
    progress.finish();
    Ok((sent, wire.get()))
}

/// Makes the image at `landing` what the one at `remote` is. Returns that and the bytes on the wire.
///
/// # Errors
///
/// Whatever went wrong first, at either end, and what is kept of what had come by then.
pub fn pull(
    remote: &Remote,
    landing: &Landing,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<(Received, u64), Failure> {
    let wire = Arc::new(Counter::default());
    let hello = hello(remote, options, Role::Target);
    let how = TargetOptions {
        threads: options.threads,
        verify: options.verify,
        no_resume: options.no_resume,
    };
    let received = again(options, progress, cancel, || async {
        let dialled = dial(remote, &hello, options, &wire, cancel);
        let Line { stream, running, .. } = unless_cancelled(cancel, dialled).await?;
        let (landing, progress) = (landing.clone(), progress.clone());
        match receive(stream, landing, how, options.link.clone(), progress, cancel.clone()).await {
            Ok(received) => Ok(received),
            Err(Failure { cause, kept }) => {
                Err(Failure { cause: Box::new(explain(running, *cause, cancel).await), kept })
            }
        }
    });
    let received = runtime::block_on(async { Ok(received.await) })??;
    progress.finish();
    Ok((received, wire.get()))
}

pub(super) fn hello(remote: &Remote, options: &SyncOptions, role: Role) -> ClientHello {
    ClientHello {
        versions: (VERSION, VERSION),
        program: PROGRAM.to_owned(),
        role,
        path: remote.path.clone(),
        token: remote.token.clone(),
        zstd: options.zstd.is_some(),
        verify: options.verify,
        dry: None,
        no_resume: options.no_resume,
        mode: options.mode.filter(|_| role == Role::Source),
    }
}

/// A stream to a server that has let us in.
pub(super) struct Line {
    pub(super) stream: Stream,
    /// Whether both may compress.
    pub(super) zstd: bool,
    pub(super) running: Option<Running>,
}

/// Connects, and is let in.
pub(super) async fn dial(
    remote: &Remote,
    hello: &ClientHello,
    options: &SyncOptions,
    wire: &Arc<Counter>,
    cancel: &Cancel,
) -> Result<Line> {
    let reach = &remote.reach;
    let (mut stream, running) = reach.connect(options.connect_timeout, wire).await?;
    let patience = if running.is_some() { COMMAND_PATIENCE } else { PATIENCE };
    match greet(&mut stream, hello, patience).await {
        Ok(zstd) => Ok(Line { stream, zstd, running }),
        Err(error) => {
            drop(stream);
            Err(explain(running, error, cancel).await)
        }
    }
}

/// What `error` of a session came from, given the command that carried it.
pub(super) async fn explain(running: Option<Running>, error: Error, cancel: &Cancel) -> Error {
    let Some(running) = running else { return error };
    let error = running.explain(error).await;
    // A signal from a terminal ends the command as well, and may do so first.
    tokio::time::sleep(runtime::POLL).await;
    match cancel.is_cancelled() && error.is_of_the_connection() {
        true => lacuna::Error::Cancelled.into(),
        false => error,
    }
}

/// The code of a peer that a signal stopped: a server may be started again.
const STOPPED: u16 = 12;

/// A failure that may pass.
pub(super) trait Passing {
    fn cause(&self) -> &Error;
}

impl Passing for Error {
    fn cause(&self) -> &Error {
        self
    }
}

impl Passing for Failure {
    fn cause(&self) -> &Error {
        &self.cause
    }
}

/// Whether another try may do better. A server takes a while to see that we are gone, and until then
/// our own session before is in the way.
fn may_pass(cause: &Error, is_again: bool) -> bool {
    cause.is_of_the_connection()
        || matches!(cause, Error::Peer { code: STOPPED, .. })
        || is_again && matches!(cause, Error::Peer { code: 6 | 8, .. })
}

/// Tries `session` again, with growing pauses, while the connection is what fails.
pub(super) async fn again<T, E, F>(
    options: &SyncOptions,
    progress: &Progress,
    cancel: &Cancel,
    session: impl Fn() -> F,
) -> Result<T, E>
where
    E: Passing + From<Error>,
    F: Future<Output = Result<T, E>>,
{
    let (mut tries, mut pause) = (options.retries, FIRST_PAUSE);
    loop {
        let error = match session().await {
            Err(error) if tries > 0 && may_pass(error.cause(), tries < options.retries) => error,
            ended => return ended,
        };
        tries -= 1;
        tracing::warn!(error = lacuna::describe(error.cause()), ?pause, "trying again");
        let paused = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        unless_cancelled(cancel, paused).await?;
        progress.restart();
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
