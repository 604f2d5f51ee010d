//! The original needed a request and its answer for every hole, four at a time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lacuna_sync::v1::SyncOptions;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{BLOCK, place};
use crate::options;
use crate::original::{Image, Original, Reaction};
use crate::server::sync;

/// Blocks of data with holes between them too large for a batch to reach across, or small ones.
fn scattered(extents: usize, apart: usize) -> Pattern {
    let mut blocks = vec![];
    for seed in 0..extents {
        blocks.push(Block::Data(1 + seed as u8));
        blocks.extend(vec![Block::Hole; apart]);
    }
    Pattern::whole(blocks)
}

/// Fails unless one hole over all of the image was punched before anything was written.
#[track_caller]
fn assert_one_hole(original: &Original, size: u64) {
    let seen = original.seen();
    let holes: Vec<_> = seen.iter().filter(|seen| seen.name() == "sendHole").collect();
    let [hole] = holes.as_slice() else { panic!("{} holes", holes.len()) };
    let end = size.next_multiple_of(BLOCK);
    assert_eq!(hole.target, format!("/v1-ssync/sendHole?begin=0&end={end}"));
    let answered = hole.answered.expect("an answer").0;
    let writes = seen.iter().filter(|seen| seen.name() == "writeData");
    assert!(writes.into_iter().all(|write| write.arrived > answered));
}

#[test]
fn a_new_target_gets_one_hole_however_many_there_are() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let source = mount.path().join("disk.img");
        for missing in [0, 1000] {
            let mut disk = scattered(30, 2);
            disk.size -= missing;
            disk.write(&source);
            let original = Original::of(None);
            sync(&source, &original.address, &options()).unwrap();
            original.assert_orderly();
            assert_one_hole(&original, disk.size);
            assert_eq!(original.count("writeData"), 30);
            assert_eq!(original.count("getChecksum"), 0);
        }
    }
}

/// The original's server says `false` to every `open` if there was no image when it started.
#[test]
fn the_one_hole_is_sent_to_a_server_that_only_says_that_there_is_nothing() {
    let (_directory, source) = place();
    let disk = scattered(3, 5);
    disk.write(&source);
    let original = Original::of(None);
    let mut other = crate::http::Http::dial(&original.address);
    other.open(disk.size, false);
    other.write(BLOCK, 4 * BLOCK, &[7; 3 * BLOCK as usize]);
    sync(&source, &original.address, &options()).unwrap();
    let image = original.image().unwrap();
    assert!(image.bytes == disk.bytes(), "what an earlier client wrote is still there");
}

#[test]
fn an_existing_target_gets_no_more_requests_than_there_are_extents() {
    let (_directory, source) = place();
    let disk = scattered(30, 2);
    disk.write(&source);
    for before in [disk.clone(), Pattern::whole(vec![Block::Data(200); 90])] {
        let original = Original::of(Some(Image::of(&before)));
        sync(&source, &original.address, &options()).unwrap();
        original.assert_orderly();
        assert!(original.count("sendHole") <= 30, "{}", original.count("sendHole"));
        assert_eq!(original.count("getChecksum"), 30);
        assert!(original.image().unwrap().bytes == disk.bytes());
    }
}

/// A server that answers no write before `wanted` have come.
fn patient_until(wanted: usize) -> Original {
    let arrived = AtomicUsize::new(0);
    Original::reacting(None, None, move |seen| {
        if seen.name() == "writeData" {
            arrived.fetch_add(1, Ordering::SeqCst);
            let begun = Instant::now();
            while arrived.load(Ordering::SeqCst) < wanted
                && begun.elapsed() < Duration::from_secs(20)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Reaction::Obey
    })
}

fn most_in_flight(source: &Path, in_flight: usize, wanted: usize) -> usize {
    let original = patient_until(wanted);
    sync(source, &original.address, &SyncOptions { in_flight, ..options() }).unwrap();
    original.assert_orderly();
    original.most_in_flight()
}

#[test]
fn many_requests_are_in_flight_and_never_more_than_allowed() {
    let (_directory, source) = place();
    scattered(40, 20).write(&source);
    let usual = options().in_flight;
    assert!(usual >= 16, "{usual}");
    assert_eq!(most_in_flight(&source, usual, usual), usual);
    assert_eq!(most_in_flight(&source, 3, 3), 3);
    assert_eq!(most_in_flight(&source, 1, 1), 1);
    // None at all would get nowhere.
    assert_eq!(most_in_flight(&source, 0, 1), 1);
}
