//! Longhorn's fast sync: two images with the same fresh `.checksum` are not compared. When that holds,
//! and when it must not.

use std::path::Path;

use crate::image::{assert_tidy, assert_vouched, checksum_of, mark_of, put, record};
use crate::options;
use crate::server::session;

/// Fast sync is for names that end in `.img` only.
#[test]
fn an_image_of_another_name_is_compared_and_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    let image = |path: &Path| {
        std::fs::write(path, [7; 8192]).unwrap();
        record(path);
    };
    image(&source);
    image(&target);
    let (synced, served) = session(&source, &target, &options());
    let stats = synced.unwrap();
    assert!(!stats.skipped && served.is_ok());
    assert_eq!((stats.compared_bytes, stats.sent_bytes), (8192, 0));
    std::fs::remove_file(&target).unwrap();
    let (synced, served) = session(&source, &target, &options());
    assert!(synced.is_ok() && served.is_ok());
    assert!(!checksum_of(&target).exists());
}

/// The power went after the mark was made and before the record was removed.
#[test]
fn an_unfinished_target_is_finished_whatever_its_record_says() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) =
        (directory.path().join("source.img"), directory.path().join("target.img"));
    for image in [&source, &target] {
        put(image, &[7; 8192]);
        record(image);
    }
    put(&mark_of(&target), b"");
    let (synced, served) = session(&source, &target, &options());
    let stats = synced.unwrap();
    assert!(!stats.skipped && served.is_ok());
    assert_vouched(&target);
    assert_tidy(&target);
}

/// A later look found other bytes than those that were recorded, under one change time.
#[test]
fn an_image_that_is_known_to_be_corrupt_is_compared_on_either_side() {
    for corrupt in [0, 1] {
        let directory = tempfile::tempdir().unwrap();
        let images = ["source.img", "target.img"].map(|name| directory.path().join(name));
        for image in &images {
            put(image, &[7; 8192]);
            record(image);
        }
        let path = checksum_of(&images[corrupt]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("false", "true")).unwrap();
        let (synced, served) = session(&images[0], &images[1], &options());
        let stats = synced.unwrap();
        assert!(!stats.skipped && served.is_ok());
        assert_eq!(stats.compared_bytes, 8192);
    }
}
