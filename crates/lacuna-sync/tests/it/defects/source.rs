//! The original announced a checksum without looking whether the source was still the same.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use lacuna_sync::Error;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::pattern::{Block, Pattern};

use super::{assert_next_session_completes, disk, old_disk, place};
use crate::image::{Beside, checksum_of, checksum_text, crc64, record};
use crate::options;
use crate::original::{Image, Original, Reaction};
use crate::relay::{Fate, Relay};
use crate::server::{Server, sync};

fn open(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// What may happen to a source, in words and in deed.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 6] = [
    ("a byte is written", |path| open(path).write_all_at(b"x", 0).unwrap()),
    ("the same byte is written again", |path| open(path).write_all_at(&[1], 0).unwrap()),
    ("it grows", |path| open(path).set_len(1 << 20).unwrap()),
    ("it is cut", |path| open(path).set_len(4096).unwrap()),
    ("its mtime is set back", |path| {
        open(path).set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }),
    ("its permissions change", |path| {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }),
];

fn is_change(error: &Error) -> bool {
    // A source that was cut may be found out by a read that ends early.
    matches!(error, Error::Image(lacuna::Error::Changed { .. } | lacuna::Error::Io { .. }))
}

#[test]
fn a_source_that_changes_is_an_error_and_its_checksum_is_not_sent() {
    for (what, change) in CHANGES {
        for image in [None, Some(Image::of(&old_disk()))] {
            let (_directory, source) = place();
            disk().write(&source);
            record(&source);
            let path = source.clone();
            let original = Original::reacting(image, None, move |seen| {
                if seen.name() == "writeData" && !seen.body.is_empty() {
                    change(&path);
                }
                Reaction::Obey
            });
            let failed = sync(&source, &original.address, &options()).expect_err(what);
            assert!(is_change(&failed), "{what}: {failed:?}");
            assert_eq!(original.closed_with(), (String::new(), String::new()), "{what}");
            original.assert_closed_last();
        }
    }
}

#[test]
fn a_source_that_changes_while_the_record_of_the_target_is_read_is_not_skipped() {
    for (what, change) in CHANGES {
        let (_directory, source) = place();
        disk().write(&source);
        record(&source);
        let metadata = checksum_text(&source, &crc64(&disk().bytes()), "UTC0");
        let path = source.clone();
        let image = Some(Image::of(&disk()));
        let original = Original::reacting(image, Some(metadata), move |seen| {
            if seen.name() == "getRecordedMetadata" {
                change(&path);
            }
            Reaction::Obey
        });
        let failed = sync(&source, &original.address, &options()).expect_err(what);
        assert!(is_change(&failed), "{what}: {failed:?}");
        // The server is not left waiting, and told nothing that is not so.
        assert_eq!(original.closed_with(), (String::new(), String::new()), "{what}");
    }
}

#[test]
fn a_change_is_noticed_long_before_the_end() {
    let (_directory, source) = place();
    // Too far apart to be read, and sent, one right after the other.
    let blocks = (0..3000).map(|block| match block % 20 {
        0 => Block::Data(1),
        _ => Block::Hole,
    });
    Pattern::whole(blocks.collect()).write(&source);
    let path = source.clone();
    let original = Original::reacting(None, None, move |seen| {
        if seen.name() == "writeData" {
            open(&path).write_all_at(&[1], 0).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        Reaction::Obey
    });
    let options = SyncOptions { in_flight: 1, ..options() };
    let failed = sync(&source, &original.address, &options).unwrap_err();
    assert!(is_change(&failed), "{failed:?}");
    assert!(original.count("writeData") < 120, "{}", original.count("writeData"));
}

#[test]
fn a_server_of_ours_does_not_take_the_image_of_a_source_that_changed_for_complete() {
    for existing in [false, true] {
        let (_source_directory, source) = place();
        let (_directory, target) = place();
        disk().write(&source);
        record(&source);
        if existing {
            old_disk().write(&target);
            record(&target);
        }
        let server = Server::of(&target);
        let path = source.clone();
        let relay = Relay::to(&server.address, move |piece| {
            // A request with data, or what follows it: the changed block alone is a block long.
            if piece.total > 4096 {
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            }
            Fate::Pass
        });
        let failed = sync(&source, &relay.address, &options()).unwrap_err();
        assert!(is_change(&failed), "{failed:?}");
        assert!(matches!(server.failed(), Error::GivenUp { .. }));
        assert!(!checksum_of(&target).exists());
        let left = Beside { data: !existing, unfinished: existing, others: vec![] };
        assert_eq!(Beside::of(&target), left);
        assert_next_session_completes(&target);
    }
}
