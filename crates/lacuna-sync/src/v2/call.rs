//! A client and the server that it dials: hello, session, another try.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lacuna::chain::Rebuild;
use lacuna::{Cancel, Counter, Kept, Progress};
use lacuna_wire::{ClientHello, Dry, Role, VERSION, codes};

use super::client::{Remote, SyncOptions};
use super::handshake::{PATIENCE, PROGRAM, greet};
use super::session::Session;
use super::stopped::Stopped;
use super::transport::{Running, Stream};
use crate::error::{Error, Result};
use crate::retry::Tries;
use crate::runtime::{self, unless_cancelled};

/// The pauses before another try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For the hello of a server behind a command, which may first ask a person for a password: sshd itself
/// gives that 120 s.
const COMMAND_PATIENCE: Duration = Duration::from_secs(130);

/// What both ends of a session know of each other by the hello.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// Frames may be compressed.
    pub(super) zstd: bool,
    /// What an earlier session left is thrown away.
    pub(super) no_resume: bool,
}

/// What a client has with a server.
pub(super) struct Call<'a> {
    remote: &'a Remote,
    hello: ClientHello,
    /// A session got as far as moving bytes.
    has_begun: AtomicBool,
    options: &'a SyncOptions,
    progress: &'a Arc<Progress>,
    cancel: &'a Cancel,
    wire: Arc<Counter>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
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
            rebuild: options.rebuild.filter(|_| role != Role::Target).map(|Rebuild(number)| number),
        };
        let (has_begun, wire) = (AtomicBool::new(false), Arc::default());
        Self { remote, hello, has_begun, options, progress, cancel, wire }
    }

    /// What has passed by now, both ways.
    pub(super) fn wire_bytes(&self) -> u64 {
        self.wire.get()
    }

    /// What `session` comes to: one that lost its connection is repeated, as often as the options say.
    pub(super) fn sessions<T, F>(
        &self,
        session: impl Fn(Session, Stream, Agreed) -> F,
    ) -> Result<T, Stopped>
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
                    true => tries.pause(&self.why(&cause), kept.words().or_else(|| self.sent())),
                    false => None,
                };
                let Some(pause) = pause else {
                    return Err(Stopped { cause: Box::new(tries.last(*cause)), kept });
                };
                let paused = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                if let Err(cause) = unless_cancelled(self.cancel, paused).await {
                    return Err(Stopped { cause: Box::new(cause), kept });
                }
                self.restart();
            }
        })?;
        self.progress.finish();
        Ok(ended)
    }

    /// Before another try, which goes on with what the one before moved.
    fn restart(&self) {
        if self.progress.sent_bytes.get() + self.progress.written_bytes.get() > 0 {
            self.has_begun.store(true, Ordering::Relaxed);
        }
        self.progress.restart();
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
        session: impl Fn(Session, Stream, Agreed) -> F,
    ) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Stopped>>,
    {
        let (stream, agreed, running) = unless_cancelled(self.cancel, self.dial()).await?;
        let link = self.options.link.clone();
        let ends = Session::new(link, self.progress.clone(), self.cancel.clone());
        match session(ends, stream, agreed).await {
            Ok(ended) => Ok(ended),
            Err(Stopped { cause, kept }) => {
                let cause = Box::new(self.explain(running, *cause).await);
                Err(Stopped { cause, kept })
            }
        }
    }

    /// A stream to a server that has let us in.
    async fn dial(&self) -> Result<(Stream, Agreed, Option<Running>)> {
        let (remote, patience) = (self.remote, self.options.connect_timeout);
        let may_be_read = remote.token.is_none() || remote.insecure;
        let (mut stream, running) = remote.reach.connect(patience, may_be_read, &self.wire).await?;
        let patience = if running.is_some() { COMMAND_PATIENCE } else { PATIENCE };
        let no_resume = self.hello.no_resume && !self.has_begun.load(Ordering::Relaxed);
        let hello = ClientHello { no_resume, ..self.hello.clone() };
        match greet(&mut stream, remote.reach.peer(), &hello, patience).await {
            Ok(zstd) => {
                tracing::info!(
                    peer = remote.reach.peer(),
                    version = VERSION,
                    zstd,
                    "session begins"
                );
                Ok((stream, Agreed { zstd, no_resume }, running))
            }
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

/// Whether another try may do better: a server that a signal stopped may be started again. One takes a
/// while to see that we are gone, and until then our own session before is in the way.
fn may_pass(cause: &Error, is_again: bool) -> bool {
    match cause.told() {
        Some(code) => {
            code == codes::STOPPED || is_again && matches!(code, codes::IN_USE | codes::BUSY)
        }
        None => cause.is_of_the_connection(),
    }
}
