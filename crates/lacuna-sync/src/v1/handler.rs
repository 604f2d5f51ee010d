//! From an HTTP request to an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::{Request as HttpRequest, Response};
use lacuna_wire::v1::{self, Interval, Refusal, Request};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, Semaphore, mpsc};

use super::answer::{Answer, empty_hole, refuse, respond};
use super::bodies::Bodies;
use super::session::{self, Busy, Caller, Claim, Holder, Line};
use super::store::{Closed, Store};
use crate::error::{Error, Result};
use crate::runtime::{POLL, blocking};
use crate::turn::Turn;

/// Ranges hashed at the same time; more than there are cores would only crowd the memory.
const HASHES: usize = 8;

/// How long a client may take to be seen to have gone, before another is refused.
const DEPARTURE: Duration = Duration::from_secs(2);

/// What every request but `close` holds until it has ended.
type Gate = Option<OwnedRwLockReadGuard<()>>;

/// Answers the requests of one session.
pub(super) struct Handler {
    store: Arc<Store>,
    holder: Holder,
    /// Held by every request but `close`, which so waits for the others.
    gate: Arc<RwLock<()>>,
    closing: AtomicBool,
    /// What failed first on this side.
    failure: Mutex<Option<Error>>,
    /// Takes how `close` ended.
    closed: mpsc::UnboundedSender<Result<()>>,
    /// Another protocol may have the image.
    turn: Arc<Turn>,
    bodies: Bodies,
    hashes: Semaphore,
}

impl Handler {
    pub(super) fn new(
        store: Arc<Store>,
        stall: Duration,
        closed: mpsc::UnboundedSender<Result<()>>,
        turn: Arc<Turn>,
    ) -> Self {
        Self {
            store,
            holder: Holder::default(),
            gate: Arc::default(),
            closing: AtomicBool::new(false),
            failure: Mutex::default(),
            closed,
            turn,
            bodies: Bodies::new(stall),
            hashes: Semaphore::new(HASHES),
        }
    }

    pub(super) async fn answer(
        self: Arc<Self>,
        request: HttpRequest<Incoming>,
        line: Arc<Line>,
    ) -> Response<Full<Bytes>> {
        let session = request.headers().get(session::HEADER);
        let caller = Caller { line, session: session.map(|value| value.as_bytes().to_vec()) };
        let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
        let parsed = Request::parse(request.method().as_str(), &target);
        let answer = match parsed {
            Ok(parsed) => self.dispatch(parsed, request.into_body(), &caller).await,
            Err(refusal) => Err(self.bodies.drain(request.into_body(), refusal).await),
        };
        if let Err(refusal) = &answer {
            tracing::info!(target, status = refusal.status, refusal.message, "refused");
        }
        respond(answer)
    }

    async fn dispatch(
        self: Arc<Self>,
        request: Request,
        body: Incoming,
        caller: &Caller,
    ) -> Result<Answer, Refusal> {
        let gate = match self.admit(&request, caller).await {
            Ok(gate) => gate,
            Err(refusal) => return Err(self.bodies.drain(body, refusal).await),
        };
        match request {
            Request::Close { method, checksum } => self.close(method, checksum).await,
            Request::Open { size, direct_io } => self.open(gate, caller, size, direct_io).await,
            Request::GetRecordedMetadata => {
                let metadata = self.on_store(gate, |store| Ok(store.recorded_metadata())).await?;
                metadata.map(Answer::Json)
            }
            Request::GetChecksum(interval) => self.checksum(gate, interval).await,
            Request::SendHole(interval) if interval.is_empty() => Err(empty_hole(interval)),
            Request::SendHole(interval) => {
                let punch = move |store: &Store| store.opened()?.begin_write(interval).punch();
                self.on_store(gate, punch).await.map(|()| Answer::Empty)
            }
            Request::WriteData(interval) => self.write(gate, interval, body).await,
        }
    }

    /// Lets a request in, when it is the caller's to make and the image is not closed.
    async fn admit(&self, request: &Request, caller: &Caller) -> Result<Gate, Refusal> {
        let closes = matches!(request, Request::Close { .. });
        match request {
            Request::Open { .. } => {}
            Request::GetRecordedMetadata => self.holder.looked_at_by(caller),
            _ => self.holder.admit(caller, closes).map_err(|error| refuse(&error))?,
        }
        if closes {
            return Ok(None);
        }
        if self.is_closing() {
            return Err(refuse(&session::closed()));
        }
        Ok(Some(self.gate.clone().read_owned().await))
    }

