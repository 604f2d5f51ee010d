//! Sessions that begin while what is left is being removed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use lacuna::{ImageOptions, Source, Target, TargetOptions};
use lacuna_testing::mount::{Fs, Mount};

use super::{image, put, removed, source};
use crate::paths::stamp;

/// Times that a session begins.
const ROUNDS: u32 = 1000;

/// Removes what is left in `directory`, over and over, for as long as `work` goes on.
fn while_removing(directory: &Path, rounds: u32, work: impl Fn()) {
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                removed(directory);
            }
        });
        let _ends = Ends(&is_over);
        (0..rounds).for_each(|_| work());
    });
}

#[test]
fn a_new_image_can_be_begun_while_what_is_left_of_another_is_removed() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let stamp = stamp(&source(mount.path()));
    let path = mount.path().join("a");
    while_removing(mount.path(), ROUNDS, || {
        put(&mount.path().join("..a.lacuna-partial.lacuna-draft"));
        put(&mount.path().join(".a.lacuna-partial"));
        let target = Target::open(&path, &TargetOptions::default()).expect("begin");
        target.checkpoint(&stamp, 0).expect("record");
        assert!(mount.path().join(".a.lacuna-partial").exists(), "the record is gone");
    });
}

#[test]
fn an_image_can_be_read_and_written_while_a_draft_beside_it_is_removed() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let path = mount.path().join("a");
    image(&path);
    let draft = mount.path().join("..a.lacuna-unfinished.lacuna-draft");
    // Each waits for the clock of the filesystem.
    while_removing(mount.path(), ROUNDS / 5, || {
        put(&draft);
        drop(Source::open(&path, &ImageOptions::default()).expect("read"));
        put(&draft);
        let target = Target::open(&path, &TargetOptions::default()).expect("begin");
        target.write_at(&[2; 4096], 0).expect("mark and write");
        target.commit().expect("commit");
    });
}
