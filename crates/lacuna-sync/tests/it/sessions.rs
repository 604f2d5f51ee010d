//! Our client to our server, on every filesystem: whatever the two images are, the target becomes
//! the source.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use lacuna::IoMode;
use lacuna_sync::Error;
use lacuna_sync::v1::{SyncOptions, SyncStats};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Pattern, pair_strategy, strategy};
use proptest::prelude::*;
use proptest::sample::select;

use crate::image::{
    Content, assert_same, assert_tidy, assert_vouched, checksum_of, crc64, ctime, data_of, mark_of,
    put, record, vouched,
};
use crate::server::{Server, session, session_by};
use crate::{for_all, options};

/// Blocks of an image, at most.
const BLOCKS: usize = 64;

/// What there is of the target before.
#[derive(Clone, Debug)]
enum Before {
    Nothing,
    Image(Pattern),
    /// An image that an interrupted session left marked.
    Marked(Pattern),
    /// What an interrupted session left of a new image.
    Part(Pattern),
}

/// How a pair of images is synced.
#[derive(Clone, Debug)]
struct Case {
    source: Pattern,
    before: Before,
    source_recorded: bool,
    target_recorded: bool,
    io: IoMode,
    target_io: IoMode,
    in_flight: usize,
}

const MODES: [IoMode; 3] = [IoMode::Auto, IoMode::Buffered, IoMode::Direct];

fn cases(target_io: IoMode) -> impl Strategy<Value = Case> {
    let existing = |before: fn(Pattern) -> Before| {
        let pairs = pair_strategy(BLOCKS);
        pairs.prop_map(move |(source, target)| (source, before(target))).boxed()
    };
    let new = strategy(BLOCKS).prop_map(|source| (source, Before::Nothing));
    let images = prop_oneof![
        3 => existing(Before::Image),
        1 => existing(Before::Marked),
        1 => existing(Before::Part),
        3 => new.boxed(),
    ];
    let recorded = (any::<bool>(), any::<bool>());
    (images, recorded, select(&MODES), select(&[1, 4, 32])).prop_map(
        move |((source, before), (source_recorded, target_recorded), io, in_flight)| Case {
            source,
            before,
            source_recorded,
            target_recorded,
            io,
            target_io,
            in_flight,
        },
    )
}

/// Where the images of a case stand.
struct Place {
    source: PathBuf,
    target: PathBuf,
}

impl Place {
    fn on(sources: &Mount, targets: &Mount) -> Self {
        Self {
            source: sources.path().join("source.img"),
            target: targets.path().join("target.img"),
        }
    }

    fn prepare(&self, case: &Case) {
        for path in [&self.source, &self.target]
            .into_iter()
            .flat_map(|image| [image.clone(), checksum_of(image), data_of(image), mark_of(image)])
        {
            let _ = std::fs::remove_file(path);
        }
        case.source.write(&self.source);
        if case.source_recorded {
            record(&self.source);
        }
        match &case.before {
            Before::Nothing => {}
            Before::Image(pattern) | Before::Marked(pattern) => pattern.write(&self.target),
            Before::Part(pattern) => pattern.write(&data_of(&self.target)),
        }
        if case.target_recorded && self.target.exists() {
            record(&self.target);
        }
        if let Before::Marked(_) = &case.before {
            put(&mark_of(&self.target), b"");
        }
    }

    /// A session that must end well, or be refused for the size of the image.
    fn sync(&self, case: &Case) -> Option<SyncStats> {
        let options =
            SyncOptions { target_io: case.target_io, in_flight: case.in_flight, ..options() };
        let before = Content::of(&self.source);
        let (synced, served) = session_by(case.io, &self.source, &self.target, &options);
        assert!(Content::of(&self.source) == before, "the source was changed");
        if case.target_io == IoMode::Direct && !case.source.size.is_multiple_of(BLOCK) {
            let error = synced.expect_err("a size that direct I/O cannot have");
            assert!(matches!(error, Error::UnalignedSize(_)), "{error:?}");
            return None;
        }
        served.expect("a complete session");
        Some(synced.expect("a sync"))
    }

    /// Whether both images are recorded with one value, whatever their kinds are.
    fn is_skipped(&self) -> bool {
        let (source, target) = (vouched(&self.source), vouched(&self.target));
        source.is_some() && source == target && !mark_of(&self.target).exists()
    }

    fn check(&self, case: &Case) {
        self.prepare(case);
        let skipped = self.is_skipped();
        let Some(stats) = self.sync(case) else { return };
        assert_eq!(stats.skipped, skipped);
        let bytes = case.source.bytes();
        assert_eq!(stats.size_bytes, bytes.len() as u64);
        if skipped {
            assert!(std::fs::read(&self.target).unwrap() == bytes);
            assert_vouched(&self.target);
            return;
        }
        self.check_complete(case, &stats);
        self.check_again(case);
    }

    fn check_complete(&self, case: &Case, stats: &SyncStats) {
        assert_same(&self.source, &self.target);
        assert_tidy(&self.target);
        match case.source_recorded {
            true => assert_vouched(&self.target),
            // One that was there speaks of an image that has not changed since.
            false => assert!(
                vouched(&self.target).is_none_or(|sum| sum == crc64(&case.source.bytes())),
                "the .checksum is wrong"
            ),
        }
        let allocated = Content::of(&self.source).allocated.iter().filter(|it| **it).count();
        assert!(stats.sent_bytes <= allocated as u64 * BLOCK);
        if let Before::Nothing = case.before {
            assert_eq!(stats.compared_bytes, 0);
            assert_eq!(stats.sent_bytes, stats.read_bytes);
        }
    }

