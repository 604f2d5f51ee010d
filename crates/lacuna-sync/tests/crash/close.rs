//! What `close` waits for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lacuna_sync::v1::ServeOptions;
use tempfile::TempDir;

use crate::http::closing;
use crate::image::{assert_tidy, assert_vouched, bytes_of, crc64, data_of, put};
use crate::server::Server;
use crate::steps::Steps;

const BYTES: [u8; 8192] = [7; 8192];

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("make a directory");
    let path = directory.path().join("disk.img");
    (directory, path)
}

fn assert_close_waits(direct: bool, existing: bool) {
    let steps = Steps::take();
    let (_directory, target) = place();
    if existing {
        put(&target, &[8; 8192]);
    }
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(8192, direct);
    assert_eq!(http.write(0, 8192, &BYTES).status, 200);
    let answered = Arc::new(AtomicBool::new(false));
    let passed = Arc::new(AtomicUsize::new(0));
    let (too_late, synced) = (Arc::new(AtomicBool::new(false)), passed.clone());
    for point in ["image.sync", "target.rename", "beside.sync-directory"] {
        let (answered, too_late, passed) = (answered.clone(), too_late.clone(), passed.clone());
        steps.on(point, move || {
            // Time for an answer that does not wait.
            std::thread::sleep(Duration::from_millis(50));
            too_late.fetch_or(answered.load(Ordering::SeqCst), Ordering::SeqCst);
            passed.fetch_add(usize::from(point == "image.sync"), Ordering::SeqCst);
        });
    }
    let answer = http.close(&crc64(&BYTES));
    answered.store(true, Ordering::SeqCst);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(synced.load(Ordering::SeqCst) > 0, "nothing was synced");
    assert_vouched(&target);
    assert_tidy(&target);
    server.ended().unwrap();
    assert!(!too_late.load(Ordering::SeqCst), "something was still to be done");
}

#[test]
fn close_is_answered_when_the_image_is_synced_named_and_recorded() {
    for direct in [true, false] {
        for existing in [true, false] {
            assert_close_waits(direct, existing);
        }
    }
}

/// The idle time ends, the client is gone, and `close` is still at work.
#[test]
fn a_server_is_not_idle_while_it_closes() {
    let steps = Steps::take();
    let (_directory, target) = place();
    let idle = Duration::from_secs(1);
    steps.on("image.sync", move || std::thread::sleep(3 * idle));
    let server = Server::with(&target, &ServeOptions { idle, ..ServeOptions::default() });
    let mut http = server.dial();
    http.open(8192, false);
    http.write(0, 8192, &BYTES);
    http.send_head("POST", &closing("crc64", &crc64(&BYTES)), 0);
    drop(http);
    server.ended().unwrap();
    assert_eq!(bytes_of(&target), BYTES);
    assert_vouched(&target);
    assert_tidy(&target);
}

/// The system tells of data that it could not write once, at some sync, and then forgets it. A
/// client that sends again what failed then must not make the rest complete.
#[test]
fn a_session_in_which_a_sync_failed_never_completes() {
    let steps = Steps::take();
    let (_directory, target) = place();
    steps.fail("image.sync", 0, 5, true);
    let server = Server::of(&target);
    let mut http = server.dial();
    let (half, body) = (4 << 20, vec![7; 4 << 20]);
    http.open(2 * half, false);
    assert_eq!(http.write(half, 2 * half, &body).status, 200);
    let mut written = 0;
    let failed = loop {
        let answer = http.write(0, half, &body);
        if answer.status != 200 {
            break answer;
        }
        written += 1;
        assert!(written < 1000, "nothing is ever synced");
    };
    assert!(failed.text().contains("input/output error"), "{}", failed.text());
    http.write(0, half, &body);
    let answer = http.close(&crc64(&vec![7; 2 * half as usize]));
    assert_eq!(answer.status, 500);
    let failed = server.failed();
    assert!(lacuna::describe(&failed).contains("input/output error"), "{failed:?}");
    assert!(!target.exists() && data_of(&target).exists());
}
