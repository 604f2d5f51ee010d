//! What our client sends to the original's server, beside what the original's client sent.

use std::path::Path;

use lacuna::IoMode;
use lacuna_sync::v1::{SyncOptions, SyncStats};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::pair_strategy;
use rustix::fs::{FallocateFlags, fallocate};

use super::{Exchange, Recorded, recording};
use crate::image::{Content, checksum_of, checksum_text};
use crate::original::{Image, Original};
use crate::server::sync;
use crate::{for_all, options};

/// As the recorded syncs were told to write.
fn writing(exchanges: &[Exchange]) -> SyncOptions {
    let open = exchanges.iter().find(|exchange| exchange.name() == "open");
    let direct = open.is_none_or(|open| open.parameter("directIO") == "true");
    SyncOptions { target_io: if direct { IoMode::Direct } else { IoMode::Buffered }, ..options() }
}

/// Method, target and body of what is sent between `open` and `close`, in some order that does not
/// depend on who was faster.
type Sent = Vec<(String, String, Vec<u8>)>;

fn sorted(mut sent: Sent) -> Sent {
    sent.sort();
    sent
}

fn recorded(exchanges: &[Exchange]) -> Sent {
    let sent = exchanges
        .iter()
        .map(|exchange| (exchange.method.clone(), exchange.target.clone(), exchange.body.clone()));
    sorted(sent.collect())
}

fn seen(original: &Original) -> Sent {
    let sent = original.seen().into_iter().map(|seen| (seen.method, seen.target, seen.body));
    sorted(sent.collect())
}

/// The recorded requests, but one hole over all of a new image in place of each of its holes.
fn recorded_with_one_hole(exchanges: &[Exchange], size: usize) -> Sent {
    let mut sent = recorded(exchanges);
    sent.retain(|(_, target, _)| !target.contains("/sendHole"));
    let end = size.next_multiple_of(4096);
    sent.push(("POST".to_owned(), format!("/v1-ssync/sendHole?begin=0&end={end}"), vec![]));
    sorted(sent)
}

#[track_caller]
fn synced(source: &Path, original: &Original, options: &SyncOptions) -> SyncStats {
    sync(source, &original.address, options).expect("a sync")
}

#[track_caller]
fn assert_holds(original: &Original, image: &Recorded) {
    let held = original.image().expect("an image");
    assert_eq!(held.allocated(), image.allocated());
    assert!(held.bytes == image.bytes, "the bytes differ");
}

/// One source after another on each filesystem that tells data from holes.
fn on_every_filesystem(test: impl Fn(&Path)) {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        test(&mount.path().join("source.img"));
    }
}

#[test]
fn a_new_target_gets_what_the_original_sent_but_for_the_holes() {
    on_every_filesystem(|source| {
        for name in ["new-target", "past-eof-extent", "small-buffered"] {
            let exchanges = recording(name);
            let image = Recorded::of(name);
            image.put(source);
            if name == "past-eof-extent" {
                let file = std::fs::File::options().write(true).open(source).unwrap();
                fallocate(&file, FallocateFlags::KEEP_SIZE, 8192, 8192).unwrap();
            }
            let original = Original::of(None);
            synced(source, &original, &writing(&exchanges));
            original.assert_orderly();
            let expected = recorded_with_one_hole(&exchanges, image.bytes.len());
            assert_eq!(seen(&original), expected, "{name}");
            assert_holds(&original, &image);
        }
    });
}

#[test]
fn an_existing_target_gets_exactly_what_the_original_sent() {
    on_every_filesystem(|source| {
        for (name, before, after) in [
            ("identical-target", Recorded::disk(), Recorded::disk()),
            ("changed-target", Recorded::changed_disk(), Recorded::disk()),
            ("small-existing", Recorded::small(), Recorded::small()),
            ("empty-over-existing", Recorded::disk(), Recorded { bytes: vec![], data: vec![] }),
        ] {
            let exchanges = recording(name);
            after.put(source);
            let original = Original::of(Some(Image::with_data(&before.bytes, &before.data)));
            synced(source, &original, &writing(&exchanges));
            original.assert_orderly();
            assert_eq!(seen(&original), recorded(&exchanges), "{name}");
            assert_holds(&original, &after);
        }
    });
}

#[test]
fn a_recorded_source_sends_its_checksum_at_the_end_of_a_success() {
    on_every_filesystem(|source| {
        let exchanges = recording("with-checksum");
        let disk = Recorded::disk();
        disk.put(source);
        let text = checksum_text(source, "0470c08fbc4dc702", "UTC0");
        std::fs::write(checksum_of(source), text).unwrap();
        let original = Original::of(None);
        synced(source, &original, &writing(&exchanges));
        original.assert_orderly();
        assert_eq!(seen(&original), recorded_with_one_hole(&exchanges, disk.bytes.len()));
        assert_eq!(original.targets()[0], exchanges[0].target);
        assert_holds(&original, &disk);
    });
}

#[test]
fn two_images_with_one_checksum_are_not_compared() {
    on_every_filesystem(|source| {
        let exchanges = recording("fast-sync-skip");
        let disk = Recorded::disk();
        disk.put(source);
        let text = checksum_text(source, "0470c08fbc4dc702", "UTC0");
        std::fs::write(checksum_of(source), &text).unwrap();
        let metadata = exchanges[0].answer.text();
        let original = Original::recorded(Image::with_data(&disk.bytes, &disk.data), metadata);
        let stats = synced(source, &original, &writing(&exchanges));
        assert!(stats.skipped);
        assert_eq!(stats.sent_bytes + stats.compared_bytes + stats.read_bytes, 0);
        let targets: Vec<_> = exchanges.iter().map(|exchange| exchange.target.clone()).collect();
        assert_eq!(original.targets(), targets);
        original.assert_closed_last();
    });
}

#[test]
fn whatever_the_images_are_the_original_takes_every_request() {
    for mount in Fs::ALL.into_iter().filter_map(Mount::new) {
        let source = mount.path().join("source.img");
        for_all(12, pair_strategy(48), |(pattern, before)| {
            pattern.write(&source);
            let expected = Content::of(&source);
            for image in [None, Some(Image::of(&before))] {
                let original = Original::of(image);
                synced(&source, &original, &options());
                original.assert_orderly();
                assert_eq!(original.closed_with(), (String::new(), String::new()));
                let held = original.image().expect("an image");
                let held = Content { allocated: held.allocated(), bytes: held.bytes };
                held.assert_is(&expected, "the image behind the original's server");
            }
        });
    }
}
