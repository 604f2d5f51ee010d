//! Progress of a running operation on standard error.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use lacuna::Progress;
use serde::Serialize;

use crate::args::ProgressStyle;
use crate::units;

/// Shows nothing for what is over sooner.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Shows progress until it is dropped.
pub(crate) struct Meter {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Meter {
    /// Begins to show `progress` in the given style.
    pub(crate) fn start(progress: &Arc<Progress>, style: ProgressStyle) -> Self {
        if style == ProgressStyle::None {
            return Self { thread: None };
        }
        let progress = progress.clone();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut face = Face::new(style);
            let begun = Instant::now();
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A server has nothing to show before somebody comes.
                if begun.elapsed() >= SHOW_AFTER && progress.total_bytes.get() > 0 {
                    face.show(&progress, begun.elapsed());
                }
            }
            face.clear();
        });
        Self { thread: Some((stop, thread)) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A meter that panicked has shown its words already.
            let _ = thread.join();
        }
    }
}

enum Face {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
    Json,
}

#[derive(Serialize)]
struct Snapshot {
    done_bytes: u64,
    total_bytes: u64,
    read_bytes: u64,
    compared_bytes: u64,
    sent_bytes: u64,
    written_bytes: u64,
    elapsed_seconds: f64,
}

impl Face {
    fn new(style: ProgressStyle) -> Self {
        if style == ProgressStyle::Json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { last: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{wide_bar} {percent:>3} %  {binary_bytes_per_sec}  {eta} left";
        if let Ok(style) = BarStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn show(&mut self, progress: &Progress, elapsed: Duration) {
        let done = progress.done_bytes.get();
        let total = progress.total_bytes.get().max(done);
        match self {
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Self::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    let rate = (done as f64 / elapsed.as_secs_f64()) as u64;
                    let (share, done) = (units::percent(done, total), units::bytes(done));
                    let (total, rate) = (units::bytes(total), units::bytes(rate));
                    eprintln!("{share}: {done} of {total}, {rate}/s");
                }
            }
            Self::Json => {
                let snapshot = Snapshot {
                    done_bytes: done,
                    total_bytes: total,
                    read_bytes: progress.read_bytes.get(),
                    compared_bytes: progress.compared_bytes.get(),
                    sent_bytes: progress.sent_bytes.get(),
                    written_bytes: progress.written_bytes.get(),
                    elapsed_seconds: elapsed.as_secs_f64(),
                };
                if let Ok(line) = serde_json::to_string(&snapshot) {
                    eprintln!("{line}");
                }
            }
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
