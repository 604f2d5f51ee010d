//! The end that listens: many sessions at once, each with an image under one directory.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, ImageOptions, IoMode, Links, Progress, Source, Target};
use lacuna_wire::{ClientHello, Role, VERSION};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::handshake::{hear, refuse, welcome};
use super::link::{Alias, LinkOptions};
use super::names::{Named, Root};
use super::session::{Failure, Landing, receive, send};
use super::source::SourceOptions;
use super::target::TargetOptions;
use crate::error::{Error, Result};
use crate::runtime::{self, POLL};

/// Connections whose hello has not come yet, at the same time.
const STRANGERS: usize = 64;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Clients name images under this.
    pub root: PathBuf,
    /// Nobody may write.
    pub read_only: bool,
    /// Block devices under the root are images too.
    pub devices: bool,
    /// Who does not have it is sent away.
    pub token: Option<Vec<u8>>,
    /// At the same time; more are sent away.
    pub max_sessions: usize,
    /// How images are read and written.
    pub io: IoMode,
    /// Threads for each kind of work, of each session.
    pub threads: usize,
    /// The level of zstd.
    pub zstd: Option<i32>,
    /// When a connection counts as lost.
    pub link: LinkOptions,
}

impl ServeOptions {
    /// To serve what is under `root`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            read_only: false,
            devices: false,
            token: None,
            max_sessions: 16,
            io: IoMode::Auto,
            threads: 4,
            zstd: Some(1),
            link: LinkOptions::default(),
        }
    }
}

/// A session that a server had.
#[derive(Debug)]
pub struct Served {
    /// Who dialled.
    pub peer: SocketAddr,
    /// What the client named.
    pub path: String,
    /// Whether the image came from the client.
    pub is_target: bool,
    /// Bytes of the image that were sent, or written; or why the session failed.
    pub ended: Result<u64, String>,
}

/// Serves until `cancel`, and tells `report` of every session that has ended.
///
/// # Errors
///
/// When the directory cannot be opened.
pub fn serve(
    listener: TcpListener,
    options: &ServeOptions,
    report: impl Fn(Served) + Send + Sync + 'static,
    cancel: &Cancel,
) -> Result<()> {
    let server = Arc::new(Server {
        root: Root::open(&options.root)?,
        options: options.clone(),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        places: Semaphore::new(options.max_sessions),
        cancel: cancel.clone(),
    });
    runtime::block_on(async move {
        let listener = runtime::adopt(listener)?;
        let (mut sessions, report) = (JoinSet::new(), Arc::new(report));
        while let Some((stream, peer, stranger)) = server.accept(&listener).await {
            let (server, report) = (server.clone(), report.clone());
            sessions.spawn(async move {
                if let Some(served) = server.serve(stream, peer, stranger).await {
                    report(served);
                }
            });
            while sessions.try_join_next().is_some() {}
        }
        drop(listener);
        // Each comes to a point from where it can go on.
        while sessions.join_next().await.is_some() {}
        Ok(())
    })
}

struct Server {
    root: Root,
    options: ServeOptions,
    strangers: Arc<Semaphore>,
    places: Semaphore,
    cancel: Cancel,
}

