//! Disks that are full, or become so.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacuna::{IoMode, Kept};
use lacuna_sync::Error;
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of};
use rustix::fs::{FallocateFlags, fallocate, syncfs};

use crate::pair::{Ended, Wiring, session};

const MIB: u64 = 1 << 20;

/// A source of all kinds, and a target on a disk of its own beside a file that takes up the rest of it.
struct Place {
    from: Mount,
    to: Mount,
}

impl Place {
    fn new(fs: Fs, source: &Pattern) -> Option<Self> {
        let options = MountOptions { size_mib: 64, ..MountOptions::default() };
        let place = Self { from: Mount::new(Fs::Ext4)?, to: Mount::with(fs, &options)? };
        source.write(&place.source());
        Some(place)
    }

    fn source(&self) -> PathBuf {
        self.from.path().join("source.img")
    }

    fn target(&self) -> PathBuf {
        self.to.path().join("target.img")
    }

    fn filler(&self) -> PathBuf {
        self.to.path().join("filler")
    }

    /// What takes the name of the target before: an image that is nearly all hole, or nothing.
    fn put_target(&self, size: u64) {
        let blocks = [vec![Block::Data(9); 3], vec![Block::Hole; (size / BLOCK) as usize - 3]];
        Pattern::whole(blocks.concat()).write(&self.target());
    }

    fn make_room(&self) {
        cut(&self.filler());
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.to.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "lost+found").collect();
        names.sort();
        names
    }

    /// Both ends are told of the full disk, and what is kept stands under the right name.
    #[track_caller]
    fn assert_full(&self, ended: Ended, existed: bool) {
        let failure = ended.received.unwrap_err();
        let said = lacuna::describe(&failure.cause);
        assert!(said.contains("no space left on device"), "{said}");
        let remedy = failure.cause.remedy().unwrap();
        assert_eq!(remedy, "free some space and run the same command again");
        let heard = ended.sent.unwrap_err();
        assert!(matches!(&heard, Error::Peer { code: 9, words } if *words == said), "{heard:?}");
        let remedy = heard.remedy().unwrap();
        assert_eq!(remedy, "free some space there and run the same command again");
        match failure.kept {
            Kept::Part { .. } if !existed => {
                assert_eq!(self.names(), [".target.img.lacuna-data", "filler"]);
            }
            Kept::HalfWritten(_) if existed => {
                let names = [".target.img.lacuna-unfinished", "filler", "target.img"];
                assert_eq!(self.names(), names);
            }
            kept => panic!("{kept:?}"),
        }
    }

    /// With room again, the rest is sent, and nothing is left beside.
    #[track_caller]
    fn complete(&self, wiring: &Wiring) -> u64 {
        self.make_room();
        let ended = session(&self.source(), &self.target(), wiring);
        ended.received.unwrap();
        ended.sent.unwrap();
        let [source, target] = [self.source(), self.target()];
        assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
        let mut kinds = kinds_of(&source);
        if !self.to.fs().has_zero() {
            let zeros = kinds.iter_mut().filter(|kind| **kind == Kind::Zero);
            zeros.for_each(|kind| *kind = Kind::Data);
        }
        assert_eq!(kinds_of(&target), kinds);
        assert_eq!(self.names(), ["filler", "target.img"]);
        ended.wire_bytes
    }
}

/// XFS gives back what is removed some time later, but what is cut at once.
fn cut(path: &Path) {
    syncfs(File::create(path).unwrap()).unwrap();
}

/// Takes all the space of the disk of `filler` but `room` bytes.
fn fill(filler: &Path, room: u64) {
    let file = File::create(filler).unwrap();
    let (mut end, mut step) = (0, 1 << 40);
    while step >= BLOCK {
        match fallocate(&file, FallocateFlags::empty(), end, step) {
            Ok(()) => end += step,
            Err(_) => step /= 2,
        }
    }
    file.set_len(end - room).unwrap();
    file.sync_all().unwrap();
}

fn mixed() -> Pattern {
    let run = |n| [vec![Block::Data(n); 40], vec![Block::Hole; 5], vec![Block::Zero; 15]].concat();
    Pattern::whole((1..30).flat_map(run).collect())
}

#[test]
fn a_full_disk_is_called_that_at_both_ends_and_the_next_session_completes() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Tmpfs] {
        let Some(place) = Place::new(fs, &mixed()) else { continue };
        for io in [IoMode::Direct, IoMode::Buffered] {
            for existed in [false, true] {
                let wiring = Wiring { io, ..Wiring::default() };
                cut(&place.target());
                std::fs::remove_file(place.target()).unwrap();
                if existed {
                    place.put_target(mixed().size);
                }
                fill(&place.filler(), 2 * MIB);
                let ended = session(&place.source(), &place.target(), &wiring);
                place.assert_full(ended, existed);
                place.complete(&wiring);
            }
        }
    }
}

/// There is not even room for the mark.
#[test]
fn an_existing_target_on_a_disk_without_any_room_is_left_as_it_was() {
    let Some(place) = Place::new(Fs::Ext4, &mixed()) else { return };
    place.put_target(mixed().size);
    let before = std::fs::read(place.target()).unwrap();
    fill(&place.filler(), 0);
    let ended = session(&place.source(), &place.target(), &Wiring::default());
    let failure = ended.received.unwrap_err();
    let said = lacuna::describe(&failure.cause);
    assert!(said.contains("lacuna-unfinished: no space left on device"), "{said}");
    assert_eq!(failure.kept, Kept::Nothing);
    assert!(matches!(ended.sent.unwrap_err(), Error::Peer { code: 9, .. }));
    assert_eq!(place.names(), ["filler", "target.img"]);
    assert!(std::fs::read(place.target()).unwrap() == before);
    place.complete(&Wiring::default());
}

const SIZE: u64 = 32 * MIB;

/// Has arrived when the disk fills, at the least.
const BEFORE: u64 = 6 * MIB;

/// Waits until so much of `path` has arrived, and then takes what is left of its disk.
fn fill_amid(path: &Path, filler: &Path) {
    let begun = Instant::now();
    while std::fs::metadata(path).map_or(0, |part| part.blocks() * 512) < BEFORE {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing comes");
        std::thread::sleep(Duration::from_millis(5));
    }
    fill(filler, 0);
}

fn others_fill_it(fs: Fs, existed: bool) {
    let source = Pattern::whole((0..SIZE / BLOCK).map(|n| Block::Data((n % 250) as u8)).collect());
    let Some(place) = Place::new(fs, &source) else { return };
    let mut wiring = Wiring::default();
    wiring.source.zstd = None;
    let mut slow = wiring.clone();
    // What is still to come takes seconds then, and filling a disk none.
    slow.link.rate = std::num::NonZeroU64::new(4 * MIB);
    let part = match existed {
        true => place.target(),
        false => place.to.path().join(".target.img.lacuna-data"),
    };
    if existed {
        place.put_target(SIZE);
    }
    let filler = place.filler();
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| fill_amid(&part, &filler));
        session(&place.source(), &place.target(), &slow)
    });
    place.assert_full(ended, existed);
    let wire_bytes = place.complete(&wiring);
    assert!(wire_bytes < SIZE - BEFORE + MIB, "{wire_bytes}");
}

#[test]
fn a_disk_that_others_fill_amid_a_new_target_ends_the_session() {
    others_fill_it(Fs::Ext4, false);
}

#[test]
fn a_disk_that_others_fill_amid_an_existing_target_ends_the_session() {
    others_fill_it(Fs::Xfs, true);
}
