//! Both ends of a session, wired together in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::copy::CopyPlan;
use lacuna::{Cancel, ImageOptions, IoMode, Links, Progress, Source};
use lacuna_sync::v2::{
    Dry, Landing, LinkOptions, Session, SourceOptions, Stopped, Synced, TargetOptions,
};
use lacuna_sync::{Error, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::wire::{Between, Line, Said};

/// How two ends are wired, and what each is to do.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) io: IoMode,
    pub(crate) source: SourceOptions,
    pub(crate) target: TargetOptions,
    pub(crate) link: LinkOptions,
    pub(crate) line: Line,
    /// The stream breaks when so many bytes have passed, both ways.
    pub(crate) cut_at: Option<u64>,
    pub(crate) cancel: Cancel,
}

impl Default for Wiring {
    fn default() -> Self {
        let link = LinkOptions { last_words: Duration::from_millis(500), ..LinkOptions::default() };
        Self {
            io: IoMode::Auto,
            source: SourceOptions::default(),
            target: TargetOptions::default(),
            link,
            line: Line::default(),
            cut_at: None,
            cancel: Cancel::default(),
        }
    }
}

impl Wiring {
    fn session(&self, shown: Arc<Progress>) -> Session {
        Session::new(self.link.clone(), shown, self.cancel.clone())
    }
}

/// What both ends came to.
pub(crate) struct Ended {
    pub(crate) sent: Result<Synced>,
    pub(crate) received: Result<Synced, Stopped>,
    /// Both ways.
    pub(crate) wire_bytes: u64,
    /// From the source.
    pub(crate) read_bytes: u64,
    /// What the source said, and what the target did.
    pub(crate) said: [Said; 2],
    /// How often both ends waited for what was under way, where that is counted.
    pub(crate) steps: u64,
    pub(crate) took: Duration,
}

impl Ended {
    /// That both ends have come to the same.
    #[track_caller]
    pub(crate) fn assert_done(&self) -> &Synced {
        let (sent, received) = (self.sent.as_ref(), self.received.as_ref());
        let (sent, received) = (sent.expect("sent"), received.expect("received"));
        assert_eq!(sent, received);
        sent
    }
}

/// What both ends of a session that writes nothing came to.
pub(crate) struct Planned {
    pub(crate) by_source: Result<CopyPlan>,
    pub(crate) by_target: Result<CopyPlan>,
    /// Both ways.
    pub(crate) wire_bytes: u64,
}

/// The images, opened.
struct Ends {
    source: Arc<Source>,
    landing: Landing,
}

impl Ends {
    fn new(source: &Path, target: &Path, io: IoMode) -> Self {
        let options = ImageOptions { io, ..ImageOptions::default() };
        let source = Arc::new(Source::open(source, &options).unwrap());
        let path = PathBuf::from(target);
        Self {
            source,
            landing: Landing { path, io, links: Links::Follow, mode: None, rebuild: None },
        }
    }
}

pub(crate) fn opened(source: &Path) -> lacuna_sync::Result<Arc<Source>> {
    Ok(Arc::new(Source::open(source, &ImageOptions::default())?))
}

fn cause(stopped: Stopped) -> Error {
    *stopped.cause
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Makes `target` what `source` is.
pub(crate) fn session(source: &Path, target: &Path, wiring: &Wiring) -> Ended {
    session_shown(source, target, wiring, &Default::default())
}

/// The same, with what the source and the target show.
pub(crate) fn session_shown(
    source: &Path,
    target: &Path,
    wiring: &Wiring,
    shown: &[Arc<Progress>; 2],
) -> Ended {
    let Ends { source, landing } = Ends::new(source, target, wiring.io);
    runtime().block_on(async {
        let between = Between::new(Line { cut_at: wiring.cut_at, ..wiring.line.clone() });
        let mut steps = JoinSet::new();
        if wiring.line.in_steps {
            steps.spawn(between.clone().step());
        }
        let [here, there] = between.ends();
        let [here_shown, there_shown] = shown.each_ref().map(Arc::clone);
        let sending = wiring.session(here_shown).send(here, source, wiring.source);
        let receiving = wiring.session(there_shown).receive(there, landing, wiring.target);
        let begun = Instant::now();
        let (sent, received) = tokio::join!(sending, receiving);
        let (sent, took) = (sent.map_err(cause), begun.elapsed());
        let (said, read_bytes) = (between.said(), shown[0].read_bytes.get());
        let wire_bytes = said.iter().map(|said| said.bytes).sum();
        Ended { sent, received, wire_bytes, read_bytes, said, steps: between.steps(), took }
    })
}

/// What making `target` what `source` is would do.
pub(crate) fn plan(source: &Path, target: &Path, dry: Dry, wiring: &Wiring) -> Planned {
    let Ends { source, landing } = Ends::new(source, target, wiring.io);
    runtime().block_on(async {
        let between = Between::new(Line { cut_at: wiring.cut_at, ..wiring.line.clone() });
        let [here, there] = between.ends();
        let [source_end, target_end] =
            [wiring.session(Arc::default()), wiring.session(Arc::default())];
        let sending = source_end.plan_send(here, source, dry, wiring.source);
        let receiving = target_end.plan_receive(there, landing, dry, wiring.target);
        let (by_source, by_target) = tokio::join!(sending, receiving);
        let (by_source, by_target) = (by_source.map_err(cause), by_target.map_err(cause));
        let wire_bytes = between.said().iter().map(|said| said.bytes).sum();
        Planned { by_source, by_target, wire_bytes }
    })
}
