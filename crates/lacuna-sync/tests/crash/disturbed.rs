//! Sessions of version 2 to which something happens at a point.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use lacuna_sync::Error;
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_wire::types;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::pair::{Wiring, session};
use crate::peer::{Server, offer};
use crate::steps::Steps;

const GIB: u64 = 1 << 30;

fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Two images of 5 GiB that are one hole.
fn holes() -> Option<(Mount, PathBuf, PathBuf)> {
    let options = MountOptions { size_mib: 8192, ..MountOptions::default() };
    let mount = Mount::with(Fs::Ext4, &options)?;
    let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
    for path in [&source, &target] {
        File::create(path).unwrap().set_len(5 * GIB).unwrap();
    }
    Some((mount, source, target))
}

#[test]
fn a_long_range_that_becomes_a_hole_does_not_hold_up_who_stops_the_session() {
    let steps = Steps::take();
    let Some((_mount, source, target)) = holes() else { return };
    let file = File::options().write(true).open(&target).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 5 * GIB).unwrap();
    let wiring = Wiring::default();
    let cancel = wiring.cancel.clone();
    steps.on("image.punch", move || cancel.cancel());
    let ended = session(&source, &target, &wiring);
    steps.clear();
    assert!(ended.received.unwrap_err().cause.is_cancelled());
    assert!(allocated(&target) >= 3 * GIB, "{}", allocated(&target));
    session(&source, &target, &Wiring::default()).assert_done();
    assert!(allocated(&target) < GIB);
}

#[test]
fn what_somebody_allocated_meanwhile_does_not_hold_up_who_stops_the_session() {
    let steps = Steps::take();
    let Some((_mount, source, target)) = holes() else { return };
    let file = File::options().write(true).open(&target).unwrap();
    let allocate = Once::new();
    steps.on("image.sync", move || {
        allocate.call_once(|| fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 5 * GIB).unwrap());
    });
    let wiring = Wiring::default();
    let cancel = wiring.cancel.clone();
    steps.on("image.punch", move || cancel.cancel());
    let ended = session(&source, &target, &wiring);
    steps.clear();
    assert!(ended.received.unwrap_err().cause.is_cancelled());
    assert!(allocated(&target) >= 3 * GIB, "{}", allocated(&target));
}

#[test]
fn a_directory_that_cannot_be_synced_is_called_what_the_client_calls_it() {
    let steps = Steps::take();
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    let server = Server::start(directory.path());
    for (name, shown) in [("sub/a.img", "sub"), ("a.img", ".")] {
        steps.fail("beside.sync-directory", 0, Errno::IO.raw_os_error(), false);
        let mut peer = server.admitted(name);
        peer.send(&offer(0));
        let words = peer.told();
        steps.clear();
        peer.rest();
        let told = format!("cannot sync the directory {shown}: input/output error");
        assert_eq!((&words, server.failure()), (&told, told.clone()));
    }
}

/// A session to a target that is there in part, in which a thread panics at the point `point` when that
/// was passed so many `times`.
fn panicking(point: &str, times: usize) {
    let directory = tempfile::tempdir().unwrap();
    let [source, target] = ["a.img", "b.img"].map(|name| directory.path().join(name));
    Pattern::whole(vec![Block::Data(1); 16]).write(&source);
    Pattern::whole(vec![Block::Data(2); 16]).write(&target);
    fail::cfg(point, &format!("{times}*off->1*panic->off")).unwrap();
    let begun = Instant::now();
    let ended = session(&source, &target, &Wiring::default());
    fail::remove(point);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let (sent, received) = (ended.sent.unwrap_err(), ended.received.unwrap_err().cause);
    let told = |error: &Error| matches!(error, Error::Peer { words, .. } if words.contains("a thread of the session panicked"));
    assert!(told(&sent) != told(&received), "{point} {times}: {sent:?}, {received:?}");
    session(&source, &target, &Wiring::default()).assert_done();
}

#[test]
fn a_thread_that_panics_ends_the_session_at_both_ends() {
    let _steps = Steps::take();
    // The source hashes, the target compares, the source answers, the target writes, and syncs.
    for (point, times) in [
        ("image.read", 0),
        ("image.read", 1),
        ("image.read", 2),
        ("image.write", 0),
        ("image.sync", 0),
    ] {
        panicking(point, times);
    }
}

#[test]
fn a_target_that_reads_all_of_it_again_shows_that_it_works() {
    let _steps = Steps::take();
    let directory = tempfile::tempdir().unwrap();
    let [source, target] = ["a.img", "b.img"].map(|name| directory.path().join(name));
    Pattern::whole(vec![Block::Data(1); 8 << 10]).write(&source);
    let mut wiring = Wiring::default();
    wiring.target.verify = true;
    wiring.link.alive = Duration::from_millis(20);
    // All kinds are here long before the first of the two parts is read.
    fail::cfg("image.read", "sleep(50)").unwrap();
    let ended = session(&source, &target, &wiring);
    fail::remove("image.read");
    ended.assert_done();
    let frames = ended.said[1].frames.iter().map(|(kind, _)| *kind);
    let last: Vec<u8> = frames.skip_while(|kind| *kind != types::SETTLE).collect();
    assert!(last.contains(&types::WORKING), "{last:02x?}");
    assert_eq!(last.last(), Some(&types::DONE));
}
