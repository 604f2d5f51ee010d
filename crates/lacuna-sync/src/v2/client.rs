//! The end that dials.

use std::sync::Arc;
use std::time::Duration;

use lacuna::chain::Rebuild;
use lacuna::copy::CopyPlan;
use lacuna::{Cancel, Progress, Source};
use lacuna_wire::{Dry, Role, Token};

use super::call::{Agreed, Call};
use super::keeping::{Answered, Asked};
use super::link::LinkOptions;
use super::session::{Landing, Synced};
use super::source::SourceOptions;
use super::stopped::Stopped;
use super::target::TargetOptions;
use super::transport::Reach;
use crate::error::Result;

/// An image behind a server.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The way to the server.
    pub reach: Reach,
    /// As the server names it.
    pub path: Vec<u8>,
    /// What the server may ask for.
    pub token: Option<Token>,
    /// The token goes even to another machine in the clear, where it can be read on the way.
    pub insecure: bool,
}

/// How to sync with a server.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// Threads for each kind of work.
    pub threads: usize,
    /// The level of zstd, 1 to 19, at either end.
    pub zstd: Option<u8>,
    /// Read the target again from the medium before it is committed.
    pub verify: bool,
    /// What an interrupted session left of a new target is thrown away, but for what another try goes on
    /// with.
    pub no_resume: bool,
    /// Permission bits of a new target, whatever the umask.
    pub mode: Option<u32>,
    /// What is written at the server belongs to this rebuild of its directory.
    pub rebuild: Option<Rebuild>,
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
            threads: 4,
            zstd: Some(1),
            verify: false,
            no_resume: false,
            mode: None,
            rebuild: None,
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
    source: &Arc<Source>,
    remote: &Remote,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<(Synced, u64), Stopped> {
    let call = Call::new(remote, Role::Source, None, options, progress, cancel);
    let synced = call.sessions(|session, stream, agreed| {
        session.send(stream, source.clone(), options.as_source(agreed))
    })?;
    Ok((synced, call.wire_bytes()))
}

/// What [`push`] would do.
///
/// # Errors
///
/// What would be wrong at either end, as far as that shows without writing.
pub fn plan_push(
    source: &Arc<Source>,
    remote: &Remote,
    dry: Dry,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<CopyPlan, Stopped> {
    let call = Call::new(remote, Role::Source, Some(dry), options, progress, cancel);
    call.sessions(|session, stream, agreed| {
        session.plan_send(stream, source.clone(), dry, options.as_source(agreed))
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
    let synced = call.sessions(|session, stream, agreed| {
        session.receive(stream, landing.clone(), options.as_target(agreed))
    })?;
    Ok((synced, call.wire_bytes()))
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
    call.sessions(|session, stream, agreed| {
        session.plan_receive(stream, landing.clone(), dry, options.as_target(agreed))
    })
}

/// Has `asks` done with the replica directory at `remote`, in order; `dry` when nothing of it writes: then a
/// directory that is not there is an empty one. Else it is made.
///
/// # Errors
///
/// Whatever went wrong first; what was asked before that is done.
pub fn ask(
    remote: &Remote,
    asks: Vec<Asked>,
    dry: Option<Dry>,
    options: &SyncOptions,
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<Vec<Answered>, Stopped> {
    let asks = Arc::new(asks);
    let call = Call::new(remote, Role::Keeper, dry, options, progress, cancel);
    call.sessions(|session, stream, _| session.ask(stream, asks.clone()))
}

impl SyncOptions {
    fn as_source(&self, agreed: Agreed) -> SourceOptions {
        SourceOptions { threads: self.threads, zstd: self.zstd.filter(|_| agreed.zstd) }
    }

    fn as_target(&self, agreed: Agreed) -> TargetOptions {
        let &Self { threads, verify, .. } = self;
        TargetOptions { threads, verify, no_resume: agreed.no_resume }
    }
}
