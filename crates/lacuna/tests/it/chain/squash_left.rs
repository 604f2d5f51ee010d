//! What a squash that was interrupted at its end has left, and what nobody else may do to that.

use std::fs::{self, File};
use std::path::Path;

use lacuna::chain::squash::{Span, SquashOptions};
use lacuna::chain::{self, ChainError, ChainOptions, Replica, check, diff, ls};
use lacuna::{Cancel, Error, Kept, Progress};
use rustix::fs::{FlockOperation, flock};

use super::assert_all;
use super::squash::{planned, span, squashed, try_squash};
use super::squash_refused::{Place, refused};

impl Place {
    /// The squash of `s1` to `s3` has given the oldest layer the other name, and died.
    fn interrupt(&self) {
        let draft = self.directory.join(".volume-snap-s3.img.meta.lacuna-draft");
        fs::create_dir(&draft).unwrap();
        try_squash(&self.span(), &SquashOptions::default()).unwrap_err();
        fs::remove_dir(draft).unwrap();
        assert_eq!(names_of(&self.paths[1]), 2);
    }

    /// Of each block, what is read through `s3`.
    fn read(&self) -> Vec<u8> {
        let bytes = fs::read(&self.paths[3]).unwrap();
        bytes.chunks(4096).map(|block| block[0]).collect()
    }
}

fn names_of(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap())
}

#[test]
fn no_other_squash_writes_to_the_file_that_two_layers_are() {
    let Some(place) = Place::new() else { return };
    place.interrupt();
    assert_eq!(place.read(), [2, 3, 3, 0]);
    // The one would write older values into what is the newest layer too, the other punch them out of it.
    for (old, new) in [("s1", "s2"), ("s0", "s1")] {
        assert_all!(
            refused(&span(&place.directory, old, new)),
            Error::Chain(ChainError::HalfSquashed { old, new })
                if *old == place.paths[1] && *new == place.paths[3]
        );
    }
    assert_eq!(place.read(), [2, 3, 3, 0]);
    let stats = squashed(&place.span(), &SquashOptions::default());
    assert!(stats.only_removed);
    assert_eq!((place.read(), names_of(&place.paths[3])), (vec![2, 3, 3, 0], 1));
}

#[test]
fn of_layers_that_nothing_describes_none_is_written_under_two_names() {
    let Some(place) = Place::new() else { return };
    for name in super::names(&place.directory).iter().filter(|name| name.ends_with(".meta")) {
        fs::remove_file(place.directory.join(name)).unwrap();
    }
    fs::remove_file(&place.paths[3]).unwrap();
    fs::hard_link(&place.paths[1], &place.paths[3]).unwrap();
    assert_all!(
        refused(&Span::Files(place.paths[1..3].to_vec())),
        Error::Chain(ChainError::Linked { layer }) if *layer == place.paths[1]
    );
}