    async fn open(
        &self,
        gate: Gate,
        caller: &Caller,
        size: u64,
        direct: bool,
    ) -> Result<Answer, Refusal> {
        let claim = self.claim(caller).await?;
        if !self.turn.take(1) {
            self.holder.give_back(claim);
            return Err(refuse(&session::busy()));
        }
        let opened = self.on_store(gate, move |store| store.open(size, direct)).await;
        match &opened {
            Ok(_) => {
                self.holder.confirm(caller);
                *self.failure() = None;
            }
            Err(_) => {
                self.turn.give_back();
                self.holder.give_back(claim);
            }
        }
        Ok(Answer::Json(v1::encode_existed(opened?).into()))
    }

    /// Gives the image to the caller, who may come a moment after another has gone, or while the last
    /// requests of that one are still under way.
    async fn claim(&self, caller: &Caller) -> Result<Claim, Refusal> {
        let begun = Instant::now();
        loop {
            match self.holder.claim(caller) {
                Ok(claim) => return Ok(claim),
                Err(Busy::Connected) if begun.elapsed() >= DEPARTURE => {
                    return Err(refuse(&session::busy()));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn checksum(&self, gate: Gate, interval: Interval) -> Result<Answer, Refusal> {
        let _one = self.hashes.acquire().await;
        let hash = move |store: &Store| store.opened()?.checksum(interval);
        let checksum = self.on_store(gate, hash).await?;
        Ok(Answer::Json(v1::encode_checksum(checksum.as_ref()).into()))
    }

    async fn write(
        &self,
        gate: Gate,
        interval: Interval,
        mut body: Incoming,
    ) -> Result<Answer, Refusal> {
        let opened = match self.store.opened() {
            Ok(opened) => opened,
            Err(error) => return Err(self.bodies.drain(body, refuse(&error)).await),
        };
        // A range without its bytes is how a client says that it gives up.
        if body.size_hint().exact() == Some(0) && !interval.within(opened.size()).is_empty() {
            opened.give_up();
        }
        let ticket = opened.begin_write(interval);
        let _place = self.bodies.place().await;
        let bytes = match self.bodies.receive(interval, opened.size(), &mut body).await {
            Ok(bytes) => bytes,
            Err(refusal) => {
                drop(ticket);
                return Err(self.bodies.drain(body, refusal).await);
            }
        };
        // The gate opens when the write has ended, and then nothing else may hold the image.
        drop(opened);
        self.on_store(gate, move |_| ticket.write(&bytes)).await.map(|()| Answer::Empty)
    }

    /// Refuses whatever comes from here on, waits for what is under way, and ends the session. The
    /// work goes on when the client does not wait for the answer.
    async fn close(self: Arc<Self>, method: String, checksum: String) -> Result<Answer, Refusal> {
        // It would end the server, whoever else is at work.
        if !self.turn.take(1) {
            return Err(refuse(&session::busy()));
        }
        if self.closing.swap(true, Ordering::SeqCst) {
            return Err(refuse(&session::closed()));
        }
        match tokio::spawn(self.end(method, checksum)).await {
            Ok(answer) => answer,
            Err(error) => Err(Refusal::failed(error.to_string())),
        }
    }

    async fn end(self: Arc<Self>, method: String, checksum: String) -> Result<Answer, Refusal> {
        let all = self.gate.clone().write_owned().await;
        let store = self.store.clone();
        let closed = blocking(move || {
            let _all = all;
            store.close(&method, &checksum)
        })
        .await
        .map_err(|error| self.because(error));
        let answer = closed.as_ref().map(|_| Answer::Empty).map_err(refuse);
        let ended = closed.and_then(|closed| match closed {
            Closed::Image => Ok(()),
            Closed::Nothing => Err(Error::NothingReceived),
        });
        if self.closed.send(ended).is_err() {
            tracing::debug!("the server had ended before close was done");
        }
        answer
    }

    /// Whether a client is ending the session.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Runs `work` where it may block; the gate stays held until it has ended, whether the client
    /// still waits or not.
    async fn on_store<T: Send + 'static>(
        &self,
        gate: Gate,
        work: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.clone();
        let work = move || {
            let _gate = gate;
            work(&store)
        };
        blocking(work).await.map_err(|error| {
            let refusal = refuse(&error);
            if !matches!(error, Error::State(_)) {
                self.failure().get_or_insert(error);
            }
            refusal
        })
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a session ended, and why, when what failed first is known here.
    fn because(&self, ended: Error) -> Error {
        match (ended, self.failure().take()) {
            (Error::Incomplete { kept, .. } | Error::GivenUp { kept }, Some(first)) => {
                Error::Failed { kept, source: Box::new(first) }
            }
            (Error::State(_), Some(first)) => first,
            (ended, _) => ended,
        }
    }
}
