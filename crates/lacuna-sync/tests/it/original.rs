//! A model of the original's server: what the recordings show of it, defects included, over an image
//! in memory. It keeps every request.

mod image;
mod wire;

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(crate) use self::image::Image;
use self::wire::{read_request, write_answer};

/// A running model. It stops listening when dropped.
pub(crate) struct Original {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

/// What a request is met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// What the original does.
    Obey,
    /// This status and these words, and nothing is done.
    Refuse(u16, &'static str),
    /// Nothing is done, and the connection is closed.
    HangUp,
    /// It is done, but the connection is closed instead of an answer.
    ObeyAndHangUp,
    /// Nothing is done, and no answer ever comes.
    Ignore,
}

/// A request, and when it came and was answered by a clock that ticks with each such event.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    pub(crate) arrived: usize,
    /// With which status; `None` as long as there is no answer.
    pub(crate) answered: Option<(usize, u16)>,
}

impl Seen {
    /// `open`, `writeData` and so on.
    pub(crate) fn name(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.strip_prefix("/v1-ssync/").unwrap_or(path)
    }
}

type React = Box<dyn Fn(&Seen) -> Reaction + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    react: React,
    stopped: AtomicBool,
}

struct State {
    image: Option<Image>,
    /// Whether there was an image when the server started.
    existed: bool,
    opened: bool,
    /// The `.checksum`, if it is fresh.
    metadata: Option<String>,
    seen: Vec<Seen>,
    clock: usize,
    in_flight: usize,
    most_in_flight: usize,
}

impl Original {
    /// Serves an image, or a name where there is none yet.
    pub(crate) fn of(image: Option<Image>) -> Self {
        Self::reacting(image, None, |_| Reaction::Obey)
    }

    /// The same with a fresh `.checksum`.
    pub(crate) fn recorded(image: Image, metadata: &str) -> Self {
        Self::reacting(Some(image), Some(metadata.to_owned()), |_| Reaction::Obey)
    }

    /// With something else to do about some requests. `react` is asked as soon as a request has come
    /// and may take its time.
    pub(crate) fn reacting(
        image: Option<Image>,
        metadata: Option<String>,
        react: impl Fn(&Seen) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("a port").to_string();
        let state = State {
            existed: image.is_some(),
            image,
            opened: false,
            metadata,
            seen: vec![],
            clock: 0,
            in_flight: 0,
            most_in_flight: 0,
        };
        let (state, react) = (Mutex::new(state), Box::new(react));
        let shared = Arc::new(Shared { state, react, stopped: AtomicBool::new(false) });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = serving.clone();
                std::thread::spawn(move || while shared.serve(&stream).is_some() {});
            }
        });
        Self { address, shared }
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// The targets of the requests so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.shared.state().seen.iter().filter(|seen| seen.name() == name).count()
    }

    /// Requests that were unanswered at the same time, at most.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.shared.state().most_in_flight
    }

    /// The image as it is now.
    pub(crate) fn image(&self) -> Option<Image> {
        self.shared.state().image.clone()
    }

    /// Fails unless these requests are a session as the original's server takes it: all answered
    /// 200, `open` before all others but `getRecordedMetadata`, and `close` once, at the end, when
    /// all others had been answered.
    #[track_caller]
    pub(crate) fn assert_orderly(&self) {
        let seen = self.seen();
        for seen in &seen {
            let fine = match seen.answered {
                Some((_, 200)) => true,
                Some((_, 404)) => seen.name() == "getRecordedMetadata",
                _ => false,
            };
            assert!(fine, "{} {} was answered {:?}", seen.method, seen.target, seen.answered);
        }
        self.assert_closed_last();
        let mut rest = seen.iter().skip_while(|seen| seen.name() == "getRecordedMetadata");
        assert_eq!(rest.next().expect("more").name(), "open");
        assert!(rest.all(|seen| !["open", "getRecordedMetadata"].contains(&seen.name())));
    }

    /// Fails unless `close` came once, when everything else had been answered.
    #[track_caller]
    pub(crate) fn assert_closed_last(&self) {
        let seen = self.seen();
        let (last, before) = seen.split_last().expect("a request");
        assert_eq!(last.name(), "close", "{:?}", self.targets());
        for seen in before {
            assert_ne!(seen.name(), "close");
            assert!(
                seen.answered.is_some_and(|(when, _)| when < last.arrived),
                "{} was unanswered when close came",
                seen.target
            );
        }
    }

    /// The values of the `close` that came: method and checksum.
    #[track_caller]
    pub(crate) fn closed_with(&self) -> (String, String) {
        let seen = self.seen();
        let close = seen.iter().find(|seen| seen.name() == "close").expect("a close");
        let value = |key: &str| wire::parameter(&close.target, key).unwrap_or_default().to_owned();
        (value("checksumMethod"), value("checksum"))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the model")
    }

    /// Answers the next request of a connection; `None` when there is no other.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let (method, target, body) = read_request(stream)?;
        let (index, seen) = self.arrive(method, target, body);
        let reaction = (self.react)(&seen);
        let answer = match reaction {
            Reaction::Obey | Reaction::ObeyAndHangUp => self.state().obey(&seen),
            Reaction::Refuse(status, words) => (status, format!("{words}\n")),
            Reaction::HangUp | Reaction::Ignore => (0, String::new()),
        };
        if reaction == Reaction::Ignore {
            while !self.stopped.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let mut state = self.state();
        state.clock += 1;
        state.in_flight -= 1;
        if !matches!(reaction, Reaction::Obey | Reaction::Refuse(..)) {
            return None;
        }
        state.seen[index].answered = Some((state.clock, answer.0));
        drop(state);
        write_answer(stream, answer.0, &answer.1)
    }

    fn arrive(&self, method: String, target: String, body: Vec<u8>) -> (usize, Seen) {
        let mut state = self.state();
        state.clock += 1;
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        let seen = Seen { method, target, body, arrived: state.clock, answered: None };
        state.seen.push(seen.clone());
        (state.seen.len() - 1, seen)
    }
}