    /// A second session has nothing to do, and does nothing.
    fn check_again(&self, case: &Case) {
        let before = ctime(&self.target);
        let stats = self.sync(case).expect("a second sync");
        assert_eq!(stats.skipped, self.is_skipped());
        assert_eq!(stats.sent_bytes, 0);
        assert_eq!(ctime(&self.target), before, "an equal image was changed");
        assert_same(&self.source, &self.target);
        assert_tidy(&self.target);
        if case.source_recorded {
            assert_vouched(&self.target);
        }
    }
}

/// A source on one filesystem after another for every target.
fn check_on(targets: &Mount, target_io: IoMode, number: u32) {
    let sources: Vec<_> = Fs::ALL.into_iter().filter_map(Mount::new).collect();
    let index = 0..sources.len();
    for_all(number, (index, cases(target_io)), |(index, case)| {
        Place::on(&sources[index], targets).check(&case);
    });
}

#[test]
fn a_target_becomes_the_source_with_direct_io() {
    for targets in Fs::ALL.into_iter().filter_map(Mount::new) {
        check_on(&targets, IoMode::Direct, 16);
    }
}

#[test]
fn a_target_becomes_the_source_through_the_cache() {
    for targets in Fs::ALL.into_iter().filter_map(Mount::new) {
        check_on(&targets, IoMode::Buffered, 16);
    }
}

#[test]
fn a_target_becomes_the_source_in_whichever_way_the_client_finds_best() {
    for targets in Fs::ALL.into_iter().filter_map(Mount::new) {
        check_on(&targets, IoMode::Auto, 8);
    }
}

/// Filesystems that allocate in other units than blocks.
fn odd_mounts() -> impl Iterator<Item = Mount> {
    let with = |fs, mkfs: &[&str]| {
        let mkfs = mkfs.iter().map(ToString::to_string).collect();
        Mount::with(fs, &MountOptions { mkfs, ..MountOptions::default() })
    };
    [
        with(Fs::Ext4, &["-b", "1024"]),
        with(Fs::Xfs, &["-b", "size=1024"]),
        // Every file is allocated 64 KiB at a time.
        with(Fs::Xfs, &["-d", "extszinherit=16"]),
    ]
    .into_iter()
    .flatten()
}

#[test]
fn a_target_becomes_the_source_where_space_is_allocated_in_other_units() {
    for targets in odd_mounts() {
        for target_io in [IoMode::Direct, IoMode::Buffered] {
            check_on(&targets, target_io, 6);
        }
    }
}

#[test]
fn a_source_arrives_from_where_space_is_allocated_in_other_units() {
    for sources in odd_mounts() {
        let targets = Mount::new(Fs::Ext4).expect("what there was for the sources");
        for_all(6, cases(IoMode::Buffered), |case| Place::on(&sources, &targets).check(&case));
    }
}

/// A local copy had begun the image, and would go on where its record says.
#[test]
fn the_record_of_a_copy_is_gone_once_a_session_writes_to_what_it_left() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target.img");
    let record = directory.path().join(".target.img.lacuna-partial");
    put(&data_of(&target), &[7; 8192]);
    put(&record, b"{}");
    let server = Server::of(&target);
    let mut http = server.dial();
    assert_eq!(http.open(8192, false).text(), "true");
    assert!(!record.exists());
    http.write(0, 4096, &[8; 4096]);
    assert_ne!(http.hash(4096, 8192).text(), "null");
    assert_eq!(http.close("").status, 200);
    server.ended().unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), [[8; 4096], [7; 4096]].concat());
    assert_tidy(&target);
}

/// Far past what fits in 32 bits, and nearly nothing in it.
#[test]
fn a_huge_image_takes_no_longer_than_its_data() {
    const SIZE: u64 = (1 << 42) + 4096;
    let directory = tempfile::tempdir().unwrap();
    let images = ["source", "target"].map(|name| directory.path().join(name));
    let file = File::create_new(&images[0]).unwrap();
    file.set_len(SIZE).unwrap();
    let places = [0, (1 << 32) - 4096, 1 << 32, 5 << 35, SIZE - 4096];
    for (seed, place) in (1..).zip(places) {
        file.write_all_at(&[seed; 4096], place).unwrap();
    }
    file.sync_all().unwrap();
    for sent in [5 * 4096, 0] {
        let (synced, served) = session(&images[0], &images[1], &options());
        let stats = synced.unwrap();
        served.unwrap();
        assert_eq!((stats.size_bytes, stats.sent_bytes), (SIZE, sent));
        let target = File::open(&images[1]).unwrap();
        let metadata = target.metadata().unwrap();
        assert_eq!(metadata.len(), SIZE);
        assert!(metadata.blocks() < 100, "{} sectors are allocated", metadata.blocks());
        for (seed, place) in (1..).zip(places) {
            let mut block = [0; 4096];
            target.read_exact_at(&mut block, place).unwrap();
            assert_eq!(block, [seed; 4096]);
        }
        assert_tidy(&images[1]);
    }
}
