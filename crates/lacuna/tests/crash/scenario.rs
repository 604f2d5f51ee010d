//! One copy that is interrupted and repeated, and what must be the case after either.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use lacuna::checksum_file::{self, ChecksumFile};
use lacuna::copy::{CopyOptions, CopyStats};
use lacuna::digest::Crc64;
use lacuna::{Cancel, Image, ImageOptions, IoMode, Progress, Result};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::syncfs;

use crate::content::Content;
use crate::paths::copy;

/// A source, and a target on a filesystem of its own.
pub(crate) struct Scenario {
    pub(crate) mount: Mount,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) options: CopyOptions,
    wanted: Content,
    /// What stands under the target's name at first.
    old: Option<Pattern>,
    had: Option<Content>,
    _from: Option<Mount>,
}

impl Scenario {
    /// `None` where there is no such filesystem. One thread, so that the steps keep their order.
    pub(crate) fn new(fs: Fs, io: IoMode, source: &Pattern, old: Option<Pattern>) -> Option<Self> {
        let (from, mount) = (Mount::new(Fs::Ext4)?, Mount::new(fs)?);
        let path = from.path().join("source");
        Some(Self { _from: Some(from), ..Self::on(mount, path, io, source, old) })
    }

    /// The same with both on one filesystem, where space can be shared.
    pub(crate) fn beside(fs: Fs, io: IoMode, source: &Pattern) -> Option<Self> {
        let mount = Mount::new(fs)?;
        let path = mount.path().join("source");
        Some(Self::on(mount, path, io, source, None))
    }

    fn on(mount: Mount, path: PathBuf, io: IoMode, source: &Pattern, old: Option<Pattern>) -> Self {
        source.write(&path);
        let directory = mount.path().join("to");
        std::fs::create_dir(&directory).unwrap();
        Self {
            wanted: Content::of(&path).held_by(mount.fs()),
            source: path,
            target: directory.join("target"),
            options: CopyOptions { io, threads: 1, ..CopyOptions::default() },
            old,
            had: None,
            mount,
            _from: None,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.target.parent().unwrap()
    }

    /// Puts the target back to what it is at first, with a `.checksum` that is right, durably.
    pub(crate) fn prepare(&mut self) {
        for name in names(self.directory()) {
            std::fs::remove_file(self.directory().join(name)).unwrap();
        }
        if let Some(old) = &self.old {
            old.write(&self.target);
            write_checksum(&self.target);
            self.had = Some(Content::of(&self.target));
        } else {
            // Of an image that was here before.
            std::fs::write(checksum_file::path_of(&self.target), "{}").unwrap();
        }
        syncfs(File::open(self.directory()).unwrap()).unwrap();
    }

    /// The source is another one now.
    pub(crate) fn reread_source(&mut self) {
        self.wanted = Content::of(&self.source).held_by(self.mount.fs());
    }

    pub(crate) fn copy(&self) -> Result<CopyStats> {
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let copied = copy(&self.source, &self.target, &self.options, &progress, &cancel);
        copied.map_err(|stopped| stopped.cause)
    }

    /// After a copy that may have been interrupted, whatever it returned: what stands under the
    /// target's name is right, or as it was, or marked as neither.
    #[track_caller]
    pub(crate) fn check<T>(&self, result: &Result<T>, what: &str) {
        if !self.target.exists() {
            assert!(self.old.is_none(), "{what}: the target is gone");
            assert!(result.is_err(), "{what}: said to be done, and is not there");
            return;
        }
        let now = Content::of(&self.target);
        let wrong = now.difference(&self.wanted);
        if let Some(wrong) = &wrong {
            let marked = self.directory().join(".target.lacuna-unfinished").exists();
            let untouched = self.had.as_ref().is_some_and(|had| now.difference(had).is_none());
            assert!(marked || untouched, "{what}: unmarked, and {wrong}");
            assert!(result.is_err(), "{what}: said to be done, but {wrong}");
        }
        check_checksum(&self.target, &now, what);
    }

    /// The same copy again ends as if nothing had happened.
    #[track_caller]
    pub(crate) fn complete(&self, what: &str) -> CopyStats {
        let again = self.copy();
        let stats = again.unwrap_or_else(|error| panic!("{what}: the second time: {error:?}"));
        Content::of(&self.target).assert_is(&self.wanted, format!("{what}: the second time"));
        assert_eq!(names(self.directory()), ["target"], "{what}: the second time");
        stats
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn open(path: &Path) -> Image {
    Image::open(path, &ImageOptions::default()).unwrap()
}

/// The `.checksum` of an image as it is now.
pub(crate) fn checksum_of(image: &Path) -> ChecksumFile {
    let stamp = open(image).stamp().unwrap();
    ChecksumFile {
        method: checksum_file::CRC64.to_owned(),
        checksum: Crc64::of(&std::fs::read(image).unwrap()).to_string(),
        change_time: checksum_file::change_time(&stamp, &TimeZone::UTC).unwrap(),
        last_hashed_at: String::new(),
        silently_corrupted: false,
    }
}

pub(crate) fn write_checksum(image: &Path) {
    checksum_of(image).write(image).unwrap();
}

/// A `.checksum` that speaks of the image as it is now, with this content, is right.
#[track_caller]
pub(crate) fn check_checksum(image: &Path, now: &Content, what: &str) {
    let Ok(Some(recorded)) = ChecksumFile::read(image) else { return };
    let stamp = open(image).stamp().unwrap();
    if recorded.is_fresh(&stamp) {
        let right = Crc64::of(&now.bytes).to_string();
        assert_eq!(recorded.checksum, right, "{what}: {}", image.display());
    }
}

/// Data of several jobs and all kinds, with a partial last block.
pub(crate) fn source() -> Pattern {
    use Block::{Data, DataLastByte, Hole, Zero};
    let blocks = [
        vec![Data(1), Data(1), Zero, Zero, Hole, Data(0), DataLastByte],
        vec![Hole; 20],
        vec![Data(3); 18],
        vec![Hole; 17],
        vec![Zero, Data(4), Hole, Zero, Data(5)],
    ];
    partial(blocks.concat())
}

/// A relative of it that lacks or has something of each kind, and is shorter.
pub(crate) fn shorter() -> Pattern {
    use Block::{Data, Hole, Zero};
    let blocks = [
        vec![Data(1), Data(9), Data(9), Zero, Zero, Data(9), Zero],
        vec![Hole, Data(9), Zero, Hole, Hole],
        vec![Hole; 15],
        vec![Data(3); 9],
        vec![Data(9); 3],
    ];
    partial(blocks.concat())
}

/// The same, and longer.
pub(crate) fn longer() -> Pattern {
    use Block::{Data, Hole, Zero};
    let mut blocks = shorter().blocks;
    blocks.extend(vec![Data(9); 30]);
    blocks.extend([Hole, Zero, Data(9), Data(9), Zero]);
    partial(blocks)
}

fn partial(blocks: Vec<Block>) -> Pattern {
    let whole = Pattern::whole(blocks);
    Pattern { size: whole.size - 1234, ..whole }
}
