//! From an HTTP request to an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request as HttpRequest, Response, StatusCode};
use lacuna::{BufPool, PooledBuf};
use lacuna_wire::v1::{self, Interval, Refusal, Request, check_body};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, Semaphore, mpsc};

use super::opened::Opened;
use super::session::{self, Caller, Claim, Holder, Line};
use super::store::Store;
use crate::error::{Error, Result};
use crate::runtime::{POLL, blocking};

/// Bodies in memory at the same time: each is whole there before it is written.
const BODIES: usize = 8;

/// Ranges hashed at the same time; more than there are cores would only crowd the memory.
const HASHES: usize = 8;

/// A whole body may take so many times as long as it may stall.
const PATIENCE: u32 = 4;

/// What a client may still send of a body that is refused, before the connection is cut.
const DRAIN: u64 = 2 * v1::MAX_BODY as u64;

/// How long a client may take to be seen to have gone, before another is refused.
const DEPARTURE: Duration = Duration::from_secs(2);

/// Answers the requests of one session.
pub(super) struct Handler {
    store: Arc<Store>,
    holder: Holder,
    stall: Duration,
    /// Held by every request but `close`, which so waits for the others.
    gate: Arc<RwLock<()>>,
    closing: AtomicBool,
    /// What failed first on this side.
    failure: Mutex<Option<Error>>,
    /// Takes how `close` ended.
    closed: mpsc::UnboundedSender<Result<()>>,
    bodies: Semaphore,
    hashes: Semaphore,
    pool: BufPool,
}

/// A 200 answer.
enum Answer {
    Empty,
    Json(Vec<u8>),
}

