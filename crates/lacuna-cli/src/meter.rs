//! Progress of a running operation on standard error.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use lacuna::{Cancel, Progress};
use serde::Serialize;

use crate::args::ProgressStyle;
use crate::output::{Output, is_capable, say};
use crate::{signals, units};

/// Shows nothing for what is over sooner; a program is told of the start and of the end all the same.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at the counters.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Does `work`: its progress is shown, as soon as `peer` does not have to be waited for any more, and signals
/// ask it to stop.
pub(crate) fn attended<T>(
    output: &Output,
    peer: Option<&str>,
    work: impl FnOnce(&Arc<Progress>, &Cancel) -> T,
) -> anyhow::Result<T> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    let meter = Meter::start(&progress, output.progress, peer);
    let done = work(&progress, &cancel);
    drop(meter);
    Ok(done)
}

/// Shows progress until it is dropped.
pub(crate) struct Meter {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Meter {
    /// Begins to show `progress` in the given style. As long as nothing moves, `peer` is waited for.
    pub(crate) fn start(
        progress: &Arc<Progress>,
        style: ProgressStyle,
        peer: Option<&str>,
    ) -> Self {
        if style == ProgressStyle::None {
            return Self { thread: None };
        }
        let progress = progress.clone();
        let waiting = peer.map(|peer| format!("waiting for {peer}"));
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut face = Face::begin(style, &progress);
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A server has nothing to show before somebody comes.
                if begun.elapsed() >= SHOW_AFTER && progress.total_bytes.get() > 0 {
                    let waiting = waiting.as_deref().filter(|_| is_untouched(&progress));
                    face.show(&progress, begun.elapsed(), waiting);
                }
            }
            face.end(&progress, begun.elapsed());
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

fn is_untouched(progress: &Progress) -> bool {
    let Progress { read_bytes, compared_bytes, sent_bytes, written_bytes, .. } = progress;
    [read_bytes, compared_bytes, sent_bytes, written_bytes].iter().all(|counter| counter.get() == 0)
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
    reflinked_bytes: u64,
    elapsed_seconds: f64,
}

impl Face {
    fn begin(style: ProgressStyle, progress: &Progress) -> Self {
        if style == ProgressStyle::Json {
            say_json(progress, Duration::ZERO);
            return Self::Json;
        }
        if !is_capable(&std::io::stderr()) {
            return Self::Lines { last: None };
        }
        Self::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    fn show(&mut self, progress: &Progress, elapsed: Duration, waiting: Option<&str>) {
        let done = progress.done_bytes.get();
        let total = progress.total_bytes.get().max(done);
        match self {
            Self::Bar(bar) => {
                let template = match waiting {
                    Some(_) => "{msg}",
                    None => "{wide_bar} {percent:>3} %  {binary_bytes_per_sec}  {eta} left",
                };
                if let Ok(style) = BarStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_message(waiting.unwrap_or_default().to_owned());
                bar.set_length(total);
                bar.set_position(done);
            }
            Self::Lines { last } => {
                if last.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                    return;
                }
                *last = Some(Instant::now());
                let rate = units::bytes((done as f64 / elapsed.as_secs_f64()) as u64);
                let share = units::percent(done, total);
                let (done, total) = (units::bytes(done), units::bytes(total));
                let line = format!("{share}: {done} of {total}, {rate}/s");
                say([waiting.unwrap_or(&line)]);
            }
            Self::Json => say_json(progress, elapsed),
        }
    }

    fn end(&self, progress: &Progress, elapsed: Duration) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines { .. } => {}
            Self::Json => say_json(progress, elapsed),
        }
    }
}

fn say_json(progress: &Progress, elapsed: Duration) {
    let done_bytes = progress.done_bytes.get();
    let snapshot = Snapshot {
        done_bytes,
        total_bytes: progress.total_bytes.get().max(done_bytes),
        read_bytes: progress.read_bytes.get(),
        compared_bytes: progress.compared_bytes.get(),
        sent_bytes: progress.sent_bytes.get(),
        written_bytes: progress.written_bytes.get(),
        reflinked_bytes: progress.reflinked_bytes.get(),
        elapsed_seconds: elapsed.as_secs_f64(),
    };
    if let Ok(line) = serde_json::to_string(&snapshot) {
        say([line.as_str()]);
    }
}
