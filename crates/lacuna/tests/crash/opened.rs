//! An image that somebody opens in the middle, to read it or to write to it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use lacuna::dig::{self, DigOptions};
use lacuna::{Cancel, Error, Image, ImageOptions, Progress, Result};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::Block::{Data, Hole};
use lacuna_testing::pattern::{BLOCK, Kind, Pattern};

use crate::chain::Operation;
use crate::content::Content;
use crate::points::Points;

/// Opens `path` with `options` in another thread when the point `name` is passed for the first time,
/// and does `action` with the file as soon as it is open. Returns what `operation` came to, when all
/// that is done.
fn open_at(
    points: &Points,
    name: &'static str,
    path: &Path,
    options: &OpenOptions,
    action: impl FnOnce(File) + Send + 'static,
    operation: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (done, is_done) = channel();
    let opener = Mutex::new(Some((path.to_owned(), options.clone(), action, done)));
    points.visit(move |passed, _| {
        let opener = if passed == name { opener.lock().unwrap().take() } else { None };
        let Some((path, options, action, done)) = opener else { return };
        let inode = path.metadata().unwrap().ino();
        std::thread::spawn(move || {
            action(options.open(path).unwrap());
            done.send(()).unwrap();
        });
        wait_for_break(inode);
    });
    let result = operation();
    is_done.recv_timeout(Duration::from_secs(20)).expect("the file was opened");
    points.clear();
    result
}

/// Waits until somebody waits to open the file with this inode.
fn wait_for_break(inode: u64) {
    let begun = Instant::now();
    let is_broken = |line: &str| line.contains("BREAKING") && line.contains(&format!(":{inode} "));
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(is_broken) {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn writing() -> OpenOptions {
    File::options().write(true).clone()
}

fn reading() -> OpenOptions {
    File::options().read(true).clone()
}

/// Writes into the first block.
fn write(file: File) {
    file.write_all_at(&[7; 100], 50).unwrap();
}

#[track_caller]
fn assert_written(path: &Path) {
    assert_eq!(std::fs::read(path).unwrap()[50..150], [7; 100]);
}

/// Three layers, of which the upper two have what folding and pruning move.
fn chain() -> Option<(Mount, [PathBuf; 3])> {
    let mount = Mount::new(Fs::Ext4)?;
    let paths = ["base.img", "parent.img", "child.img"].map(|name| mount.path().join(name));
    let rows = |byte| [[Data(byte), Hole].repeat(4), vec![Data(byte)]].concat();
    Pattern::whole(vec![Data(9); 9]).write(&paths[0]);
    Pattern::whole(vec![Data(1); 9]).write(&paths[1]);
    Pattern::whole(rows(2)).write(&paths[2]);
    Some((mount, paths))
}

#[test]
fn what_is_written_while_an_image_is_dug_is_not_lost() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let dig = || Operation::Dig.run(mount.path());
    let error = open_at(&points, "source.punch", &path, &writing(), write, dig).unwrap_err();
    assert!(matches!(error, Error::OpenElsewhere { .. }), "{error:?}");
    assert_written(&path);
    dig().unwrap();
    assert_written(&path);
}

/// As on a filesystem that is frozen for longer than a lease lasts.
#[test]
fn a_punch_that_was_held_up_while_somebody_came_names_what_may_be_lost() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let opener = Mutex::new(Some(path.clone()));
    points.visit(move |passed, _| {
        let path = if passed == "image.punch" { opener.lock().unwrap().take() } else { None };
        let Some(path) = path else { return };
        let inode = path.metadata().unwrap().ino();
        std::thread::spawn(move || drop(writing().open(path)));
        wait_for_break(inode);
        std::thread::sleep(Duration::from_millis(600));
    });
    let error = Operation::Dig.run(mount.path()).unwrap_err();
    points.clear();
    let Error::OpenedMeanwhile { range, .. } = error else { panic!("{error:?}") };
    assert_eq!((range.start(), range.len()), (0, BLOCK));
}

#[test]
fn a_reader_who_stays_does_not_keep_a_dig_from_being_cancelled() {
    let points = Points::take();
    let Some((_mount, path)) = many_zeros() else { return };
    let cancel = Cancel::default();
    let options = DigOptions { threads: 4, ..DigOptions::default() };
    let dig = || dig::apply(&path, &options, &Progress::default(), &cancel).map(drop);
    let asked = cancel.clone();
    let stay = move |_reader: File| {
        std::thread::sleep(Duration::from_millis(100));
        asked.cancel();
        std::thread::sleep(Duration::from_millis(300));
    };
    let ended = open_at(&points, "source.punch", &path, &reading(), stay, dig);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
}

#[test]
fn whoever_reads_an_image_while_it_is_dug_is_let_in_and_waited_for() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let dig = || Operation::Dig.run(mount.path());
    let read = |file: File| {
        std::thread::sleep(Duration::from_millis(300));
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, BLOCK).unwrap();
        assert!(bytes.iter().any(|byte| *byte != 0));
    };
    open_at(&points, "source.punch", &path, &reading(), read, dig).unwrap();
    assert_eq!(
        Content::of(&path).kinds,
        [Kind::Hole, Kind::Data, Kind::Hole, Kind::Data, Kind::Hole, Kind::Hole]
    );
}

