//! The end that dials.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna::copy::CopyPlan;
use lacuna::{Cancel, Counter, ImageOptions, IoMode, Kept, Progress, Source};
use lacuna_wire::{ClientHello, Dry, Role, VERSION};

use super::handshake::{PATIENCE, PROGRAM, greet};
use super::link::LinkOptions;
use super::session::{Landing, Session, Synced};
use super::source::SourceOptions;
use super::stopped::{Stopped, left};
use super::target::TargetOptions;
use super::transport::{Reach, Running, Stream};
use crate::error::{Error, Result};
use crate::retry::Tries;
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
    /// The level of zstd, 1 to 19, at either end.
    pub zstd: Option<u8>,
    /// Read the target again from the medium before it is committed.
    pub verify: bool,
    /// What an interrupted session left of a new target is thrown away.
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
) -> Result<(Synced, u64), Stopped> {
    let source = options.open(source)?;
    let call = Call::new(remote, Role::Source, None, options, progress, cancel);
    let synced = call.sessions(|session, stream, zstd| {
        session.send(stream, source.clone(), options.as_source(zstd))
    })?;
    Ok((synced, call.wire.get()))
}

/// What [`push`] would do.
///
/// # Errors
///
/// What would be wrong at either end, as far as that shows without writing.
pub fn plan_push(
    source: &Path,
    remote: &Remote,
    dry: Dry,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<CopyPlan, Stopped> {
    let source = options.open(source)?;
    let call = Call::new(remote, Role::Source, Some(dry), options, progress, cancel);
    call.sessions(|session, stream, zstd| {
        session.plan_send(stream, source.clone(), dry, options.as_source(zstd))
    })
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
) -> Result<(Synced, u64), Stopped> {
    let call = Call::new(remote, Role::Target, None, options, progress, cancel);
    let synced = call.sessions(|session, stream, _| {
        session.receive(stream, landing.clone(), options.as_target())
    })?;
    Ok((synced, call.wire.get()))
}

/// What [`pull`] would do.
///
/// # Errors
///
/// Those of [`plan_push`].
pub fn plan_pull(
    remote: &Remote,
    landing: &Landing,
    dry: Dry,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<CopyPlan, Stopped> {
    let call = Call::new(remote, Role::Target, Some(dry), options, progress, cancel);
    call.sessions(|session, stream, _| {
        session.plan_receive(stream, landing.clone(), dry, options.as_target())
    })
}

impl SyncOptions {
    fn open(&self, source: &Path) -> Result<Arc<Source>> {
        let image = ImageOptions { io: self.io, ..ImageOptions::default() };
        Ok(Arc::new(Source::open(source, &image)?))
    }

    fn as_source(&self, may_compress: bool) -> SourceOptions {
        SourceOptions { threads: self.threads, zstd: self.zstd.filter(|_| may_compress) }
    }

    fn as_target(&self) -> TargetOptions {
        let &Self { threads, verify, no_resume, .. } = self;
        TargetOptions { threads, verify, no_resume }
    }
}

/// What a client has with a server.
struct Call<'a> {
    remote: &'a Remote,
    hello: ClientHello,
    options: &'a SyncOptions,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancel,
    wire: Arc<Counter>,
}

impl<'a> Call<'a> {
    fn new(
        remote: &'a Remote,
        role: Role,
        dry: Option<Dry>,
        options: &'a SyncOptions,
        progress: &'a Arc<Progress>,
        cancel: &'a Cancel,
    ) -> Self {
        let hello = ClientHello {
            versions: (VERSION, VERSION),
            program: PROGRAM.to_owned(),
            role,
            path: remote.path.clone(),
            token: remote.token.clone(),
            zstd: options.zstd,
            verify: options.verify,
            dry,
            no_resume: options.no_resume,
            mode: options.mode.filter(|_| role == Role::Source),
        };
        Self { remote, hello, options, progress, cancel, wire: Arc::default() }
    }

    /// What `session`, which is told whether it may compress, comes to: one that lost its connection is
    /// repeated, as often as the options say.
    fn sessions<T, F>(&self, session: impl Fn(Session, Stream, bool) -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Stopped>>,
    {
        let ended = runtime::block_on(async {
            let mut tries = Tries::new(self.options.retries, FIRST_PAUSE, LONGEST_PAUSE);
            let mut kept = Kept::Nothing;
            loop {
                tries.begin();
                let cause = match self.session(&session).await {
                    Ok(ended) => return Ok(ended),
                    // One that did not begin has changed nothing about what the one before left.
                    Err(Stopped { cause, kept: Kept::Nothing }) => cause,
                    Err(stopped) => {
                        kept = stopped.kept;
                        stopped.cause
                    }
                };
                let pause = match may_pass(&cause, tries.is_again()) {
                    true => tries.pause(&self.why(&cause), left(&kept).or_else(|| self.sent())),
                    false => None,
                };
                let Some(pause) = pause else {
                    return Err(Stopped { cause: Box::new(tries.last(*cause)), kept });
                };
                let paused = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                unless_cancelled(self.cancel, paused).await?;
                self.progress.restart();
            }
        })?;
        self.progress.finish();
        Ok(ended)
    }

    fn why(&self, cause: &Error) -> String {
        format!("sync with {}: {}", self.remote.reach.peer(), lacuna::describe(cause))
    }

    /// What is to be said of what this end has sent.
    fn sent(&self) -> Option<String> {
        let has_sent = self.progress.sent_bytes.get() > 0;
        has_sent.then(|| "what has arrived there is not sent again".to_owned())
    }

    /// One session.
    async fn session<T, F>(
        &self,
        session: impl Fn(Session, Stream, bool) -> F,
    ) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Stopped>>,
    {
        let (stream, zstd, running) = unless_cancelled(self.cancel, self.dial()).await?;
        let link = self.options.link.clone();
        let ends = Session::new(link, self.progress.clone(), self.cancel.clone());
        match session(ends, stream, zstd).await {
            Ok(ended) => Ok(ended),
            Err(Stopped { cause, kept }) => {
                let cause = Box::new(self.explain(running, *cause).await);
                Err(Stopped { cause, kept })
            }
        }
    }

    /// A stream to a server that has let us in, and whether both may compress.
    async fn dial(&self) -> Result<(Stream, bool, Option<Running>)> {
        let (reach, patience) = (&self.remote.reach, self.options.connect_timeout);
        let (mut stream, running) = reach.connect(patience, &self.wire).await?;
        let patience = if running.is_some() { COMMAND_PATIENCE } else { PATIENCE };
        match greet(&mut stream, &self.hello, patience).await {
            Ok(zstd) => Ok((stream, zstd, running)),
            Err(error) => {
                drop(stream);
                Err(self.explain(running, error).await)
            }
        }
    }

    /// What `error` of a session came from, given the command that carried it.
    async fn explain(&self, running: Option<Running>, error: Error) -> Error {
        let Some(running) = running else { return error };
        let error = running.explain(error).await;
        // A signal from a terminal ends the command as well, and may do so first.
        tokio::time::sleep(runtime::POLL).await;
        match self.cancel.is_cancelled() && error.is_of_the_connection() {
            true => lacuna::Error::Cancelled.into(),
            false => error,
        }
    }
}

/// The code of a peer that a signal stopped: a server may be started again.
const STOPPED: u16 = 12;

/// Whether another try may do better. A server takes a while to see that we are gone, and until then
/// our own session before is in the way.
fn may_pass(cause: &Error, is_again: bool) -> bool {
    cause.is_of_the_connection()
        || matches!(cause, Error::Peer { code: STOPPED, .. })
        || is_again && matches!(cause, Error::Peer { code: 6 | 8, .. })
}
