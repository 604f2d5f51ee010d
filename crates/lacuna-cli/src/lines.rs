//! Lines of a server, which a thread of its own writes: no session waits for whoever reads them. What is
//! too much is dropped, and it is said how much that was.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::output;

/// Messages that wait to be written; further ones are dropped.
const WAITING: usize = 256;

/// How long those that are left may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

static LINES: OnceLock<Lines> = OnceLock::new();

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Std {
    Out,
    Err,
}

/// Messages, and the thread that writes them.
#[derive(Default)]
pub(crate) struct Lines {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// From here on, a thread writes what this process says.
pub(crate) fn start() -> &'static Lines {
    let lines = LINES.get_or_init(Lines::default);
    std::thread::spawn(|| lines.write());
    lines
}

/// Those that a thread writes, if it was started.
pub(crate) fn started() -> Option<&'static Lines> {
    LINES.get()
}

/// Waits until all is written, as long as somebody reads.
pub(crate) fn flush() {
    if let Some(lines) = started() {
        // Who does not read by then never will.
        let _ =
            lines.changed.wait_timeout_while(lines.queue(), LAST_WORDS, |queue| queue.is_busy());
    }
}

impl Lines {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `text`, of whole lines, written to `stream`.
    pub(crate) fn tell(&self, stream: Std, text: String) {
        self.queue().push(stream, text);
        self.changed.notify_all();
    }

    fn next(&self) -> (Std, String) {
        let mut queue = self.queue();
        loop {
            if let Some(next) = queue.pop() {
                return next;
            }
            self.changed.notify_all();
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write(&self) {
        let mut is_broken = false;
        loop {
            let (stream, text) = self.next();
            let written = write(stream, &text);
            if let (Err(error), Std::Out, false) = (written, stream, is_broken) {
                is_broken = true;
                let words = lacuna::system_words(&error);
                // There is nowhere left to complain.
                let _ = write(Std::Err, &format!("cannot write to standard output: {words}\n"));
            }
        }
    }
}

fn write(stream: Std, text: &str) -> io::Result<()> {
    match stream {
        Std::Out => output::print(text),
        Std::Err => io::stderr().write_all(text.as_bytes()),
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Std, String)>,
    is_writing: bool,
    /// Messages for either stream that found no place.
    dropped: [u64; 2],
}

impl Queue {
    fn push(&mut self, stream: Std, text: String) {
        if self.waiting.len() >= WAITING {
            self.dropped[stream as usize] += 1;
            return;
        }
        self.own_up(stream);
        self.waiting.push_back((stream, text));
    }

    /// The next one to be written; the one before is.
    fn pop(&mut self) -> Option<(Std, String)> {
        if self.waiting.is_empty() {
            self.own_up(Std::Out);
            self.own_up(Std::Err);
        }
        let next = self.waiting.pop_front();
        self.is_writing = next.is_some();
        next
    }

    /// Says in the place of what was dropped how much that was.
    fn own_up(&mut self, stream: Std) {
        let dropped = std::mem::take(&mut self.dropped[stream as usize]);
        let text = match stream {
            _ if dropped == 0 => return,
            Std::Out => format!("{{\"what\":\"dropped\",\"reports\":{dropped}}}\n"),
            Std::Err => format!("{dropped} messages were dropped here: nobody read them\n"),
        };
        self.waiting.push_back((stream, text));
    }

    fn is_busy(&self) -> bool {
        self.is_writing || !self.waiting.is_empty() || self.dropped != [0; 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(queue: &mut Queue) -> Vec<(Std, String)> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn what_is_dropped_is_counted_in_its_place() {
        let mut queue = Queue::default();
        for number in 0..WAITING + 3 {
            queue.push(Std::Err, number.to_string());
        }
        queue.push(Std::Out, String::new());
        assert_eq!(queue.pop(), Some((Std::Err, "0".to_owned())));
        queue.push(Std::Err, "later".to_owned());
        let told = texts(&mut queue);
        assert_eq!(told.len(), WAITING + 2);
        let [.., notice, later, of_reports] = &told[..] else { panic!() };
        assert!(notice.1.starts_with("3 messages were dropped"), "{notice:?}");
        assert_eq!(later.1, "later");
        let reports = (Std::Out, "{\"what\":\"dropped\",\"reports\":1}\n".to_owned());
        assert_eq!(of_reports, &reports);
        assert!(!queue.is_busy());
    }
}