impl Server {
    /// The next connection; `None` when it is time to stop.
    async fn accept(
        &self,
        listener: &tokio::net::TcpListener,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let stranger = tokio::select! {
            stranger = self.strangers.clone().acquire_owned() => stranger.ok()?,
            () = self.stop() => return None,
        };
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => return Some((stream, peer, stranger)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                () = self.stop() => return None,
            }
        }
    }

    async fn stop(&self) {
        while !self.cancel.is_cancelled() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// One connection, which takes the place of a `stranger` until its hello has come. `None` when it was none of a client of ours.
    async fn serve(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        stranger: OwnedSemaphorePermit,
    ) -> Option<Served> {
        let heard = tokio::select! {
            heard = hear(&mut stream) => heard,
            () = self.stop() => return None,
        };
        let hello = match heard {
            Ok(hello) => hello,
            Err(error) => {
                tracing::info!(%peer, error = lacuna::describe(&error), "no hello");
                let _ = refuse(&mut stream, error.code(), lacuna::describe(&error)).await;
                return None;
            }
        };
        drop(stranger);
        let path = String::from_utf8_lossy(&hello.path).into_owned();
        let is_target = hello.role == Role::Source;
        let mut alias = Arc::default();
        let ended = self.session(stream, &hello, &mut alias).await;
        let ended = ended.map_err(|error| alias.applied(&lacuna::describe(&error)));
        Some(Served { peer, path, is_target, ended })
    }

    async fn session(
        &self,
        mut stream: TcpStream,
        hello: &ClientHello,
        alias: &mut Arc<Alias>,
    ) -> Result<u64> {
        let admitted = match self.places.try_acquire() {
            Ok(place) => self.admit(hello, alias).await.map(|admitted| (place, admitted)),
            Err(_) => Err(Error::TooMany),
        };
        let (_place, (named, source)) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                let words = alias.applied(&lacuna::describe(&error));
                // Who does not listen to that finds out otherwise.
                let _ = refuse(&mut stream, error.code(), words).await;
                return Err(error);
            }
        };
        self.run(stream, hello, named, source).await
    }

    /// A session that begins.
    async fn run(
        &self,
        mut stream: TcpStream,
        hello: &ClientHello,
        named: Named,
        source: Option<Arc<Source>>,
    ) -> Result<u64> {
        let zstd = self.options.zstd.filter(|_| hello.zstd);
        stream.set_nodelay(true).map_err(|source| Error::Lost { source })?;
        welcome(&mut stream, zstd.is_some()).await?;
        let link = LinkOptions { alias: Some(named.alias.clone()), ..self.options.link.clone() };
        let cancel = self.cancel.clone();
        let threads = self.options.threads;
        let progress = Arc::new(Progress::default());
        match source {
            Some(source) => {
                let how = SourceOptions { threads, zstd };
                send(stream, source, how, link, progress.clone(), cancel).await?;
                Ok(progress.sent_bytes.get())
            }
            None => {
                let landing = Landing {
                    path: named.path.clone(),
                    io: self.options.io,
                    links: Links::Refuse,
                    // Never setuid: the file is this user's.
                    mode: hello.mode.map(|mode| mode & 0o777),
                };
                let (verify, no_resume) = (hello.verify, hello.no_resume);
                let how = TargetOptions { threads, verify, no_resume };
                let received = receive(stream, landing, how, link, progress, cancel).await;
                received.map(|it| it.written_bytes).map_err(|Failure { cause, .. }| *cause)
            }
        }
    }

    /// Finds what the client names, and opens it when it is the source.
    async fn admit(
        &self,
        hello: &ClientHello,
        alias: &mut Arc<Alias>,
    ) -> Result<(Named, Option<Arc<Source>>)> {
        let (low, high) = hello.versions;
        if !(low..=high).contains(&VERSION) {
            return Err(Error::Versions { low, high, ours: VERSION });
        }
        if let Some(token) = &self.options.token
            && !is_same(token, hello.token.as_deref().unwrap_or_default())
        {
            return Err(Error::Token);
        }
        if self.options.read_only && hello.role == Role::Source {
            return Err(Error::ReadOnly);
        }
        if hello.compare_only {
            return Err(Error::malformed(
                "the hello",
                "asks to compare only, which is not done yet",
            ));
        }
        let named = self.root.find(&hello.path)?;
        *alias = named.alias.clone();
        if !self.options.devices && Target::is_device(&named.path) {
            return Err(Error::Device { path: named.path });
        }
        if hello.role == Role::Source {
            return Ok((named, None));
        }
        let image =
            ImageOptions { io: self.options.io, links: Links::Refuse, ..ImageOptions::default() };
        let path = named.path.clone();
        let source = runtime::blocking(move || Ok(Source::open(&path, &image)?)).await?;
        Ok((named, Some(Arc::new(source))))
    }
}

/// Takes as long wherever the first difference is.
fn is_same(ours: &[u8], theirs: &[u8]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