#[test]
fn whoever_writes_while_a_reader_is_let_in_is_noticed() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let dig = || Operation::Dig.run(mount.path());
    let elsewhere = path.clone();
    let write_as_well = move |_reader: File| write(writing().open(elsewhere).unwrap());
    let error = open_at(&points, "source.punch", &path, &reading(), write_as_well, dig);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
    assert_written(&path);
}

/// Many ranges have been read and are about to be punched when the reader is let in.
#[test]
fn whatever_is_written_while_many_threads_dig_is_not_lost() {
    let points = Points::take();
    let Some((_mount, path)) = many_zeros() else { return };
    let options = DigOptions { threads: 4, ..DigOptions::default() };
    let dig = || dig::apply(&path, &options, &Progress::default(), &Cancel::default()).map(drop);
    let elsewhere = path.clone();
    let write_everything = move |_reader: File| {
        writing().open(elsewhere).unwrap().write_all_at(&vec![7; MANY], 0).unwrap();
    };
    let error = open_at(&points, "source.punch", &path, &reading(), write_everything, dig);
    assert!(matches!(error, Err(Error::Changed { .. })), "{error:?}");
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 7));
}

#[test]
fn a_reader_who_stays_ends_a_dig() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let dig = || Operation::Dig.run(mount.path());
    let stay = |_reader: File| std::thread::sleep(Duration::from_secs(12));
    let error = open_at(&points, "source.punch", &path, &reading(), stay, dig).unwrap_err();
    assert!(matches!(error, Error::OpenElsewhere { .. }), "{error:?}");
}

/// It does not wait, and must not end what is going on either.
#[test]
fn another_lacuna_finds_an_image_that_is_dug_in_use() {
    let points = Points::take();
    let Some((mount, path)) = zeros() else { return };
    let (found, finds) = channel();
    let another = path.clone();
    points.visit(move |name, _| {
        if name == "source.punch" {
            let opened = Image::open(&another, &ImageOptions::default());
            found.send(opened.err()).unwrap();
        }
    });
    Operation::Dig.run(mount.path()).unwrap();
    points.clear();
    let finds: Vec<_> = finds.try_iter().collect();
    assert_eq!(finds.len(), 3);
    for error in finds {
        assert!(matches!(error, Some(Error::Busy { .. })), "{error:?}");
    }
}

/// An image with three blocks of zeros: two that are read at once, and one that is read after these.
fn zeros() -> Option<(Mount, PathBuf)> {
    let mount = Mount::new(Fs::Ext4)?;
    let path = mount.path().join("base.img");
    let zeros = [Data(0), Data(1), Data(0), Data(1), Hole, Data(0)];
    Pattern::whole(zeros.to_vec()).write(&path);
    Some((mount, path))
}

/// The bytes of [`many_zeros`].
const MANY: usize = 32 << 20;

/// An image that several threads dig at the same time.
fn many_zeros() -> Option<(Mount, PathBuf)> {
    let mount = Mount::new(Fs::Ext4)?;
    let path = mount.path().join("base.img");
    std::fs::write(&path, vec![0; MANY]).unwrap();
    Some((mount, path))
}

#[test]
fn what_is_written_to_a_child_while_it_is_freed_is_not_lost() {
    let points = Points::take();
    let Some((mount, [_, parent, child])) = chain() else { return };
    let fold = || Operation::FoldFree.run(mount.path());
    let error = open_at(&points, "source.punch", &child, &writing(), write, fold).unwrap_err();
    assert!(matches!(error, Error::OpenElsewhere { .. }), "{error:?}");
    assert_written(&child);
    open_at(&points, "image.write", &child, &reading(), drop, fold).unwrap();
    assert_written(&parent);
}

#[test]
fn a_child_that_is_written_to_while_it_is_folded_is_folded_again() {
    let points = Points::take();
    let Some((mount, [_, parent, child])) = chain() else { return };
    let fold = || Operation::Fold.run(mount.path());
    let error = open_at(&points, "image.write", &child, &writing(), write, fold).unwrap_err();
    assert!(matches!(error, Error::OpenForWriting { .. }), "{error:?}");
    assert_written(&child);
    fold().unwrap();
    assert_written(&parent);
}

/// Once the child no longer hides it, the parent must still have it.
#[test]
fn what_a_child_gives_up_while_its_parent_is_pruned_is_not_lost() {
    let points = Points::take();
    let Some((mount, [_, parent, child])) = chain() else { return };
    let before = std::fs::read(&parent).unwrap();
    let prune = || Operation::Prune.run(mount.path());
    let give_up = |file: File| {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, 8 * BLOCK, BLOCK).unwrap();
    };
    let error = open_at(&points, "image.punch", &child, &writing(), give_up, prune).unwrap_err();
    assert!(matches!(error, Error::OpenForWriting { .. }), "{error:?}");
    prune().unwrap();
    let last = 8 * BLOCK as usize;
    assert!(std::fs::read(&parent).unwrap()[last..] == before[last..]);
}
