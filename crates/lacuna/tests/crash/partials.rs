//! A removal of what interrupted sessions left that is disturbed at any of its steps.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lacuna::partials::{Leftover, LeftoverKind, Partials, apply, plan};
use lacuna::{Cancel, Error, Result, SourceStamp, Target, TargetOptions};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::syncfs;

use crate::chain::{Chain, Operation, layers};
use crate::interrupted::{EAGAIN, EIO, ENOSPC};
use crate::paths::stamp;
use crate::points::Points;
use crate::scenario::names;

/// A directory with all that can be left: parts of `new` and `newer`, and a mark of `old`.
struct Left {
    mount: Mount,
    directory: PathBuf,
}

impl Left {
    fn new(fs: Fs) -> Option<Self> {
        let mount = Mount::new(fs)?;
        let directory = mount.path().join("images");
        std::fs::create_dir(&directory).unwrap();
        Some(Self { mount, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn prepare(&self) {
        for name in names(&self.directory) {
            std::fs::remove_file(self.path(&name)).unwrap();
        }
        Pattern::whole(vec![Block::Data(1); 4]).write(&self.path("old"));
        let stamp = stamp(&self.path("old"));
        for name in ["old", "new", "newer"] {
            let target = Target::open(&self.path(name), &TargetOptions::default()).unwrap();
            target.write_at(&[7; 4096], 0).unwrap();
            target.checkpoint(&stamp, 4096).unwrap();
        }
        for name in ["..new.lacuna-partial.lacuna-draft", ".old.checksum.lacuna-draft"] {
            std::fs::write(self.path(name), "draft").unwrap();
        }
        syncfs(File::open(&self.directory).unwrap()).unwrap();
    }

    fn remove(&self) -> Partials {
        apply(&self.directory, &Cancel::default()).unwrap()
    }

    /// What must be the case whatever came in between, and whether all is gone that may go.
    #[track_caller]
    fn check(&self, what: &str) -> bool {
        let left = names(&self.directory);
        let has = |name: &str| left.iter().any(|left| left == name);
        assert!(has("old") && has(".old.lacuna-unfinished"), "{what}: {left:?}");
        for name in ["new", "newer"] {
            let (part, record) =
                (format!(".{name}.lacuna-data"), format!(".{name}.lacuna-partial"));
            assert!(has(&part) || !has(&record), "{what}: {left:?}");
        }
        left.len() == 2
    }

    /// A second removal takes the rest.
    #[track_caller]
    fn complete(&self, what: &str) {
        let again = self.remove();
        assert!(again.errors.is_empty(), "{what}: {again:?}");
        assert!(self.check(what), "{what}: {:?}", names(&self.directory));
    }

    fn undisturbed(&self, points: &Points) -> Vec<&'static str> {
        self.prepare();
        assert_eq!(names(&self.directory).len(), 8);
        let passed = points.passed_by(|| assert!(self.remove().errors.is_empty()));
        assert!(self.check("undisturbed"));
        passed
    }
}

#[test]
fn a_removal_survives_a_power_cut_at_every_step() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let points = Points::take();
        let Some(mut left) = Left::new(fs) else { continue };
        let passed = left.undisturbed(&points);
        for (number, name) in passed.iter().enumerate() {
            left.prepare();
            points.at(number, left.mount.power_cutter());
            let result = apply(&left.directory, &Cancel::default());
            points.clear();
            left.mount.remount();
            let what = format!("{fs}: power cut at {number} of {}, {name}", passed.len());
            let all_gone = left.check(&what);
            let told = result.is_ok_and(|done| done.errors.is_empty());
            assert!(all_gone || !told, "{what}: said to be done");
            left.complete(&what);
        }
    }
}

#[test]
fn what_is_reported_as_removed_stays_removed() {
    let _points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mut left) = Left::new(fs) else { continue };
        left.prepare();
        left.remove();
        left.mount.cut_power();
        left.mount.remount();
        assert!(left.check("after the power cut"), "{fs}: {:?}", names(&left.directory));
    }
}

