//! A server that receives one image, over either protocol on one port, and ends.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, Counter, Progress};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::front::{self, Caller};
use crate::v1::{self, Activity, Ended, Place, ServeStats, accept};
use crate::v2::{self, Host, Identity, Images, Served};
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
    pub token: Option<Vec<u8>>,
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

/// Receives the image at `path`, until a session has completed it, nobody comes any more, or `cancel`.
/// Sessions of version 2 that fail are told to `report`; another may go on.
///
/// # Errors
///
/// Like those of [`v1::serve`]; or why the server cannot be set up.
pub fn receive(
    path: &Path,
    listener: TcpListener,
    options: &ReceiveOptions,
    report: impl Fn(&Served),
    progress: &Arc<Progress>,
    cancel: &Cancel,
) -> Result<Received> {
    let host = v2::ServeOptions {
        token: options.token.clone(),
        link: options.link.clone(),
        devices: true,
        ..v2::ServeOptions::new(Images::One(path.to_owned()))
    };
    let wire = Arc::default();
    let session = v1::Session::new(path, &options.v1, &wire, progress, cancel);
    let door = Arc::new(Door {
        host: Host::new(&host, cancel)?,
        identity: options.identity.clone(),
        is_guarded: options.token.is_some() || options.identity.is_some(),
        patience: options.v1.keep_alive,
        wire,
        activity: session.activity(),
        progress: progress.clone(),
        cancel: cancel.clone(),
    });
    runtime::block_on(async move {
        let listener = listener::adopt(listener)?;
        let places = Arc::new(Semaphore::new(options.v1.connections));
        run(listener, &places, door, session, report).await
    })
}

/// What all connections go through.
struct Door {
    host: Host,
    identity: Option<Identity>,
    is_guarded: bool,
    patience: Duration,
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
    async fn enter(&self, place: Place, stream: TcpStream, peer: SocketAddr) -> Option<Entered> {
        let greeted = front::greet(stream, self.identity.as_ref(), &self.wire, self.patience);
        match runtime::unless_cancelled(&self.cancel, greeted).await {
            Ok(Caller::Lacuna(stream, hello)) => {
                let _busy = self.activity.begin();
                let peer = peer.to_string();
                Some(Entered::Served(self.host.attend(stream, &hello, peer, &self.progress).await))
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

async fn run(
    listener: tokio::net::TcpListener,
    places: &Arc<Semaphore>,
    door: Arc<Door>,
    mut session: v1::Session,
    report: impl Fn(&Served),
) -> Result<Received> {
    let (mut callers, mut left) = (JoinSet::new(), None);
    let (entering, mut entered) = mpsc::unbounded_channel();
    let ended = loop {
        tokio::select! {
            accepted = accept(&listener, places) => {
                let Some((place, stream, peer)) = accepted else { continue };
                let (door, entering) = (door.clone(), entering.clone());
                callers.spawn(async move {
                    if let Some(it) = door.enter(place, stream, peer).await {
                        // Whoever waits for it has ended otherwise.
                        let _ = entering.send(it);
                    }
                });
                while callers.try_join_next().is_some() {}
            }
            Some(it) = entered.recv() => match it {
                Entered::Http(place, stream) => session.serve(place, stream),
                Entered::Served(served) if served.ended.is_ok() && served.dry.is_none() => {
                    let stats = ServeStats::of(&door.progress, &door.wire);
                    return Ok(Received { version: 2, stats });
                }
                Entered::Served(served) => {
                    report(&served);
                    left = served.left.or(left);
                }
            },
            ended = session.ended() => break ended,
        }
    };
    drop((listener, entering));
    if !matches!(ended, Ended::Cancelled) {
        callers.abort_all();
    }
    // Sessions of version 2 come to a point from where they can go on.
    while callers.join_next().await.is_some() {}
    while let Some(it) = entered.recv().await {
        if let Entered::Served(served) = it {
            left = served.left.or(left);
        }
    }
    match (session.finish(ended).await, left) {
        (Ok(stats), _) => Ok(Received { version: 1, stats }),
        (Err(Error::Idle { after, .. }), Some(kept)) => Err(Error::Idle { after, kept }),
        (Err(Error::Cancelled { .. }), Some(kept)) => Err(Error::Cancelled { kept }),
        (Err(error), _) => Err(error),
    }
}
