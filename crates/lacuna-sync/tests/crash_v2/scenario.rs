//! One session that is disturbed and repeated, and what must be the case after either.

use std::fs::File;
use std::path::{Path, PathBuf};

use lacuna::{ImageOptions, IoMode, Kept, Source, SourceStamp, Target, TargetOptions};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use rustix::fs::syncfs;

use crate::content::Content;
use crate::image::{Beside, checksum_of, crc64, data_of, record, vouched};
use crate::pair::{Ended, Wiring, session};

/// What stands under the target's name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing but the `.checksum` of an image that was there once.
    Nothing,
    Smaller,
    Larger,
    /// One of the same size that differs in some blocks, and in kinds.
    Similar,
    /// What is left of a local copy of another image of the same size, with its record.
    Part,
}

impl Before {
    pub(crate) const ALL: [Self; 5] =
        [Self::Nothing, Self::Smaller, Self::Larger, Self::Similar, Self::Part];

    /// What there is before, under whatever name.
    fn pattern(self) -> Option<Pattern> {
        use Block::{Data, Hole, Zero};
        let mut blocks = disk().blocks;
        match self {
            Self::Nothing => return None,
            Self::Smaller => blocks.truncate(21),
            Self::Larger => blocks.extend([Data(201), Hole, Zero, Data(202), Data(203)]),
            Self::Similar | Self::Part => {}
        }
        let edits = [(1, Data(9)), (2, Hole), (4, Zero), (8, Data(9)), (18, Zero), (44, Hole)];
        for (block, other) in edits {
            if let Some(block) = blocks.get_mut(block) {
                *block = other;
            }
        }
        let whole = Pattern::whole(blocks);
        let missing = if matches!(self, Self::Similar | Self::Part) { MISSING } else { 0 };
        Some(Pattern { size: whole.size - missing, ..whole })
    }
}

/// Bytes that the last block of the source lacks.
const MISSING: u64 = 1234;

/// Of another image, recorded as done.
const DONE: u64 = 20 * BLOCK;

/// The source: some chunks, of all kinds, the last block a partial one.
fn disk() -> Pattern {
    use Block::{Data, DataLastByte, Hole, Zero};
    let blocks = [
        vec![Data(1), Data(1), Zero, Zero, Hole, Data(0), DataLastByte],
        vec![Hole; 9],
        vec![Data(3); 20],
        vec![Hole; 8],
        vec![Data(4), Zero, Data(5)],
    ];
    let whole = Pattern::whole(blocks.concat());
    Pattern { size: whole.size - MISSING, ..whole }
}

/// A source, and a target on a filesystem of its own.
pub(crate) struct Scenario {
    pub(crate) mount: Mount,
    pub(crate) wiring: Wiring,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    /// Another image of which a part was copied before.
    other: PathBuf,
    other_stamp: SourceStamp,
    before: Before,
    wanted: Content,
    had: Option<Content>,
    _sources: Mount,
}

impl Scenario {
    /// `None` where there is no such filesystem. One thread, so that the steps keep their order.
    pub(crate) fn new(fs: Fs, before: Before, io: IoMode) -> Option<Self> {
        let (sources, mount) = (Mount::new(Fs::Ext4)?, Mount::new(fs)?);
        let [source, other] = ["source.img", "other.img"].map(|name| sources.path().join(name));
        disk().write(&source);
        Before::Part.pattern().expect("a pattern").write(&other);
        let target = mount.path().join("to").join("target.img");
        std::fs::create_dir(target.parent().expect("a directory")).expect("make a directory");
        let mut wiring = Wiring { io, ..Wiring::default() };
        (wiring.source.threads, wiring.target.threads) = (1, 1);
        Some(Self {
            wanted: Content::of(&source),
            other_stamp: stamp_of(&other),
            had: None,
            _sources: sources,
            mount,
            wiring,
            source,
            target,
            other,
            before,
        })
    }

    fn directory(&self) -> &Path {
        self.target.parent().expect("a directory")
    }