#[test]
fn an_error_at_any_step_of_a_removal_is_reported_and_the_next_one_completes() {
    let points = Points::take();
    let Some(left) = Left::new(Fs::Ext4) else { return };
    let passed = left.undisturbed(&points);
    for (number, name) in passed.iter().enumerate() {
        for errno in [ENOSPC, EIO] {
            left.prepare();
            points.fail_at(&passed, number, errno);
            let done = left.remove();
            points.clear();
            let what = format!("error {errno} at {number} of {}, {name}", passed.len());
            let [Error::Io { source, .. }] = &done.errors[..] else { panic!("{what}: {done:?}") };
            assert_eq!(source.raw_os_error(), Some(errno), "{what}");
            left.check(&what);
            let removed = done.leftovers.iter().filter(|leftover| leftover.removed).count();
            assert!((1..6).contains(&removed), "{what}: {done:?}");
            left.complete(&what);
        }
    }
}

/// What comes amid a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// A session that goes on for longer.
    Session,
    /// The same, after another removal.
    SessionAfterRemoval,
    /// One that is complete at once.
    WholeSession,
}

impl Comes {
    /// Writes to `target`, which is `Busy` or its own.
    fn run(self, target: &Path, stamp: &SourceStamp) -> Result<Target> {
        if self == Self::SessionAfterRemoval {
            apply(target.parent().unwrap(), &Cancel::default())?;
        }
        let session = Target::open(target, &TargetOptions::default())?;
        session.write_at(&[9; 4096], 0)?;
        session.checkpoint(stamp, 4096)?;
        if self == Self::WholeSession {
            session.commit()?;
        }
        Ok(session)
    }

