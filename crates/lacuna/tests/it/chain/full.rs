//! Folds on a filesystem that is full, or nearly.

use std::fs::File;
use std::path::{Path, PathBuf};

use lacuna::fold::{self, FoldOptions};
use lacuna::{BLOCK, Error};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{FallocateFlags, fallocate, syncfs};
use rustix::io::Errno;

use super::oracle;
use super::{Two, Untouched, at_rest, copying, try_fold};

/// A file that takes room.
struct Filler(PathBuf);

impl Filler {
    /// Takes all room but `rest` bytes of what this user may have.
    fn new(directory: &Path, rest: u64) -> Self {
        let path = directory.join("filler");
        let file = File::create(&path).unwrap();
        syncfs(&file).unwrap();
        // A step less than a block: what the filesystem says is free is not all to be had.
        let mut size = 0;
        for step in [64 << 20, 4 << 20, 256 << 10, 16 << 10, BLOCK] {
            loop {
                match fallocate(&file, FallocateFlags::empty(), size, step) {
                    Ok(()) => size += step,
                    Err(Errno::NOSPC) => break,
                    Err(errno) => panic!("fill: {errno}"),
                }
            }
        }
        file.set_len(size - rest).unwrap();
        syncfs(&file).unwrap();
        Self(path)
    }

    /// Gives the room back at once: XFS does that later for a file that is only removed.
    fn remove(&self) {
        let file = File::create(&self.0).unwrap();
        std::fs::remove_file(&self.0).unwrap();
        syncfs(&file).unwrap();
    }
}

fn mounts() -> impl Iterator<Item = Mount> {
    // ext4 keeps nothing for root: what is free is free for this test and for a fold alike.
    [(Fs::Ext4, vec!["-m", "0"]), (Fs::Xfs, vec![])].into_iter().filter_map(|(fs, mkfs)| {
        let mkfs = mkfs.into_iter().map(str::to_owned).collect();
        Mount::with(fs, &MountOptions { size_mib: 160, mkfs, ..MountOptions::default() })
    })
}

/// So many bytes of data, in runs of so many blocks with a hole behind each.
fn runs(bytes: u64, run: usize) -> Pattern {
    let blocks = (bytes / BLOCK) as usize;
    let one = [vec![Block::Data(1); run], vec![Block::Hole]].concat();
    Pattern::whole(one.repeat(blocks / run))
}

fn holes_like(pattern: &Pattern) -> Pattern {
    Pattern::whole(vec![Block::Hole; pattern.blocks.len()])
}

/// What a fold of 64 holes over nothing writes down: less than a block, and a block for what it is.
const RECORD: u64 = 2 * BLOCK;

#[test]
fn a_fold_that_cannot_fit_is_refused_before_the_first_write() {
    for mount in mounts() {
        let child = runs(16 << 20, 64);
        let two = Two::on(&mount, &child, &holes_like(&child));
        let filler = Filler::new(mount.path(), 8 << 20);
        let untouched = Untouched::of(&[&two.child, &two.parent]);
        let plan = || Ok(fold::plan(&two.child, &two.parent, &copying())?);
        let planned = at_rest(&[&two.child, &two.parent], plan).unwrap();
        assert!(!planned.fits(), "{planned:?}");
        let error = try_fold(&two.child, &two.parent, &copying()).unwrap_err().cause;
        assert!(
            matches!(&error, Error::NoSpace { path, needed, free, freeing: false }
                if *path == two.parent && *needed == (16 << 20) + RECORD && free < needed),
            "{error:?}"
        );
        assert!(error.remedy().unwrap().contains("free some space"));
        untouched.check();
        filler.remove();
        let mut two = two;
        two.fold(&copying());
    }
}

/// What a fold overwrites needs no room, unless it is shared with another file.
#[test]
fn what_the_parent_shares_with_another_file_needs_room() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    for child in [vec![Block::Data(1); 4096], vec![Block::Zero; 4096]] {
        let child = Pattern::whole(child);
        let two = Two::on(&mount, &child, &Pattern::whole(vec![Block::Data(2); 4096]));
        let copy = mount.path().join("copy");
        let plan = || Ok(fold::plan(&two.child, &two.parent, &copying())?.needed_bytes);
        let needed = || at_rest(&[&two.child, &two.parent], plan).unwrap();
        assert_eq!(needed(), BLOCK, "for the record alone");
        let cloned = std::process::Command::new("cp")
            .arg("--reflink=always")
            .args([&two.parent, &copy])
            .status();
        assert!(cloned.unwrap().success());
        assert_eq!(needed(), (16 << 20) + BLOCK);
        std::fs::remove_file(&copy).unwrap();
    }
}

/// That is what freeing is for: there is no room for the child twice.
#[test]
fn a_fold_that_frees_needs_hardly_any_room() {
    for mount in mounts() {
        // Odd numbers of free blocks too: rounds are cut at blocks all the same.
        for rest in [(2 << 20) + BLOCK, (5 << 20) + 3 * BLOCK] {
            let child = runs(40 << 20, 1000);
            let mut two = Two::on(&mount, &child, &holes_like(&child));
            let read = oracle::read(&two.layers);
            let filler = Filler::new(mount.path(), rest);
            let options = FoldOptions { free: true, ..copying() };
            let error = try_fold(&two.child, &two.parent, &copying()).unwrap_err().cause;
            assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
            let stats = two.fold(&options);
            assert!(stats.reclaimed_bytes >= child.size / 1001 * 1000, "{stats:?}");
            assert!(oracle::read(&two.layers) == read);
            filler.remove();
            std::fs::remove_file(&two.child).unwrap();
            std::fs::remove_file(&two.parent).unwrap();
        }
    }
}

/// What does not come back must fit like without freeing.
#[test]
fn what_a_child_gives_up_in_vain_needs_room() {
    let (Some(mount), Some(other)) = (Mount::new(Fs::Xfs), Mount::new(Fs::Ext4)) else { return };
    let child = runs(16 << 20, 64);
    let two = Two::on(&mount, &child, &holes_like(&child));
    let options = FoldOptions { free: true, ..copying() };
    let needed = |child: &Path| {
        let plan = || Ok(fold::plan(child, &two.parent, &options)?.needed_bytes);
        at_rest(&[child, &two.parent], plan).unwrap()
    };
    assert_eq!(needed(&two.child), (1 << 20) + RECORD);
    let away = other.path().join("child.img");
    child.write(&away);
    assert_eq!(needed(&away), (16 << 20) + RECORD, "it is on another filesystem");
    let clone = std::process::Command::new("cp")
        .arg("--reflink=always")
        .args([&two.child, &mount.path().join("clone")])
        .status();
    assert!(clone.unwrap().success());
    assert_eq!(needed(&two.child), (16 << 20) + RECORD, "it shares its space");
}
