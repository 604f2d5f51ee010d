//! A stream in memory that delays, limits, cuts and counts what passes.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use lacuna_wire::{HEADER, Header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Both ends of a line that counts its steps have nothing more to say when so long nothing was said.
const QUIET: Duration = Duration::from_millis(150);

/// How a stream is made.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// For bytes that are under way, each way.
    pub(crate) room: usize,
    /// Each way.
    pub(crate) delay: Duration,
    /// Bytes a second, each way.
    pub(crate) rate: Option<u64>,
    /// It breaks when so many bytes have passed, both ways.
    pub(crate) cut_at: Option<u64>,
    /// What is under way arrives when both ends wait for it, and not before: so that it can be counted
    /// how often they do.
    pub(crate) in_steps: bool,
}

impl Default for Line {
    fn default() -> Self {
        let room = 256 << 10;
        Self { room, delay: Duration::ZERO, rate: None, cut_at: None, in_steps: false }
    }
}

/// What passed in one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) bytes: u64,
    /// The types of the frames, and how long each was.
    pub(crate) frames: Vec<(u8, usize)>,
    /// What has come of the next header.
    header: Vec<u8>,
    /// What is still to come of a payload.
    payload: usize,
}

impl Said {
    fn take(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            let wanted = HEADER - self.header.len();
            let (header, rest) = bytes[skipped..].split_at(wanted.min(bytes.len() - skipped));
            self.header.extend(header);
            if let Some(whole) = self.header.first_chunk() {
                let Header { kind, length, .. } = Header::decode(whole).expect("a header");
                self.frames.push((kind, HEADER + length));
                self.payload = length;
                self.header.clear();
            }
            bytes = rest;
        }
    }
}

/// Bytes under way.
struct Parcel {
    bytes: Vec<u8>,
    arrives: Instant,
    step: u64,
}

/// One direction.
struct Lane {
    parcels: VecDeque<Parcel>,
    used: usize,
    busy_until: Instant,
    is_closed: bool,
    is_deaf: bool,
    said: Said,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new() -> Self {
        Self {
            parcels: VecDeque::new(),
            used: 0,
            busy_until: Instant::now(),
            is_closed: false,
            is_deaf: false,
            said: Said::default(),
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

struct State {
    lanes: [Lane; 2],
    passed: u64,
    steps: u64,
    moved: Instant,
}

/// The line between two ends.
#[derive(Clone)]
pub(crate) struct Between {
    line: Line,
    state: Arc<Mutex<State>>,
}

impl Between {
    pub(crate) fn new(line: Line) -> Self {
        let lanes = [Lane::new(), Lane::new()];
        let state = State { lanes, passed: 0, steps: 0, moved: Instant::now() };
        Self { line, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn ends(&self) -> [Wire; 2] {
        let end = |side| Wire { between: self.clone(), side, timer: Box::pin(sleep(QUIET)) };
        [end(0), end(1)]
    }

    /// Lets what is under way arrive when both ends wait for it, for ever.
    pub(crate) async fn step(self) {
        loop {
            sleep(QUIET / 15).await;
            let mut state = self.state();
            let State { lanes, steps, moved, .. } = &mut *state;
            if lanes.iter().any(|lane| !lane.parcels.is_empty()) && moved.elapsed() >= QUIET {
                (*steps, *moved) = (*steps + 1, Instant::now());
                lanes.iter_mut().for_each(Lane::wake);
            }
        }
    }

    /// How often both ends waited for what was under way.
    pub(crate) fn steps(&self) -> u64 {
        self.state().steps
    }

    /// What either end said.
    pub(crate) fn said(&self) -> [Said; 2] {
        let state = self.state();
        [state.lanes[0].said.clone(), state.lanes[1].said.clone()]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn left(&self, state: &State) -> io::Result<usize> {
        let left = self.line.cut_at.unwrap_or(u64::MAX).saturating_sub(state.passed);
        match left > 0 {
            true => Ok(usize::try_from(left).unwrap_or(usize::MAX)),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

/// One end.
pub(crate) struct Wire {
    between: Between,
    side: usize,
    timer: Pin<Box<Sleep>>,
}

impl Wire {
    /// When the next bytes are there; `None` when they are, or nobody knows.
    fn awaited(&self, state: &State) -> Result<(), Option<Instant>> {
        let Some(next) = state.lanes[1 - self.side].parcels.front() else { return Err(None) };
        match self.between.line.in_steps {
            true if next.step < state.steps => Ok(()),
            true => Err(None),
            false if next.arrives <= Instant::now() => Ok(()),
            false => Err(Some(next.arrives)),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut state = this.between.state();
            this.between.left(&state)?;
            let awaited = this.awaited(&state);
            let State { lanes, moved, .. } = &mut *state;
            let lane = &mut lanes[1 - this.side];
            match (awaited, lane.parcels.front_mut()) {
                (Ok(()), Some(parcel)) => {
                    let length = parcel.bytes.len().min(buf.remaining());
                    buf.put_slice(&parcel.bytes[..length]);
                    parcel.bytes.drain(..length);
                    if parcel.bytes.is_empty() {
                        lane.parcels.pop_front();
                    }
                    lane.used -= length;
                    *moved = Instant::now();
                    lane.writer.take().into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                (_, None) if lane.is_closed => return Poll::Ready(Ok(())),
                _ => lane.reader = Some(context.waker().clone()),
            }
            drop(state);
            let Err(Some(arrives)) = awaited else { return Poll::Pending };
            this.timer.as_mut().reset(arrives);
            ready!(this.timer.as_mut().poll(context));
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let line = &self.between.line;
        let mut state = self.between.state();
        let left = self.between.left(&state)?;
        let State { lanes, passed, steps, moved } = &mut *state;
        let lane = &mut lanes[self.side];
        if lane.is_deaf {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(left).min(line.room - lane.used);
        if length == 0 {
            lane.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let takes = line.rate.map(|rate| Duration::from_secs_f64(length as f64 / rate as f64));
        lane.busy_until = lane.busy_until.max(Instant::now()) + takes.unwrap_or_default();
        let (arrives, bytes) = (lane.busy_until + line.delay, bytes[..length].to_vec());
        lane.said.take(&bytes);
        lane.used += length;
        lane.parcels.push_back(Parcel { bytes, arrives, step: *steps });
        (*passed, *moved) = (*passed + length as u64, Instant::now());
        match length == left {
            true => lanes.iter_mut().for_each(Lane::wake),
            false => lane.reader.take().into_iter().for_each(Waker::wake),
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lane = &mut self.between.state().lanes[self.side];
        lane.is_closed = true;
        lane.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut state = self.between.state();
        state.lanes[self.side].is_closed = true;
        state.lanes[1 - self.side].is_deaf = true;
        state.lanes.iter_mut().for_each(Lane::wake);
    }
}
