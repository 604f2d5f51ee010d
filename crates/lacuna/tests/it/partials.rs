//! What interrupted sessions left is found, and removed where nobody is at work on it.

mod crossing;

use std::fs::File;
use std::path::{Path, PathBuf};

use lacuna::copy::CopyOptions;
use lacuna::partials::LeftoverKind::{Draft, Mark, Part, Record};
use lacuna::partials::{Leftover, LeftoverKind, Partials, apply, plan};
use lacuna::{
    Access, Cancel, Error, Image, ImageOptions, Links, Progress, Source, Target, TargetOptions,
};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use crate::paths::{copy, stamp};
use crate::{allocated, mark_of, mounts};

const SIZE: u64 = 1 << 20;

/// What of a part that was left is there for certain.
const DONE: u64 = 12288;

/// Opens `path` as a session does and writes to it.
fn begin(path: &Path) -> Target {
    let mut target = Target::open(path, &TargetOptions::default()).unwrap();
    target.resize(SIZE).unwrap();
    target.write_at(&[7; 8192], 4096).unwrap();
    target
}

/// Leaves a part of `path` and a record of how far it is that of `source`.
fn leave(path: &Path, source: &Path) {
    let stamp = stamp(source);
    let target = begin(path);
    target.write_at(&std::fs::read(source).unwrap()[..DONE as usize], 0).unwrap();
    target.checkpoint(&stamp, DONE).unwrap();
}

fn source(directory: &Path) -> PathBuf {
    let source = directory.join("source");
    Pattern::whole(vec![Block::Data(7); (SIZE / 4096) as usize]).write(&source);
    source
}

fn image(path: &Path) {
    Pattern::whole(vec![Block::Data(1); 4]).write(path);
}

fn put(path: &Path) {
    std::fs::write(path, "draft").unwrap();
}

fn removed(directory: &Path) -> Partials {
    let partials = apply(directory, &Cancel::default()).unwrap();
    assert!(partials.errors.is_empty(), "{partials:?}");
    partials
}

/// Name, kind, and what `of` says of each.
fn each<'a, T>(
    partials: &'a Partials,
    of: impl Fn(&Leftover) -> T,
) -> Vec<(&'a str, LeftoverKind, T)> {
    let name = |leftover: &'a Leftover| leftover.path.file_name().unwrap().to_str().unwrap();
    partials.leftovers.iter().map(|found| (name(found), found.kind, of(found))).collect()
}

#[test]
fn what_sessions_left_is_removed_but_for_marks() {
    for mount in mounts() {
        let (directory, source) = (mount.path().join("images"), source(mount.path()));
        std::fs::create_dir(&directory).unwrap();
        let path = |name: &str| directory.join(name);
        leave(&path("a"), &source);
        put(&path("..a.lacuna-partial.lacuna-draft"));
        image(&path("b"));
        drop(begin(&path("b")));
        put(&path("..b.lacuna-unfinished.lacuna-draft"));
        put(&path(".b.checksum.lacuna-draft"));
        put(&path(".gone.checksum.lacuna-draft"));

        let expected = |of: fn(LeftoverKind) -> bool| {
            [
                ("..a.lacuna-partial.lacuna-draft", Draft),
                (".a.lacuna-partial", Record),
                (".a.lacuna-data", Part),
                ("..b.lacuna-unfinished.lacuna-draft", Draft),
                (".b.checksum.lacuna-draft", Draft),
                (".b.lacuna-unfinished", Mark),
                (".gone.checksum.lacuna-draft", Draft),
            ]
            .map(|(name, kind)| (name, kind, (Some(false), of(kind))))
        };
        let found = plan(&directory).unwrap();
        let state = |leftover: &Leftover| (leftover.in_use, leftover.removed);
        assert_eq!(each(&found, state), expected(|_| false));
        let [_, _, part, _, _, mark, gone] = &found.leftovers[..] else { panic!("{found:?}") };
        assert_eq!((part.size_bytes, &part.image), (SIZE, &path("a")));
        assert_eq!(part.allocated_bytes, allocated(&path(".a.lacuna-data")));
        assert!(part.allocated_bytes >= 8192);
        assert_eq!(part.modified, part.path.metadata().unwrap().modified().unwrap());
        assert_eq!((&mark.image, &gone.image), (&path("b"), &path("gone")));

        let done = removed(&directory);
        assert_eq!(each(&done, state), expected(|kind| kind != Mark));
        let left = removed(&directory);
        let mark = (".b.lacuna-unfinished", Mark, (Some(false), false));
        assert_eq!(each(&left, state), [mark]);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
        assert!(matches!(
            Source::open(&path("b"), &ImageOptions::default()),
            Err(Error::Unfinished { .. })
        ));
    }
}

#[test]
fn a_copy_after_the_removal_begins_with_nothing() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (source(mount.path()), mount.path().join("a"));
    let copied = || {
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let stats = copy(&source, &target, &CopyOptions::default(), &progress, &cancel).unwrap();
        assert!(std::fs::read(&target).unwrap() == std::fs::read(&source).unwrap());
        std::fs::remove_file(&target).unwrap();
        stats
    };
    leave(&target, &source);
    assert_eq!(copied().resumed_bytes, DONE, "what is left is gone on with");
    leave(&target, &source);
    removed(mount.path());
    let stats = copied();
    assert_eq!((stats.resumed_bytes, stats.compared_bytes), (0, 0));
}

