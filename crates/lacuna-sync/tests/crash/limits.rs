//! What clients that hang up leave behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::http::ranged;
use crate::server::Server;
use crate::steps::Steps;

/// Bodies that may be in memory, on their way to the disk.
const BODIES: usize = 8;

/// A gate that is shut until it is opened, and how many have come to it.
#[derive(Default)]
struct Gate {
    come: AtomicUsize,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.come.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[test]
fn no_more_bodies_are_in_memory_when_those_who_sent_them_have_gone() {
    let steps = Steps::take();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("disk.img");
    let server = Server::of(&target);
    server.dial().open(40 * 4096, false);
    let gate = Arc::new(Gate::default());
    let slow_disk = gate.clone();
    steps.on("image.write", move || slow_disk.pass());
    for number in 0..40 {
        let mut http = server.dial();
        let range = ranged("writeData", number * 4096, (number + 1) * 4096);
        http.send_head("POST", &range, 4096);
        http.send(&[7; 4096]);
    }
    let begun = Instant::now();
    while gate.come.load(Ordering::SeqCst) < BODIES {
        assert!(begun.elapsed() < Duration::from_secs(30), "not even {BODIES} are written");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A ninth would have all the time it needs.
    std::thread::sleep(Duration::from_millis(300));
    let come = gate.come.load(Ordering::SeqCst);
    gate.open();
    assert_eq!(come, BODIES);
    server.stopped().unwrap_err();
}
