//! What a server has with one client: who it is, what it names, the session.

use std::sync::Arc;

use lacuna::chain::{Files, Rebuild};
use lacuna::{Cancel, ImageOptions, IoMode, Progress, Source, Target};
use lacuna_wire::{ClientHello, Dry, Role, Token, VERSION};
use tokio::sync::Semaphore;

use super::handshake::{refuse, welcome};
use super::link::{Alias, LinkOptions};
use super::names::{Images, Named, Names};
use super::session::{Landing, Session};
use super::source::SourceOptions;
use super::stopped::Stopped;
use super::target::TargetOptions;
use super::transport::Stream;
use crate::error::{Error, Refusal, Result};
use crate::runtime;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// What clients can name.
    pub images: Images,
    /// Nobody may write.
    pub read_only: bool,
    /// Block devices are images too.
    pub devices: bool,
    /// Who does not have it is sent away.
    pub token: Option<Token>,
    /// At the same time; more are sent away.
    pub max_sessions: usize,
    /// How images are read and written.
    pub io: IoMode,
    /// Threads for each kind of work, of each session.
    pub threads: usize,
    /// What is sent is compressed, as the client asks for it.
    pub zstd: bool,
    /// At this level of zstd at most: high ones take much memory and time.
    pub zstd_max: u8,
    /// When a connection counts as lost.
    pub link: LinkOptions,
}

impl ServeOptions {
    /// To serve `images`.
    pub fn new(images: Images) -> Self {
        Self {
            images,
            read_only: false,
            devices: false,
            token: None,
            max_sessions: 16,
            io: IoMode::Auto,
            threads: 4,
            zstd: true,
            zstd_max: 3,
            link: LinkOptions::default(),
        }
    }
}

/// A session that a server had.
#[derive(Debug)]
pub struct Served {
    /// Who dialled.
    pub peer: String,
    /// What the client named; `None` for one that may not name anything.
    pub path: Option<String>,
    /// Which end the client was.
    pub role: Role,
    /// Whether nothing was to be written, and how it was found out what would be.
    pub dry: Option<Dry>,
    /// Bytes of the image that were sent, or written; or why the session failed.
    pub ended: Result<u64, String>,
    /// Where what a session that failed left of its target is, in words.
    pub left: Option<String>,
}

impl Served {
    /// A session that did not begin because of `error`.
    pub(crate) fn refused(hello: &ClientHello, peer: String, error: &Error) -> Self {
        let is_known = !matches!(error, Error::Refusal(Refusal::Token | Refusal::Versions { .. }));
        Self {
            peer,
            path: is_known.then(|| named(hello)),
            role: hello.role,
            dry: hello.dry,
            ended: Err(lacuna::describe(error)),
            left: None,
        }
    }
}

/// Lets clients have sessions.
pub(crate) struct Host {
    names: Names,
    options: ServeOptions,
    places: Semaphore,
    cancel: Cancel,
}

/// What a client may have.
struct Admitted {
    named: Named,
    what: What,
}

enum What {
    /// An image to be read.
    Source(Arc<Source>),
    /// A place for one.
    Target,
    /// A replica directory.
    Files(Files),
}

impl Host {
    pub(crate) fn new(options: &ServeOptions, cancel: &Cancel) -> Result<Self> {
        Ok(Self {
            names: Names::open(&options.images)?,
            options: options.clone(),
            places: Semaphore::new(options.max_sessions),
            cancel: cancel.clone(),
        })
    }

    /// Sends a client away that may not name images.
    pub(crate) async fn refuse_stranger(
        &self,
        stream: &mut Stream,
        hello: &ClientHello,
        peer: &str,
    ) -> Option<Served> {
        let error = Error::from(self.refusal(hello)?);
        // Who does not listen to that finds out otherwise.
        let _ = refuse(stream, error.code(), error.words()).await;
        Some(Served::refused(hello, peer.to_owned(), &error))
    }

    /// Has a session with a client that is no stranger, or sends it away.
    pub(crate) async fn attend(
        &self,
        stream: Stream,
        hello: &ClientHello,
        peer: String,
        progress: &Arc<Progress>,
    ) -> Served {
        let (path, role, dry) = (Some(named(hello)), hello.role, hello.dry);
        let mut alias = Arc::default();
        let ended = self.session(stream, hello, &mut alias, progress).await;
        let (ended, left) = match ended {
            Ok(bytes) => (Ok(bytes), None),
            Err(Stopped { cause, kept }) => {
                let left = kept.words().map(|words| alias.applied(&words));
                (Err(alias.applied(&lacuna::describe(&*cause))), left)
            }
        };
        Served { peer, path, role, dry, ended, left }
    }