#[test]
fn what_a_session_is_at_work_on_stays() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let source = source(mount.path());
    let path = |name: &str| mount.path().join(name);
    leave(&path("a"), &source);
    put(&path("..a.lacuna-partial.lacuna-draft"));
    image(&path("b"));
    put(&path("..b.lacuna-unfinished.lacuna-draft"));
    put(&path(".source.checksum.lacuna-draft"));
    let (new, existing) = (begin(&path("a")), begin(&path("b")));
    // The draft that was left is gone with the session's own.
    put(&path("..b.lacuna-unfinished.lacuna-draft"));
    let reader = Source::open(&source, &ImageOptions::default()).unwrap();

    let in_use = |leftover: &Leftover| (leftover.in_use == Some(true), leftover.removed);
    let all = [
        ("..a.lacuna-partial.lacuna-draft", Draft),
        (".a.lacuna-partial", Record),
        (".a.lacuna-data", Part),
        ("..b.lacuna-unfinished.lacuna-draft", Draft),
        (".b.lacuna-unfinished", Mark),
        (".source.checksum.lacuna-draft", Draft),
    ];
    let used = all.map(|(name, kind)| (name, kind, (true, false)));
    assert_eq!(each(&plan(mount.path()).unwrap(), in_use)[..5], used[..5]);
    assert_eq!(each(&removed(mount.path()), in_use), used, "readers write drafts, too");

    new.commit().unwrap();
    existing.commit().unwrap();
    drop((new, existing, reader));
    removed(mount.path());
    assert_eq!(each(&plan(mount.path()).unwrap(), in_use), []);
    assert!(path("a").exists() && path("b").exists());
}

#[test]
fn a_session_that_had_the_part_open_finds_that_it_is_gone() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let target = mount.path().join("a");
    leave(&target, &source(mount.path()));
    let options =
        ImageOptions { access: Access::Write, links: Links::Refuse, ..ImageOptions::default() };
    let late = Image::open(&mount.path().join(".a.lacuna-data"), &options).unwrap();
    removed(mount.path());
    assert!(matches!(late.lock(), Err(Error::Replaced { .. })));
    let next = begin(&target);
    assert!(matches!(late.lock(), Err(Error::Replaced { .. })));
    next.commit().unwrap();
}

#[test]
fn what_is_left_of_an_image_that_is_there_goes_and_the_image_stays() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let source = source(mount.path());
    let target = mount.path().join("a");
    leave(&target, &source);
    image(&target);
    assert_eq!(removed(mount.path()).leftovers.len(), 2);
    assert!(std::fs::read(&target).unwrap().len() == 4 * 4096);

    leave(&mount.path().join("b"), &source);
    std::fs::remove_file(mount.path().join(".b.lacuna-data")).unwrap();
    let orphan = removed(mount.path());
    assert_eq!(each(&orphan, |left| left.removed), [(".b.lacuna-partial", Record, true)]);
}

#[test]
fn nothing_but_files_with_names_of_lacuna_is_touched() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(elsewhere) = Mount::new(Fs::Tmpfs) else { return };
    let path = |name: &str| mount.path().join(name);
    let part = elsewhere.path().join(".far.lacuna-data");
    put(&part);
    for name in [".a.lacuna-data.bak", "a.lacuna-data", ".a.lacuna-draft", ".lacuna-data"] {
        put(&path(name));
    }
    std::fs::create_dir(path(".dir.lacuna-data")).unwrap();
    std::os::unix::fs::symlink(&part, path(".link.lacuna-data")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), path("linked")).unwrap();
    std::os::unix::net::UnixListener::bind(path(".socket.lacuna-data")).unwrap();
    let names = || {
        let entries = std::fs::read_dir(mount.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(removed(mount.path()).leftovers.len(), 0);
    assert_eq!(names(), before);
    assert!(part.exists());
    // A link that was named is followed.
    assert_eq!(removed(&path("linked")).leftovers.len(), 1);
    assert!(!part.exists());
}

#[test]
fn directories_below_are_looked_through_on_the_same_filesystem() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let above = mount.path().parent().unwrap();
    let below = mount.path().join("a/.b/c");
    std::fs::create_dir_all(&below).unwrap();
    for directory in [above, mount.path(), &mount.path().join("a"), &below] {
        put(&directory.join(".x.lacuna-data"));
    }
    let paths = |root: &Path| {
        let found = plan(root).unwrap();
        let below = |left: &Leftover| left.path.strip_prefix(root).unwrap().to_owned();
        found.leftovers.iter().map(below).map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(paths(above), [".x.lacuna-data"]);
    let all = [".x.lacuna-data", "a/.x.lacuna-data", "a/.b/c/.x.lacuna-data"];
    assert_eq!(paths(mount.path()), all);
    assert_eq!(removed(above).leftovers.len(), 1);
    assert_eq!(paths(mount.path()), all);
    assert_eq!(removed(mount.path()).leftovers.len(), 3);
    assert_eq!(paths(mount.path()), [""; 0]);
}

#[test]
fn what_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    File::create(&file).unwrap();
    for (path, words) in [(&file, "not a directory"), (&file.join("none"), "directory")] {
        for error in [plan(path).unwrap_err(), apply(path, &Cancel::default()).unwrap_err()] {
            let told = lacuna::describe(&error).to_lowercase();
            assert!(told.contains("cannot list") && told.contains(words), "{told}");
        }
    }
}

#[test]
fn a_removal_that_is_cancelled_removes_no_more() {
    let directory = tempfile::tempdir().unwrap();
    put(&directory.path().join(".a.lacuna-data"));
    image(&directory.path().join("b"));
    put(&mark_of(&directory.path().join("b")));
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(matches!(apply(directory.path(), &cancel), Err(Error::Cancelled)));
    assert_eq!(plan(directory.path()).unwrap().leftovers.len(), 2);
}
