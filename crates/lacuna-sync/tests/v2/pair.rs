//! Both ends of a session, wired together in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, ImageOptions, IoMode, Links, Progress, Source};
use lacuna_sync::Result;
use lacuna_sync::v2::{
    Failure, Landing, LinkOptions, Received, Sent, SourceOptions, TargetOptions, receive, send,
};
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

/// What both ends came to.
pub(crate) struct Ended {
    pub(crate) sent: Result<Sent>,
    pub(crate) received: Result<Received, Failure>,
    /// Both ways.
    pub(crate) wire_bytes: u64,
    /// What the source said, and what the target did.
    pub(crate) said: [Said; 2],
    /// How often both ends waited for what was under way, where that is counted.
    pub(crate) steps: u64,
}

impl Ended {
    /// That both ends have come to the same.
    #[track_caller]
    pub(crate) fn assert_done(&self) -> (&Sent, &Received) {
        let (sent, received) = (self.sent.as_ref(), self.received.as_ref());
        let (sent, received) = (sent.expect("sent"), received.expect("received"));
        assert_eq!(sent.receipt, received.receipt);
        (sent, received)
    }
}

/// Makes `target` what `source` is.
pub(crate) fn session(source: &Path, target: &Path, wiring: &Wiring) -> Ended {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = ImageOptions { io: wiring.io, ..ImageOptions::default() };
    let source = Arc::new(Source::open(source, &options).unwrap());
    let landing =
        Landing { path: PathBuf::from(target), io: wiring.io, links: Links::Follow, mode: None };
    runtime.block_on(async {
        let between = Between::new(Line { cut_at: wiring.cut_at, ..wiring.line.clone() });
        let mut steps = JoinSet::new();
        if wiring.line.in_steps {
            steps.spawn(between.clone().step());
        }
        let [here, there] = between.ends();
        let sending = send(
            here,
            source,
            wiring.source,
            wiring.link.clone(),
            Arc::new(Progress::default()),
            wiring.cancel.clone(),
        );
        let receiving = receive(
            there,
            landing,
            wiring.target,
            wiring.link.clone(),
            Arc::new(Progress::default()),
            wiring.cancel.clone(),
        );
        let (sent, received) = tokio::join!(sending, receiving);
        let said = between.said();
        let wire_bytes = said.iter().map(|said| said.bytes).sum();
        Ended { sent, received, wire_bytes, said, steps: between.steps() }
    })
}