    /// Has it come to `name` at one step of a removal; whether it was let in.
    fn at(self, left: &Left, name: &str, points: &Points, number: usize, what: &str) -> bool {
        left.prepare();
        let stamp = stamp(&left.path("old"));
        let (target, session) = (left.path(name), Arc::new(Mutex::new(None)));
        let came = session.clone();
        points.at(number, move || {
            let opened = self.run(&target, &stamp);
            *came.lock().unwrap() = Some(opened);
        });
        // The removal goes on when whoever came has gone: there is nothing to wait for.
        points.fail_always("flock.wait", EAGAIN);
        let done = left.remove();
        points.clear();
        assert!(done.errors.is_empty(), "{what}: {done:?}");
        let came = session.lock().unwrap().take();
        let session = match came.expect("somebody came") {
            Err(Error::Busy { .. }) => return false,
            session => session.unwrap_or_else(|error| panic!("{what}: {error:?}")),
        };
        if self != Self::WholeSession {
            assert!(left.path(&format!(".{name}.lacuna-partial")).exists(), "{what}");
            session.commit().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
        assert!(std::fs::read(left.path(name)).unwrap() == [9; 4096], "{what}");
        true
    }
}

/// Whoever comes amid a removal is sent away, or has a part that nobody takes away.
#[test]
fn a_session_that_begins_at_any_step_of_a_removal_loses_nothing() {
    let points = Points::take();
    let Some(left) = Left::new(Fs::Ext4) else { return };
    let passed = left.undisturbed(&points);
    for comes in [Comes::Session, Comes::SessionAfterRemoval, Comes::WholeSession] {
        let mut let_in = vec![];
        for name in ["new", "newer"] {
            for (number, point) in passed.iter().enumerate() {
                let what = format!("{comes:?} to {name}, at {number}, {point}, of {passed:?}");
                let_in.push(comes.at(&left, name, &points, number, &what));
            }
        }
        let count = let_in.iter().filter(|let_in| **let_in).count();
        assert!((8..=let_in.len() - 8).contains(&count), "{comes:?}: {let_in:?}");
    }
}

/// What a session comes to that begins at one step of a removal and goes on beside it.
fn session_beside(left: &Left, points: &Points, number: usize) -> Result<Target> {
    let stamp = stamp(&left.path("old"));
    let (target, beside) = (left.path("new"), Arc::new(Mutex::new(None)));
    let begun = beside.clone();
    points.at(number, move || {
        let target = target.clone();
        let session = std::thread::spawn({
            let stamp = stamp.clone();
            move || Comes::Session.run(&target, &stamp)
        });
        *begun.lock().unwrap() = Some(session);
        // It meets whatever is locked now, or is through.
        std::thread::sleep(Duration::from_millis(10));
    });
    let done = left.remove();
    assert!(done.errors.is_empty(), "{number}: {done:?}");
    let session = beside.lock().unwrap().take().expect("a session");
    let session = session.join().unwrap();
    points.clear();
    session
}

/// Also where there is no part any more that could be locked.
#[test]
fn a_session_beside_a_removal_waits_for_the_moment_that_it_takes() {
    let points = Points::take();
    let Some(left) = Left::new(Fs::Tmpfs) else { return };
    for has_part in [true, false] {
        let prepare = || {
            left.prepare();
            if !has_part {
                std::fs::remove_file(left.path(".new.lacuna-data")).unwrap();
            }
        };
        prepare();
        let passed = points.passed_by(|| drop(left.remove()));
        for (number, point) in passed.iter().enumerate() {
            let what = format!("at {number}, {point}, of {passed:?}, with a part: {has_part}");
            // A removal that is itself kept waiting is no moment.
            let session = (0..5).find_map(|_| {
                prepare();
                let session = session_beside(&left, &points, number);
                Some(session).filter(|session| !matches!(session, Err(Error::Busy { .. })))
            });
            let session = session.unwrap_or_else(|| panic!("sent away {what}"));
            let session = session.unwrap_or_else(|error| panic!("{error:?} {what}"));
            assert!(left.path(".new.lacuna-partial").exists(), "the record is gone {what}");
            session.commit().unwrap_or_else(|error| panic!("{error:?} {what}"));
        }
    }
}

#[test]
fn a_second_removal_at_any_step_of_the_first_leaves_it_alone() {
    let points = Points::take();
    let Some(left) = Left::new(Fs::Ext4) else { return };
    let passed = left.undisturbed(&points);
    for number in 0..passed.len() {
        left.prepare();
        let (directory, seen) = (left.directory.clone(), Arc::new(Mutex::new(vec![])));
        let other = seen.clone();
        points.at(number, move || {
            let listed = plan(&directory).unwrap();
            let removed = apply(&directory, &Cancel::default()).unwrap();
            other.lock().unwrap().extend([listed, removed]);
        });
        let done = left.remove();
        points.clear();
        assert!(left.check("with another"), "{number}");
        let mut seen = seen.lock().unwrap();
        seen.push(done);
        let parts = |all: &Partials, which: fn(&Leftover) -> bool| {
            assert!(all.errors.is_empty(), "{number}: {all:?}");
            let parts = all.leftovers.iter().filter(|left| left.kind == LeftoverKind::Part);
            parts.filter(|part| which(part)).count()
        };
        let counts = |which| [0, 1, 2].map(|run| parts(&seen[run], which));
        let [_, second, first] = counts(|part| part.removed);
        assert_eq!(second + first, 2, "{number}: each part is removed once");
        let [listed, second, _] = counts(|part| part.in_use == Some(true));
        assert!(listed <= 1 && second == listed, "{number}: {seen:?}");
    }
}

/// Whose steps would fail when a draft went, or when an image that is leased was opened for writing.
#[test]
fn a_removal_at_any_step_of_a_fold_a_prune_or_a_dig_does_not_disturb_it() {
    let points = Points::take();
    for operation in Operation::ALL {
        let layers = match operation {
            Operation::Dig => vec![Pattern::whole([Block::Data(0), Block::Data(1)].repeat(4))],
            _ => layers(Block::Data(7), Block::Zero),
        };
        let Some(chain) = Chain::new(Fs::Ext4, operation, &layers) else { return };
        chain.prepare();
        let passed = points.passed_by(|| chain.run().unwrap());
        for (number, name) in passed.iter().enumerate() {
            chain.prepare();
            let directory = chain.directory();
            points.at(number, move || {
                for image in ["base.img", "child.img"] {
                    let draft = format!(".{image}.checksum.lacuna-draft");
                    std::fs::write(directory.join(draft), "draft").unwrap();
                }
                let done = apply(&directory, &Cancel::default()).unwrap();
                assert!(done.errors.is_empty(), "{done:?}");
            });
            let what = format!("{operation:?}, at {number} of {}, {name}", passed.len());
            chain.run().unwrap_or_else(|error| panic!("{what}: {error:?}"));
            points.clear();
            apply(&chain.directory(), &Cancel::default()).unwrap();
            chain.check(true, &what);
        }
    }
}
