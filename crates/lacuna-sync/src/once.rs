//! A server that receives one image, over either protocol on one port, and ends.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, Counter, Progress};
use lacuna_wire::{ClientHello, Token};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::{Error, Refusal, Result};
use crate::front::{self, Caller};
use crate::strangers::{STRANGERS, Strangers};
use crate::turn::Turn;
use crate::v1::{self, Activity, Ended, Place, ServeStats, accept};
use crate::v2::{self, Host, Identity, Images, Served, Stream};
use crate::{listener, runtime};

/// What clients of Longhorn's ssync are told where a token or TLS is asked for.
const GUARDED: &str =
    "this server asks for TLS or a token, which Longhorn's ssync has not: use lacuna sync";

/// How to receive.
#[derive(Clone, Debug, Default)]
pub struct ReceiveOptions {
    /// For clients of version 1, and how long nobody may come.
    pub v1: v1::ServeOptions,
    /// Who does not have it is sent away.
    pub token: Option<Token>,
    /// The server speaks TLS alone.
    pub identity: Option<Identity>,
    /// When a connection of version 2 counts as lost.
    pub link: v2::LinkOptions,
}

/// What was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The version of the protocol.
    pub version: u16,
    /// What the server did.
    pub stats: ServeStats,
}

/// The one image that is received.
#[derive(Clone, Debug)]
pub struct OneImage {
    /// What clients call it.
    name: OsString,
    /// Where it is or will be.
    path: PathBuf,
}

impl OneImage {
    /// The image at `path`, links followed: whatever becomes of these later, it is this one.
    ///
    /// # Errors
    ///
    /// The system's, when its directory is not there.
    pub fn of(path: &Path) -> Result<Self> {
        let failed = |error| lacuna::Error::io("resolve", path, error);
        let real = match (path.canonicalize(), path.parent(), path.file_name()) {
            (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
                let parent = if parent == Path::new("") { Path::new(".") } else { parent };
                parent.canonicalize().map_err(failed)?.join(name)
            }
            (real, _, _) => real.map_err(failed)?,
        };
        Ok(Self { name: path.file_name().unwrap_or_default().to_owned(), path: real })
    }
}

