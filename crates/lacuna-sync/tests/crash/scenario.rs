//! One session that is disturbed and repeated, and what must be the case after either.

use std::fs::File;
use std::path::{Path, PathBuf};

use lacuna::IoMode;
use lacuna_sync::Result;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::syncfs;
use tempfile::TempDir;

use crate::image::{
    Beside, Content, assert_tidy, assert_vouched, bytes_of, checksum_of, crc64, record, vouched,
};
use crate::server::session;

/// What stands under the target's name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// Nothing but the `.checksum` of an image that was there once.
    Record,
    /// A smaller image.
    Smaller,
    /// A larger one.
    Larger,
    /// One that differs in a hole and a block.
    Similar,
}

impl Before {
    pub(crate) const ALL: [Self; 5] =
        [Self::Nothing, Self::Record, Self::Smaller, Self::Larger, Self::Similar];

    fn pattern(self) -> Option<Pattern> {
        let mut disk = disk();
        match self {
            Self::Nothing | Self::Record => return None,
            Self::Smaller => {
                disk.blocks.truncate(7);
                disk.blocks[1] = Block::Data(200);
            }
            Self::Larger => disk.blocks.extend([Block::Data(201), Block::Hole, Block::Data(202)]),
            Self::Similar => {
                disk.blocks[2] = Block::Data(203);
                disk.blocks[9] = Block::Data(204);
            }
        }
        Some(Pattern::whole(disk.blocks))
    }
}

/// The source: four runs of data, three holes.
fn disk() -> Pattern {
    let [a, b, c] = [1, 2, 3].map(Block::Data);
    let (zero, hole) = (Block::Zero, Block::Hole);
    Pattern::whole(vec![a, a, hole, hole, b, b, hole, hole, c, c, zero, hole, hole, a])
}

/// A source with a fresh `.checksum`, and a target on a filesystem of its own.
pub(crate) struct Scenario {
    pub(crate) mount: Mount,
    source: PathBuf,
    target: PathBuf,
    options: SyncOptions,
    before: Before,
    wanted: Content,
    had: Option<Content>,
    _directory: TempDir,
}

impl Scenario {
    /// `None` where there is no such filesystem.
    pub(crate) fn new(fs: Fs, before: Before, target_io: IoMode) -> Option<Self> {
        let mount = Mount::new(fs)?;
        let directory = tempfile::tempdir().expect("make a directory");
        let source = directory.path().join("source.img");
        disk().write(&source);
        record(&source);
        let target = mount.path().join("to").join("target.img");
        std::fs::create_dir(target.parent().expect("a directory")).expect("make a directory");
        // One request at a time, so that the steps keep their order.
        let options = SyncOptions { target_io, in_flight: 1, ..SyncOptions::default() };
        let wanted = Content::of(&source);
        let had = None;
        Some(Self { mount, source, target, options, before, wanted, had, _directory: directory })
    }

    fn directory(&self) -> &Path {
        self.target.parent().expect("a directory")
    }

    /// Puts the target back to what it is at first, durably.
    pub(crate) fn prepare(&mut self) {
        for entry in std::fs::read_dir(self.directory()).expect("list the directory") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("remove a file");
        }
        if let Some(pattern) = self.before.pattern() {
            pattern.write(&self.target);
            record(&self.target);
            self.had = Some(Content::of(&self.target));
        }
        if self.before == Before::Record {
            std::fs::copy(checksum_of(&self.source), checksum_of(&self.target)).expect("copy");
        }
        syncfs(File::open(self.directory()).expect("open the directory")).expect("sync");
    }

    /// A session; an error of either side.
    pub(crate) fn run(&self) -> Result<()> {
        let (synced, served) = session(&self.source, &self.target, &self.options);
        synced.and(served).map(drop)
    }

    /// After a session that may have been disturbed, whatever came of it: what stands under the
    /// target's name is right, or as it was, or marked as neither; and what vouches for it is right.
    #[track_caller]
    pub(crate) fn check(&self, result: &Result<()>, what: &str) {
        let beside = Beside::of(&self.target);
        if !self.target.exists() {
            assert!(self.had.is_none(), "{what}: the target is gone");
            assert!(result.is_err(), "{what}: said to be done, and is not there");
            return;
        }
        let now = Content::of(&self.target);
        if let Some(wrong) = now.difference(&self.wanted) {
            let untouched = self.had.as_ref().is_some_and(|had| now == *had);
            assert!(beside.unfinished || untouched, "{what}: unmarked, and {wrong}");
            assert!(result.is_err(), "{what}: said to be done, but {wrong}");
        }
        let vouched = vouched(&self.target);
        if let Some(checksum) = &vouched {
            assert_eq!(*checksum, crc64(&bytes_of(&self.target)), "{what}: the .checksum is wrong");
        }
        if result.is_ok() {
            assert_eq!(beside, Beside::default(), "{what}: said to be done");
            assert!(vouched.is_some(), "{what}: said to be done, and not recorded");
        }
    }

    /// The same session again ends as if nothing had happened.
    #[track_caller]
    pub(crate) fn complete(&self, what: &str) {
        if let Err(error) = self.run() {
            panic!("{what}: the second time: {error:?}");
        }
        let now = Content::of(&self.target);
        now.assert_is(&self.wanted, format!("{what}: the second time"));
        assert_vouched(&self.target);
        assert_tidy(&self.target);
    }
}