    /// Puts the target back to what it is at first, durably.
    pub(crate) fn prepare(&mut self) {
        for entry in std::fs::read_dir(self.directory()).expect("list the directory") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("remove a file");
        }
        match (self.before, self.before.pattern()) {
            (Before::Part, Some(pattern)) => self.copy_part(&pattern),
            (_, Some(pattern)) => {
                pattern.write(&self.target);
                record(&self.target);
                self.had = Some(Content::of(&self.target));
            }
            (_, None) => std::fs::write(checksum_of(&self.target), "{}").expect("write"),
        }
        syncfs(File::open(self.directory()).expect("open the directory")).expect("sync");
    }

    /// What a local copy leaves that is stopped in the middle.
    fn copy_part(&self, pattern: &Pattern) {
        let mut target = self.open_target();
        target.resize(pattern.size).expect("resize");
        target.write_at(&pattern.bytes()[..DONE as usize], 0).expect("write");
        target.checkpoint(&self.other_stamp, DONE).expect("a record");
    }

    fn open_target(&self) -> Target {
        Target::open(&self.target, &TargetOptions::default()).expect("open the target")
    }

    pub(crate) fn run(&self) -> Ended {
        session(&self.source, &self.target, &self.wiring)
    }

    /// After a session that may have been disturbed, whatever came of it: what stands under the
    /// target's name is right, or as it was, or marked as neither; and nothing vouches for what it
    /// does not know.
    #[track_caller]
    pub(crate) fn check(&self, ended: &Ended, what: &str) {
        let is_done = ended.received.is_ok();
        assert!(is_done || ended.sent.is_err(), "{what}: the source was told that it is done");
        if !self.target.exists() {
            assert!(self.had.is_none(), "{what}: the target is gone");
            assert!(!is_done, "{what}: said to be done, and is not there");
            return self.check_record(what);
        }
        let now = Content::of(&self.target);
        if let Some(wrong) = now.difference(&self.wanted) {
            let untouched = self.had.as_ref().is_some_and(|had| now == *had);
            let marked = Beside::of(&self.target).unfinished;
            assert!(marked || untouched, "{what}: unmarked, and {wrong}");
            assert!(!is_done, "{what}: said to be done, but {wrong}");
        }
        if let Some(checksum) = vouched(&self.target) {
            assert_eq!(checksum, crc64(&now.bytes), "{what}: the .checksum is wrong");
        }
        assert!(!is_done || self.names() == ["target.img"], "{what}: done, but {:?}", self.names());
    }

    /// What a record says of another image is so.
    #[track_caller]
    fn check_record(&self, what: &str) {
        let data = data_of(&self.target);
        if data.exists() {
            let done = self.open_target().resumable(&self.other_stamp).expect("a record");
            let [data, other] = [&data, &self.other].map(|path| std::fs::read(path).expect("read"));
            let is_so = data[..done as usize] == other[..done as usize];
            assert!(is_so, "{what}: the record of another copy outlived its bytes");
        }
    }

    /// What is said to be left is there.
    #[track_caller]
    pub(crate) fn check_kept(&self, kept: &Kept, what: &str) {
        let beside = Beside::of(&self.target);
        match kept {
            Kept::Nothing => {
                let had = self.had.as_ref();
                let is_same = had.is_none_or(|had| Content::of(&self.target) == *had);
                assert!(is_same && !beside.unfinished, "{what}: it is not as it was: {beside:?}");
                assert!(!beside.data || self.before == Before::Part, "{what}: {beside:?}");
            }
            Kept::Part { path, .. } => assert!(path.exists() && beside.data, "{what}: {beside:?}"),
            Kept::Named(path) => assert!(path.exists() && !beside.data, "{what}: {beside:?}"),
            Kept::HalfWritten(path) => assert!(path.exists() && self.had.is_some(), "{what}"),
            kept => panic!("{what}: {kept:?}"),
        }
    }

    /// Both ends say that it is done, and it is.
    #[track_caller]
    pub(crate) fn check_done(&self, ended: &Ended, what: &str) {
        assert!(ended.received.is_ok(), "{what}: {:?}", ended.received);
        assert!(ended.sent.is_ok(), "{what}: {:?}", ended.sent);
        Content::of(&self.target).assert_is(&self.wanted, what);
        assert_eq!(self.names(), ["target.img"], "{what}");
    }

    /// The same session again ends as if nothing had happened.
    #[track_caller]
    pub(crate) fn complete(&self, what: &str) -> Ended {
        let ended = self.run();
        self.check_done(&ended, &format!("{what}: the second time"));
        ended
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory()).expect("list the directory");
        let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

fn stamp_of(image: &Path) -> SourceStamp {
    Source::open(image, &ImageOptions::default()).expect("open a source").stamp().clone()
}
