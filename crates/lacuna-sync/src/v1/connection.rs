//! One HTTP connection of a client, dialled when it is needed and again when it broke.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use lacuna::{Cancel, Counter};
use lacuna_wire::v1::{self, Request};
use tokio::net::TcpStream;

use super::session;
use crate::error::{Error, Result};
use crate::resolve::addresses;
use crate::retry::Tries;
use crate::runtime::{POLL, cancelled};
use crate::traffic::Counted;

/// No answer of this protocol is longer, in bytes.
const ANSWER: usize = 64 << 10;

/// Words of a peer that are shown, at most.
const WORDS: usize = 400;

/// Who is called, and how patiently.
#[derive(Clone)]
pub(super) struct Peer {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// What every request of one session says.
    pub(super) session: Arc<str>,
    /// For one request, from sending to the end of the answer.
    pub(super) timeout: Duration,
    /// Further tries of a request that failed.
    pub(super) retries: u32,
    pub(super) wire: Arc<Counter>,
    pub(super) cancel: Cancel,
}

/// A connection to a peer.
pub(super) struct Connection {
    peer: Peer,
    sender: Option<SendRequest<Full<Bytes>>>,
    reached: bool,
    /// It is not dialled again.
    stays: bool,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The pause before the first further try; it doubles with each,
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Connection {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, sender: None, reached: false, stays: false }
    }

    /// `HOST:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.peer.address
    }

    /// Whether there was ever anybody at the other end.
    pub(super) fn has_reached(&self) -> bool {
        self.reached
    }

    /// From here on, with these limits; the connection stays.
    pub(super) fn set_peer(&mut self, peer: Peer) {
        self.peer = peer;
    }

    /// Dials, unless it is connected, until somebody answers, for `patience` since `begun`: at
    /// once, once more, and then every second.
    pub(super) async fn connect(&mut self, begun: Instant, patience: Duration) -> Result<()> {
        let mut pause = Duration::ZERO;
        while self.is_broken() {
            self.peer.cancel.check()?;
            let left = patience.saturating_sub(begun.elapsed());
            let cancel = self.peer.cancel.clone();
            let dialled = tokio::select! {
                dialled = self.dial(left) => dialled,
                () = cancelled(&cancel) => return Err(lacuna::Error::Cancelled.into()),
            };
            let error = match dialled {
                Ok(sender) => {
                    self.sender = Some(sender);
                    break;
                }
                Err(error) => error,
            };
            if begun.elapsed() + pause >= patience {
                return Err(self.unreached(error, patience));
            }
            self.sleep(pause).await?;
            pause = Duration::from_secs(1);
        }
        Ok(())
    }

    /// Why nobody could be reached.
    fn unreached(&self, cause: Cause, patience: Duration) -> Error {
        match cause.downcast() {
            Ok(unresolved) => *unresolved,
            Err(cause) => {
                let (peer, source) = (self.peer.address.clone(), io::Error::other(cause));
                Error::Connect { peer, patience, source }
            }
        }
    }

    async fn dial(&mut self, patience: Duration) -> Result<SendRequest<Full<Bytes>>, Cause> {
        let begun = Instant::now();
        let addresses = addresses(&self.peer.address, patience).await?;
        let left = patience.saturating_sub(begun.elapsed());
        let connected = tokio::time::timeout(left, TcpStream::connect(&*addresses)).await;
        let stream = connected.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
        self.reached = true;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(Counted::new(stream, self.peer.wire.clone()));
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(sender)
    }

    /// Sends `request` with `body` and returns the body of the 200 answer. A status of 4xx but 429
    /// is final; everything else is tried again as often as the peer's retries say.
    pub(super) async fn ask(&mut self, request: &Request, body: Bytes) -> Result<Bytes> {
        let mut tries = Tries::new(self.peer.retries, FIRST_PAUSE, LONGEST_PAUSE);
        self.ask_often(request, body, &mut tries).await
    }

    /// The same; the error says how often it was tried.
    pub(super) async fn demand(&mut self, request: &Request, body: Bytes) -> Result<Bytes> {
        let mut tries = Tries::new(self.peer.retries, FIRST_PAUSE, LONGEST_PAUSE);
        let answer = self.ask_often(request, body, &mut tries).await;
        answer.map_err(|error| tries.last(error))
    }

    async fn ask_often(
        &mut self,
        request: &Request,
        body: Bytes,
        tries: &mut Tries,
    ) -> Result<Bytes> {
        loop {
            tries.begin();
            let error = match self.ask_once(request, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_final = matches!(error, Error::Refused { status: 300..=428 | 430..=499, .. })
                || error.is_cancelled()
                || (self.stays && matches!(error, Error::Transport { .. }));
            let pause = if is_final { None } else { tries.pause(&lacuna::describe(&error), None) };
            let Some(pause) = pause else { return Err(error) };
            self.sleep(pause).await?;
        }
    }

    /// The same, but only on the connection that is there, and not again without an answer: what has
    /// no meaning for any other server than the one that answered last, or must not arrive twice.
    pub(super) async fn ask_here(&mut self, request: &Request) -> Result<()> {
        self.stays = true;
        let answer = self.ask(request, Bytes::new()).await;
        self.stays = false;
        answer.map(drop)
    }

    async fn sleep(&self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            self.peer.cancel.check()?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn ask_once(&mut self, request: &Request, body: Bytes) -> Result<Bytes> {
        let (peer, timeout) = (self.peer.clone(), self.peer.timeout);
        let exchange = self.exchange_or_again(request, body);
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, exchange) => match answer {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} s", timeout.as_secs_f32()).into()),
            },
            () = cancelled(&peer.cancel) => {
                self.sender = None;
                return Err(lacuna::Error::Cancelled.into());
            }
        };
        match answer {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => Err(Error::Refused {
                peer: peer.address,
                request: name(request),
                status,
                message: printable(&body),
            }),
            Err(source) if source.downcast_ref().is_some_and(hyper::Error::is_parse) => {
                self.sender = None;
                Err(Error::NotHttp { peer: peer.address })
            }
            Err(source) => {
                self.sender = None;
                Err(Error::Transport { peer: peer.address, request: name(request), source })
            }
        }
    }

    /// Whether it has to be dialled before the next request.
    pub(super) fn is_broken(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed)
    }

    async fn exchange_or_again(
        &mut self,
        request: &Request,
        body: Bytes,
    ) -> Result<(u16, Bytes), Cause> {
        let reused = !self.is_broken();
        match self.exchange(request, body.clone()).await {
            // The server may drop an idle connection at the moment it is used again.
            Err(_) if reused && !self.stays => {
                self.sender = None;
                self.exchange(request, body).await
            }
            answer => answer,
        }
    }

    async fn exchange(&mut self, request: &Request, body: Bytes) -> Result<(u16, Bytes), Cause> {
        if self.is_broken() {
            if self.stays {
                return Err("the connection to the server that has the image open broke".into());
            }
            self.sender = Some(self.dial(self.peer.timeout).await?);
        }
        let Some(sender) = &mut self.sender else { return Err("no connection".into()) };
        sender.ready().await?;
        let message = hyper::Request::builder()
            .method(request.method().as_str())
            .uri(request.target())
            .header(HOST, &self.peer.address)
            .header(USER_AGENT, concat!("lacuna/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, v1::JSON)
            .header(session::HEADER, &*self.peer.session)
            .body(Full::new(body))?;
        let answer = sender.send_request(message).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await?.to_bytes();
        Ok((status, body))
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Open { .. } => "open",
        Request::GetChecksum(_) => "getChecksum",
        Request::WriteData(_) => "writeData",
        Request::SendHole(_) => "sendHole",
        Request::GetRecordedMetadata => "getRecordedMetadata",
        Request::Close { .. } => "close",
    }
}

/// A peer's words, cut, on one line and without control characters.
fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