/// Receives `image`, until a session has completed it, nobody comes any more, or `cancel`.
/// Sessions of version 2 that fail are told to `report`; another may go on.
///
/// # Errors
///
/// Like those of [`v1::serve`]; or why the server cannot be set up.
pub fn receive(
    image: &OneImage,
    listener: TcpListener,
    options: &ReceiveOptions,
    report: impl Fn(&Served),
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<Received> {
    let is_guarded = options.token.is_some() || options.identity.is_some();
    let (wire, turn) = (Arc::default(), Arc::default());
    let session = v1::Session::new(&image.path, &options.v1, &wire, progress, cancel, &turn);
    let door = Arc::new(Door {
        host: host(image, options, cancel)?,
        identity: options.identity.clone(),
        is_guarded,
        patience: if is_guarded { v2::PATIENCE } else { options.v1.keep_alive },
        strangers: Strangers::new((options.v1.connections / 2).clamp(1, STRANGERS)),
        turn,
        wire,
        activity: session.activity(),
        progress: progress.clone(),
        cancel: cancel.clone(),
    });
    runtime::block_on(async move {
        let listener = listener::adopt(listener)?;
        let places = Arc::new(Semaphore::new(options.v1.connections));
        let mut reception = Reception::new(door.clone(), session, report);
        match reception.run(&listener, &places).await {
            Some(ended) => {
                drop(listener);
                reception.end(ended).await
            }
            None => Ok(door.received()),
        }
    })
}

/// What clients of version 2 are let in by.
fn host(image: &OneImage, options: &ReceiveOptions, cancel: &Cancel) -> Result<Host> {
    let OneImage { name, path } = image.clone();
    let host = v2::ServeOptions {
        token: options.token.clone(),
        link: options.link.clone(),
        devices: true,
        max_sessions: 1,
        ..v2::ServeOptions::new(Images::One { name, path })
    };
    Host::new(&host, cancel)
}

/// What all connections go through.
struct Door {
    host: Host,
    identity: Option<Identity>,
    is_guarded: bool,
    patience: Duration,
    strangers: Arc<Strangers>,
    turn: Arc<Turn>,
    wire: Arc<Counter>,
    activity: Arc<Activity>,
    progress: Arc<Progress>,
    cancel: Cancel,
}

/// What came through it.
enum Entered {
    Http(Place, TcpStream),
    Served(Served),
}

impl Door {
    /// What a session of version 2 has completed.
    fn received(&self) -> Received {
        Received { version: 2, stats: ServeStats::of(&self.progress, &self.wire) }
    }

    /// A session of version 2, which is none of version 1's business.
    async fn attend(&self, mut stream: Stream, hello: &ClientHello, peer: String) -> Served {
        let _busy = self.host.has(hello).then(|| self.activity.begin());
        if !self.turn.take(2) {
            let error = Error::from(Refusal::InUse);
            // Who does not listen to that finds out otherwise.
            let _ = v2::refuse(&mut stream, error.code(), error.words()).await;
            return Served::refused(hello, peer, &error);
        }
        let served = self.host.attend(stream, hello, peer, &self.progress).await;
        // What counts is what this one did, whoever comes before the server ends.
        if !is_complete(&served) {
            self.turn.give_back();
        }
        served
    }

    async fn enter(&self, place: Place, stream: TcpStream, peer: SocketAddr) -> Option<Entered> {
        let mut stranger = self.strangers.enter();
        let greeted = front::greet(stream, self.identity.as_ref(), &self.wire, self.patience);
        let greeted = stranger.unless_shown_out(greeted);
        match runtime::unless_cancelled(&self.cancel, greeted).await {
            Ok(Caller::Lacuna(mut stream, hello)) => {
                let peer = peer.to_string();
                let refused = self.host.refuse_stranger(&mut stream, &hello, &peer).await;
                drop(stranger);
                Some(Entered::Served(match refused {
                    Some(refused) => refused,
                    None => self.attend(stream, &hello, peer).await,
                }))
            }
            Ok(Caller::Other(stream)) if self.is_guarded => {
                front::refuse_http(stream, GUARDED).await;
                None
            }
            Ok(Caller::Other(stream)) => Some(Entered::Http(place, stream)),
            Err(error) => {
                tracing::info!(%peer, error = lacuna::describe(&error), "no hello");
                None
            }
        }
    }
}

/// What is going on.
struct Reception<R> {
    door: Arc<Door>,
    session: v1::Session,
    callers: JoinSet<()>,
    entering: mpsc::UnboundedSender<Entered>,
    entered: mpsc::UnboundedReceiver<Entered>,
    report: R,
    /// Where what the last session of version 2 left is.
    left: Option<String>,
}

impl<R: Fn(&Served)> Reception<R> {
    fn new(door: Arc<Door>, session: v1::Session, report: R) -> Self {
        let (entering, entered) = mpsc::unbounded_channel();
        Self { door, session, callers: JoinSet::new(), entering, entered, report, left: None }
    }

    /// Until a session has completed the image, which may be one of version 2: `None`.
    async fn run(
        &mut self,
        listener: &tokio::net::TcpListener,
        places: &Arc<Semaphore>,
    ) -> Option<Ended> {
        loop {
            tokio::select! {
                accepted = accept(listener, places) => {
                    if let Some((place, stream, peer)) = accepted {
                        self.let_in(place, stream, peer);
                    }
                }
                Some(it) = self.entered.recv() => match it {
                    Entered::Http(place, stream) => self.session.serve(place, stream),
                    Entered::Served(served) if is_complete(&served) => return None,
                    Entered::Served(served) => {
                        (self.report)(&served);
                        self.left = served.left.or(self.left.take());
                    }
                },
                ended = self.session.ended() => return Some(ended),
            }
        }
    }

    fn let_in(&mut self, place: Place, stream: TcpStream, peer: SocketAddr) {
        let (door, entering) = (self.door.clone(), self.entering.clone());
        self.callers.spawn(async move {
            if let Some(it) = door.enter(place, stream, peer).await {
                // Whoever waits for it has ended otherwise.
                let _ = entering.send(it);
            }
        });
        while self.callers.try_join_next().is_some() {}
    }

    /// Lets everybody come to their end, and tells what it all came to.
    async fn end(mut self, ended: Ended) -> Result<Received> {
        if !matches!(ended, Ended::Cancelled) {
            self.callers.abort_all();
        }
        // Sessions of version 2 come to a point from where they can go on.
        while self.callers.join_next().await.is_some() {}
        self.entered.close();
        while let Some(it) = self.entered.recv().await {
            match it {
                Entered::Served(served) if is_complete(&served) => return Ok(self.door.received()),
                Entered::Served(served) => self.left = served.left.or(self.left),
                Entered::Http(..) => {}
            }
        }
        match (self.session.finish(ended).await, self.left) {
            (Ok(stats), _) => Ok(Received { version: 1, stats }),
            (Err(Error::Idle { after, .. }), Some(kept)) => Err(Error::Idle { after, kept }),
            (Err(Error::Cancelled { .. }), Some(kept)) => Err(Error::Cancelled { kept }),
            (Err(error), _) => Err(error),
        }
    }
}

fn is_complete(served: &Served) -> bool {
    served.ended.is_ok() && served.dry.is_none()
}