    async fn session(
        &self,
        mut stream: Stream,
        hello: &ClientHello,
        alias: &mut Arc<Alias>,
        progress: &Arc<Progress>,
    ) -> Result<u64, Stopped> {
        let admitted = match self.places.try_acquire() {
            Ok(place) => {
                // Nobody else's by now, where a server has one for all of its sessions.
                progress.restart();
                self.admit(hello, alias).await.map(|admitted| (place, admitted))
            }
            Err(_) => Err(Refusal::TooMany.into()),
        };
        let (_place, admitted) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                let words = alias.applied(&error.words());
                // Who does not listen to that finds out otherwise.
                let _ = refuse(&mut stream, error.code(), words).await;
                return Err(error.into());
            }
        };
        self.run(stream, hello, admitted, progress.clone()).await
    }

    /// A session that begins.
    async fn run(
        &self,
        mut stream: Stream,
        hello: &ClientHello,
        admitted: Admitted,
        progress: Arc<Progress>,
    ) -> Result<u64, Stopped> {
        let Admitted { named, what } = admitted;
        let zstd = hello.zstd.filter(|_| self.options.zstd);
        let zstd = zstd.map(|level| level.min(self.options.zstd_max));
        welcome(&mut stream, zstd.is_some()).await?;
        let session = Session::new(self.options.link.clone(), progress, self.cancel.clone());
        let session = session.named(named.alias.clone());
        let threads = self.options.threads;
        let rebuild = hello.rebuild.filter(|_| hello.dry.is_none()).map(Rebuild);
        match what {
            What::Source(source) => {
                let how = SourceOptions { threads, zstd };
                return match hello.dry {
                    Some(dry) => session.plan_send(stream, source, dry, how).await.map(|_| 0),
                    None => session.send(stream, source, how).await.map(|synced| synced.sent_bytes),
                };
            }
            What::Files(files) => return session.keep(stream, files, rebuild).await,
            What::Target => {}
        }
        let (path, io, links) = (named.path.clone(), self.options.io, named.links);
        let landing = Landing { path, io, links, mode: hello.mode, rebuild };
        let (verify, no_resume) = (hello.verify, hello.no_resume);
        let how = TargetOptions { threads, verify, no_resume };
        match hello.dry {
            Some(dry) => session.plan_receive(stream, landing, dry, how).await.map(|_| 0),
            None => session.receive(stream, landing, how).await.map(|synced| synced.written_bytes),
        }
    }

    /// Finds what the client names, and opens it when it is the source.
    async fn admit(&self, hello: &ClientHello, alias: &mut Arc<Alias>) -> Result<Admitted> {
        if hello.role == Role::Keeper {
            let named = self.names.find_directory(&hello.path, hello.dry.is_none())?;
            *alias = named.alias.clone();
            let what = What::Files(Files::of(&named.path));
            return Ok(Admitted { named, what });
        }
        let named = self.names.find(&hello.path)?;
        *alias = named.alias.clone();
        if !self.options.devices && Target::is_device(&named.path) {
            return Err(Refusal::Device { path: named.path }.into());
        }
        if hello.role == Role::Source {
            return Ok(Admitted { named, what: What::Target });
        }
        let image =
            ImageOptions { io: self.options.io, links: named.links, ..ImageOptions::default() };
        let path = named.path.clone();
        let source = runtime::blocking(move || Ok(Source::open(&path, &image)?)).await?;
        Ok(Admitted { named, what: What::Source(Arc::new(source)) })
    }

    /// Whether a client names an image.
    pub(crate) fn has(&self, hello: &ClientHello) -> bool {
        self.names.find(&hello.path).is_ok()
    }

    /// Why a client may name nothing.
    fn refusal(&self, hello: &ClientHello) -> Option<Refusal> {
        let (low, high) = hello.versions;
        if !(low..=high).contains(&VERSION) {
            return Some(Refusal::Versions { low, high, ours: VERSION });
        }
        if self.options.token.is_some() && hello.token != self.options.token {
            return Some(Refusal::Token);
        }
        match (hello.role, &self.options.images) {
            (Role::Source | Role::Keeper, _) if self.options.read_only && hello.dry.is_none() => {
                Some(Refusal::ReadOnly)
            }
            (Role::Target, Images::One { .. }) => Some(Refusal::ReceivesOnly),
            _ => None,
        }
    }
}

fn named(hello: &ClientHello) -> String {
    String::from_utf8_lossy(&hello.path).into_owned()
}
