//! What a diff refuses, and how it stops.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lacuna::diff::{DiffStats, Difference};
use lacuna::{Access, Cancel, Error, Progress, Result};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{How, diff, two};
use crate::{mark_of, mounts, open_for_writing};

fn run(
    left: &Path,
    right: &Path,
    cancel: &Cancel,
    found: impl FnMut(&Difference) -> Result<()>,
) -> Result<DiffStats> {
    diff(left, right, &How::default(), &Progress::default(), cancel, found)
}

#[track_caller]
fn refused(left: &Path, right: &Path) -> Error {
    let found = |difference: &Difference| panic!("{difference:?}");
    run(left, right, &Cancel::default(), found).unwrap_err()
}

/// Two images of many pieces, of which every second differs.
fn many(mount: &Mount) -> (std::path::PathBuf, std::path::PathBuf) {
    let (left, right) = two(mount, mount);
    for (path, byte) in [(&left, 1), (&right, 2)] {
        let file = File::create(path).unwrap();
        for piece in 0..400 {
            let byte = if piece % 2 == 0 { byte } else { 3 };
            file.write_all_at(&[byte; 4096], piece << 20).unwrap();
        }
    }
    (left, right)
}

#[test]
fn an_image_that_changes_meanwhile_is_not_compared() {
    for mount in mounts() {
        let (left, right) = many(&mount);
        for changed in [&left, &right] {
            let file = File::options().write(true).open(changed).unwrap();
            let mut found = 0;
            let ended = run(&left, &right, &Cancel::default(), |_| {
                found += 1;
                if found == 1 {
                    // One byte that was there before.
                    file.write_all_at(&[3], 399 << 20).unwrap();
                }
                Ok(())
            });
            let fs = mount.fs();
            assert!(matches!(&ended, Err(Error::Changed { path }) if path == changed), "{fs}");
        }
    }
}

#[test]
fn it_stops_when_asked_to_and_when_nobody_wants_to_know_more() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let (left, right) = many(&mount);
    let cancel = Cancel::default();
    let mut found = 0;
    let ended = run(&left, &right, &cancel, |_| {
        found += 1;
        cancel.cancel();
        Ok(())
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert!(found < 100, "{found}");
    assert!(matches!(run(&left, &right, &cancel, |_| panic!()), Err(Error::Cancelled)));

    let mut found = 0;
    let ended = run(&left, &right, &Cancel::default(), |_| {
        found += 1;
        Err(Error::Malformed { path: "of the caller".into(), reason: String::new() })
    });
    assert!(matches!(ended, Err(Error::Malformed { .. })));
    assert_eq!(found, 1);
}

/// All of the longer image lies past the end of the other.
#[test]
fn it_stops_past_the_end_of_one_too() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let (left, right) = many(&mount);
    File::create(&left).unwrap();
    let cancel = Cancel::default();
    let ended = run(&left, &right, &cancel, |_| {
        cancel.cancel();
        Ok(())
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
}

#[test]
fn what_is_unfinished_in_use_or_no_image_is_not_compared() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (left, right) = two(&mount, &mount);
    for path in [&left, &right] {
        Pattern::whole(vec![Block::Data(1); 4]).write(path);
    }
    for marked in [&left, &right] {
        std::fs::write(mark_of(marked), "").unwrap();
        let error = refused(&left, &right);
        assert!(matches!(&error, Error::Unfinished { path, .. } if path == marked), "{error:?}");
        std::fs::remove_file(mark_of(marked)).unwrap();

        let writer = open_for_writing(marked);
        writer.lock().unwrap();
        let error = refused(&left, &right);
        assert!(matches!(&error, Error::Busy { path } if path == marked), "{error:?}");
        drop(writer);
        let reader = crate::open(marked, Access::Read, lacuna::IoMode::Auto).unwrap();
        reader.lock().unwrap();
        assert!(run(&left, &right, &Cancel::default(), |_| Ok(())).unwrap().is_same());
    }
    for none in [mount.path(), Path::new("/dev/null")] {
        let error = refused(&left, none);
        assert!(matches!(error, Error::NotAnImage { .. }), "{error:?}");
    }
    let error = refused(&mount.path().join("nowhere"), &right);
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
}