impl Handler {
    pub(super) fn new(
        store: Arc<Store>,
        stall: Duration,
        closed: mpsc::UnboundedSender<Result<()>>,
    ) -> Self {
        Self {
            store,
            holder: Holder::default(),
            stall,
            gate: Arc::default(),
            closing: AtomicBool::new(false),
            failure: Mutex::default(),
            closed,
            bodies: Semaphore::new(BODIES),
            hashes: Semaphore::new(HASHES),
            pool: BufPool::new(v1::MAX_BODY),
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
            Err(refusal) => Err(self.drain(request.into_body(), refusal).await),
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
        let is_of_session = !matches!(request, Request::Open { .. } | Request::GetRecordedMetadata);
        if is_of_session && let Err(error) = self.holder.admit(caller) {
            return Err(self.drain(body, refuse(&error)).await);
        }
        let gate = match &request {
            Request::Close { .. } => None,
            _ => match self.enter().await {
                Ok(gate) => Some(gate),
                Err(refusal) => return Err(self.drain(body, refusal).await),
            },
        };
        match request {
            Request::Close { method, checksum } => self.close(method, checksum).await,
            Request::Open { size, direct_io } => {
                let claim = self.claim(caller).await?;
                let opened = self.on_store(gate, move |store| store.open(size, direct_io)).await;
                if opened.is_err() {
                    self.holder.give_back(claim);
                }
                Ok(Answer::Json(v1::encode_existed(opened?).into()))
            }
            Request::GetRecordedMetadata => {
                let metadata = self.on_store(gate, |store| Ok(store.recorded_metadata())).await?;
                metadata.map(Answer::Json)
            }
            Request::GetChecksum(interval) => {
                let _one = self.hashes.acquire().await;
                let hash = move |store: &Store| store.opened()?.checksum(interval);
                let checksum = self.on_store(gate, hash).await?;
                Ok(Answer::Json(v1::encode_checksum(checksum.as_ref()).into()))
            }
            Request::SendHole(interval) if interval.is_empty() => Err(empty_hole(interval)),
            Request::SendHole(interval) => {
                let punch = move |store: &Store| store.opened()?.begin_write(interval).punch();
                self.on_store(gate, punch).await.map(|()| Answer::Empty)
            }
            Request::WriteData(interval) => self.write(gate, interval, body).await,
        }
    }

    /// Gives the image to the caller, who may come a moment after another has gone.
    async fn claim(&self, caller: &Caller) -> Result<Claim, Refusal> {
        let begun = Instant::now();
        loop {
            match self.holder.claim(caller) {
                Err(_) if begun.elapsed() < DEPARTURE => tokio::time::sleep(POLL).await,
                claimed => return claimed.map_err(|error| refuse(&error)),
            }
        }
    }

    /// Lets a request in, which holds the gate until it has ended.
    async fn enter(&self) -> Result<OwnedRwLockReadGuard<()>, Refusal> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(refuse(&Error::State("the image is closed")));
        }
        Ok(self.gate.clone().read_owned().await)
    }

    /// Runs `work` where it may block; the gate stays held until it has ended, whether the client
    /// still waits or not.
    async fn on_store<T: Send + 'static>(
        &self,
        gate: Option<OwnedRwLockReadGuard<()>>,
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

    async fn write(
        &self,
        gate: Option<OwnedRwLockReadGuard<()>>,
        interval: Interval,
        mut body: Incoming,
    ) -> Result<Answer, Refusal> {
        let opened = match self.store.opened() {
            Ok(opened) => opened,
            Err(error) => return Err(self.drain(body, refuse(&error)).await),
        };
        // A range without its bytes is how a client says that it gives up.
        if body.size_hint().exact() == Some(0) && !interval.within(opened.size()).is_empty() {
            opened.give_up();
        }
        let ticket = opened.begin_write(interval);
        let _one = self.bodies.acquire().await;
        let received = self.receive(&opened, interval, &mut body);
        let received = tokio::time::timeout(PATIENCE * self.stall, received).await;
        let late = || Err(Refusal::new(408, "the body takes too long"));
        let bytes = match received.unwrap_or_else(|_| late()) {
            Ok(bytes) => bytes,
            Err(refusal) => {
                drop(ticket);
                return Err(self.drain(body, refusal).await);
            }
        };
        // The gate opens when the write has ended, and then nothing else may hold the image.
        drop(opened);
        self.on_store(gate, move |_| ticket.write(&bytes)).await.map(|()| Answer::Empty)
    }

    /// The whole body, of the one length that fits the range.
    async fn receive(
        &self,
        opened: &Opened,
        interval: Interval,
        body: &mut Incoming,
    ) -> Result<PooledBuf, Refusal> {
        if let Some(length) = body.size_hint().exact() {
            check_body(interval, opened.size(), length)?;
        }
        let mut bytes = self.pool.take();
        let mut received = 0;
        while let Some(frame) = self.next_frame(body).await? {
            let end = received + frame.len();
            match bytes.get_mut(received..end) {
                Some(room) => room.copy_from_slice(&frame),
                None => return Err(Refusal::new(413, "the body is larger than any range")),
            }
            received = end;
        }
        check_body(interval, opened.size(), received as u64)?;
        bytes.truncate(received);
        Ok(bytes)
    }

    async fn next_frame(&self, body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = tokio::time::timeout(self.stall, body.frame()).await;
            let frame = frame.map_err(|_| Refusal::new(408, "the body does not arrive"))?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    return Err(Refusal::new(400, format!("the body ended early: {error}")));
                }
            }
        }
    }

    /// Takes in what is left of a refused body, so that the client reads the refusal and not a reset.
    async fn drain(&self, mut body: Incoming, refusal: Refusal) -> Refusal {
        if body.size_hint().exact().is_none_or(|length| length > DRAIN) {
            return refusal;
        }
        let rest = async { while let Ok(Some(_)) = self.next_frame(&mut body).await {} };
        if tokio::time::timeout(self.stall, rest).await.is_err() {
            tracing::debug!("the rest of a refused body takes too long");
        }
        refusal
    }

    /// Refuses whatever comes from here on, waits for what is under way, and ends the session. The
    /// work goes on when the client does not wait for the answer.
    async fn close(self: Arc<Self>, method: String, checksum: String) -> Result<Answer, Refusal> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Err(refuse(&Error::State("the image is closed")));
        }
        let ending = tokio::spawn(async move {
            let all = self.gate.clone().write_owned().await;
            let store = self.store.clone();
            let closed = blocking(move || {
                let _all = all;
                store.close(&method, &checksum)
            })
            .await
            .map_err(|error| self.because(error));
            let answer = closed.as_ref().map(|()| Answer::Empty).map_err(refuse);
            if self.closed.send(closed).is_err() {
                tracing::debug!("the server had ended before close was done");
            }
            answer
        });
        match ending.await {
            Ok(answer) => answer,
            Err(error) => Err(Refusal::failed(error.to_string())),
        }
    }
}

/// The original's words for a hole without bytes, counted in blocks.
fn empty_hole(interval: Interval) -> Refusal {
    let block = interval.begin() / v1::BLOCK;
    Refusal::failed(format!(
        "failed to punch hole interval [{block:8}:{block:8}]({:3}): invalid argument",
        0
    ))
}

fn refuse(error: &Error) -> Refusal {
    match error {
        Error::State(_) => Refusal::new(409, error.to_string()),
        error => Refusal::failed(lacuna::describe(error)),
    }
}

fn respond(answer: Result<Answer, Refusal>) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    let headers = match &answer {
        Ok(Answer::Empty) => vec![],
        Ok(Answer::Json(_)) => vec![(CONTENT_TYPE.as_str(), v1::JSON.to_owned())],
        Err(refusal) => refusal.headers(),
    };
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    *response.body_mut() = match answer {
        Ok(Answer::Empty) => Full::default(),
        Ok(Answer::Json(json)) => Full::new(json.into()),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status);
            *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Full::new(refusal.body().into())
        }
    };
    response
}