/// As a copy by hard links is made.
#[test]
fn what_has_another_name_elsewhere_is_not_written() {
    let Some(place) = Place::new() else { return };
    let elsewhere = place.mount.path().join("backup.img");
    let freeing = SquashOptions { free: true, ..SquashOptions::default() };
    for at in [1, 2, 3] {
        fs::hard_link(&place.paths[at], &elsewhere).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        let is_it = |error: &Error| matches!(error, Error::Chain(ChainError::Linked { layer }) if *layer == place.paths[at]);
        let error = try_squash(&place.span(), &freeing).unwrap_err().cause;
        assert!(is_it(&error), "{error:?}");
        match planned(&place.span(), &SquashOptions::default()) {
            Err(stopped) => assert!(at == 1 && is_it(&stopped.cause), "{:?}", stopped.cause),
            Ok(_) => assert_ne!(at, 1),
        }
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
        fs::remove_file(&elsewhere).unwrap();
    }
    // What is only replaced and removed keeps its other name.
    fs::hard_link(&place.paths[2], &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    place.squash();
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

#[test]
fn a_name_that_a_squash_has_left_is_no_other_name() {
    let Some(place) = Place::new() else { return };
    let draft = place.directory.join(".volume-snap-s3.img.lacuna-draft");
    fs::hard_link(&place.paths[1], &draft).unwrap();
    place.squash();
    assert_eq!((place.read(), names_of(&place.paths[3])), (vec![2, 3, 3, 0], 1));
    assert!(!draft.exists());
}

#[test]
fn two_squashes_do_not_remove_the_same_at_once() {
    let Some(place) = Place::new() else { return };
    place.interrupt();
    let other = File::open(&place.paths[3]).unwrap();
    flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    assert_all!(place.refused(), Error::Busy { path } if *path == place.paths[3]);
    drop(other);
    squashed(&place.span(), &SquashOptions::default());
}

/// What was interrupted there could not be completed any more.
#[test]
fn layers_that_an_interrupted_fold_below_them_needs_are_left_as_they_are() {
    let Some(place) = Place::new() else { return };
    place.put(".volume-snap-s0.img.lacuna-unfinished", "repeat it");
    assert_all!(
        place.refused(),
        Error::Unfinished { path, .. } if *path == place.paths[0]
    );
    fs::remove_file(super::mark_of(&place.paths[0])).unwrap();
    place.squash();
}

#[test]
fn whoever_reads_is_told_of_the_squash_and_not_of_its_traces() {
    let Some(place) = Place::new() else { return };
    // Below the newest, none is as large as that; the oldest is by the end.
    for (path, size) in place.paths.iter().zip([8192, 8192, 8192, 16384, 16384]) {
        File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    }
    place.interrupt();
    let meta = place.directory.join("volume-snap-s3.img.meta");
    let text = fs::read_to_string(&meta).unwrap();
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let told = |result: Result<(), Error>| {
        let error = result.expect_err("a layer that is two");
        let is_it = matches!(&error, Error::Chain(ChainError::HalfSquashed { old, new })
            if *old == place.paths[1] && *new == place.paths[3]);
        assert!(is_it, "{error:?}");
    };
    for is_out in [false, true] {
        if is_out {
            fs::write(&meta, text.replace("s2", "s0")).unwrap();
        }
        let replica = Replica::open(&place.directory).unwrap();
        let found = ls::ls(&replica, &ls::LsOptions::default(), &progress, &cancel, |_, _, _| ());
        told(found.map(drop));
        let options = diff::ReplicaDiffOptions::default();
        let found = diff::diff(&replica, &replica, &options, &progress, &cancel, |_, _| Ok(()));
        told(found.map(drop));
        let source = || replica.source(None, &ChainOptions::default(), &cancel).map(drop);
        match is_out {
            false => told(source()),
            // None of that is read any more.
            true => source().unwrap(),
        }
        let options = check::CheckOptions::default();
        let checked = check::check(&place.directory, &options, &progress, &cancel).unwrap();
        let found: Vec<_> = checked.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [check::Code::HalfSquashed, check::Code::Dirty], "{checked:?}");
        assert_eq!(checked.findings[0].file, "volume-snap-s3.img");
    }
    let listed = chain::open(&place.paths, &ChainOptions::default(), &cancel).map(drop);
    assert!(matches!(listed, Err(Error::Chain(ChainError::OneFile { .. }))), "{listed:?}");
    squashed(&place.span(), &SquashOptions::default());
}

#[test]
fn a_squash_that_is_repeated_says_that_there_is_nothing_left_to_do_where_that_shows() {
    let Some(place) = Place::new() else { return };
    place.squash();
    assert_all!(
        place.refused(),
        Error::Chain(ChainError::NoOldest { old, new, parent: Some(parent) })
            if *old == place.directory.join("s1") && *new == place.paths[3]
                && parent == "volume-snap-s0.img"
    );
    // With the image alone, or a chain that leads nowhere, who knows.
    for missing in [None, Some(&place.paths[0])] {
        match missing {
            None => place.put("volume-snap-s1.img", ""),
            Some(missing) => fs::remove_file(missing).unwrap(),
        }
        assert_all!(place.refused(), Error::Chain(ChainError::NoLayer { .. }));
        let _ = fs::remove_file(&place.paths[1]);
    }
    for name in super::names(&place.directory).iter().filter(|name| name.ends_with(".meta")) {
        fs::remove_file(place.directory.join(name)).unwrap();
    }
    let list = Span::Files(place.paths[1..4].to_vec());
    assert_all!(
        refused(&list),
        Error::Chain(ChainError::NoOldest { old, new, parent: None })
            if *old == place.paths[1] && *new == place.paths[3]
    );
}

/// It would be told complete when the squash writes what it has read of `volume.meta`.
#[test]
fn no_squash_goes_on_in_a_directory_where_a_copy_begins() {
    let Some(place) = Place::new() else { return };
    for is_left in [false, true] {
        if is_left {
            place.interrupt();
        }
        let names = names_of(&place.paths[1]);
        let volume = File::open(place.directory.join("volume.meta")).unwrap();
        flock(&volume, FlockOperation::NonBlockingLockExclusive).unwrap();
        let stopped = try_squash(&place.span(), &SquashOptions::default()).unwrap_err();
        assert!(matches!(stopped.cause, Error::Busy { .. }), "{stopped:?}");
        assert_eq!((stopped.kept, names_of(&place.paths[1])), (Kept::Nothing, names));
    }
    squashed(&place.span(), &SquashOptions::default());
}
