//! Whatever the two images are, the target becomes the source: bytes and kinds.

use std::path::PathBuf;

use lacuna::IoMode;
use lacuna_sync::v2::TargetOptions;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of, pair_strategy, strategy};
use proptest::prelude::*;
use proptest::sample::select;

use crate::for_all;
use crate::pair::{Ended, Wiring, session};

/// Blocks of an image, at most: some chunks.
const BLOCKS: usize = 100;

/// What there is of the target before.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    Nothing,
    Image(Pattern),
    /// What an interrupted session left of a new image.
    Part(Pattern),
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) source: Pattern,
    pub(crate) before: Before,
    io: IoMode,
    verify: bool,
    threads: usize,
}

impl Case {
    pub(crate) fn wiring(&self) -> Wiring {
        let mut wiring = Wiring { io: self.io, ..Wiring::default() };
        wiring.source.threads = self.threads;
        wiring.target =
            TargetOptions { threads: self.threads, verify: self.verify, no_resume: false };
        wiring
    }
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let existing = |before: fn(Pattern) -> Before| {
        let pairs = pair_strategy(BLOCKS);
        pairs.prop_map(move |(source, target)| (source, before(target))).boxed()
    };
    let new = strategy(BLOCKS).prop_map(|source| (source, Before::Nothing));
    let images = prop_oneof![
        3 => existing(Before::Image),
        1 => existing(Before::Part),
        3 => new.boxed(),
    ];
    let modes = select(&[IoMode::Auto, IoMode::Buffered, IoMode::Direct]);
    (images, modes, any::<bool>(), select(&[1, 2, 5])).prop_map(
        |((source, before), io, verify, threads)| Case { source, before, io, verify, threads },
    )
}

/// Where the images of a case stand.
pub(crate) struct Place {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

impl Place {
    pub(crate) fn prepare(&self, case: &Case) {
        let directory = self.target.parent().unwrap();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path != self.source && path.is_file() {
                std::fs::remove_file(path).unwrap();
            }
        }
        case.source.write(&self.source);
        match &case.before {
            Before::Nothing => {}
            Before::Image(pattern) => pattern.write(&self.target),
            Before::Part(pattern) => pattern.write(&directory.join(".target.img.lacuna-data")),
        }
    }

    fn sync(&self, case: &Case) -> Ended {
        session(&self.source, &self.target, &case.wiring())
    }

    fn check(&self, case: &Case) {
        self.prepare(case);
        let ended = self.sync(case);
        let received = ended.received.expect("received");
        let sent = ended.sent.expect("sent");
        assert_eq!(sent.receipt, received.receipt);
        self.assert_same(case);
        let again = self.sync(case);
        let (sent, received) = (again.sent.expect("sent again"), again.received.expect("received"));
        assert_eq!((sent.written_bytes, received.written_bytes), (0, 0));
        self.assert_same(case);
    }

    fn assert_same(&self, case: &Case) {
        assert!(std::fs::read(&self.target).unwrap() == case.source.bytes(), "other bytes");
        let (source, target) = (kinds_of(&self.source), kinds_of(&self.target));
        let has_zero = target.contains(&Kind::Zero) || !source.contains(&Kind::Zero);
        let held = |kind: &Kind| if *kind == Kind::Zero && !has_zero { Kind::Data } else { *kind };
        assert_eq!(source.iter().map(held).collect::<Vec<_>>(), target);
        let left: Vec<_> = std::fs::read_dir(self.target.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && *path != self.target && *path != self.source)
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn check_on(source: Fs, target: Fs, number: u32) {
    let (Some(source), Some(target)) = (Mount::new(source), Mount::new(target)) else { return };
    let place = Place {
        source: source.path().join("source.img"),
        target: target.path().join("target.img"),
    };
    for_all(number, cases(), |case| place.check(&case));
}

#[test]
fn any_image_becomes_the_source_on_ext4() {
    check_on(Fs::Ext4, Fs::Ext4, 60);
}

#[test]
fn any_image_becomes_the_source_on_xfs() {
    check_on(Fs::Ext4, Fs::Xfs, 30);
}

#[test]
fn any_image_becomes_the_source_on_btrfs() {
    check_on(Fs::Xfs, Fs::Btrfs, 30);
}

#[test]
fn any_image_becomes_the_source_on_tmpfs() {
    check_on(Fs::Ext4, Fs::Tmpfs, 30);
}

#[test]
fn what_is_equal_is_told_in_few_bytes() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let blocks: Vec<_> = (0..8192).map(|n| Block::Data((n % 255) as u8 + 1)).collect();
    let place =
        Place { source: mount.path().join("source.img"), target: mount.path().join("target.img") };
    Pattern::whole(blocks.clone()).write(&place.source);
    Pattern::whole(blocks).write(&place.target);
    let ended = session(&place.source, &place.target, &Wiring::default());
    ended.received.unwrap();
    let allocated = 8192 * BLOCK;
    assert!(ended.wire_bytes <= allocated / 1000 + 1024, "{}", ended.wire_bytes);
}
