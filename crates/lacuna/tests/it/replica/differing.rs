//! Where two replicas differ, against a slow oracle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lacuna::chain::diff::{Part, ReplicaDiff, ReplicaDiffOptions, VolumeDiff, diff};
use lacuna::chain::{ChainError, ChainOptions, Replica};
use lacuna::{Cancel, Error, IoMode, Progress, Range};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use lacuna_testing::replica::{self, Meta};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::chain::oracle::{Layer, flattened};
use crate::content::Content;
use crate::for_all;

/// What differs, and each range with the layer that it is of; `volume` for the volume.
type Found = (ReplicaDiff, Vec<(String, Range)>);

fn run(left: &Path, right: &Path, options: &ReplicaDiffOptions) -> Result<Found, Error> {
    let (left, right) = (Replica::open(left)?, Replica::open(right)?);
    let (progress, mut ranges) = (Progress::default(), vec![]);
    let found = |part: Part<'_>, difference: &lacuna::diff::Difference| {
        let part = match part {
            Part::Layer(name) => name,
            Part::Volume => "volume",
        };
        ranges.push((part.to_owned(), difference.range));
        Ok(())
    };
    let found = diff(&left, &right, options, &progress, &Cancel::default(), found)?;
    assert_eq!(progress.percent(), 100);
    Ok((found, ranges))
}

fn compared(left: &Path, right: &Path, options: &ReplicaDiffOptions) -> Result<Found, Error> {
    super::at_rest(|| run(left, right, options))
}

/// Two directories on one mount.
struct Places {
    _mount: Mount,
    left: PathBuf,
    right: PathBuf,
}

impl Places {
    fn new() -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let (left, right) = (mount.path().join("left"), mount.path().join("right"));
        Some(Self { _mount: mount, left, right })
    }

    fn make(&self, left: &replica::Replica, right: &replica::Replica) {
        for (directory, made) in [(&self.left, left), (&self.right, right)] {
            let _ = fs::remove_dir_all(directory);
            fs::create_dir(directory).unwrap();
            made.write(directory);
        }
    }

    fn found(&self) -> Found {
        compared(&self.left, &self.right, &ReplicaDiffOptions::default()).unwrap()
    }
}

/// Gives the head another number.
fn renamed(mut made: replica::Replica) -> replica::Replica {
    let new = "volume-head-099.img".to_owned();
    let head = made.layers.iter_mut().find(|layer| layer.file == made.head).unwrap();
    head.file.clone_from(&new);
    made.head = new;
    made
}

/// The volume as it reads.
fn volume(made: &replica::Replica) -> Content {
    let (mut layers, mut next) = (vec![], &made.head);
    while let Some(layer) = made.layers.iter().find(|layer| layer.file == *next) {
        layers.push(Layer::of(&layer.pattern));
        next = &layer.parent;
    }
    flattened(&layers, made.size as usize)
}

/// The blocks in which two files differ, in their bytes or in their kinds where these count.
fn differing(a: &Content, b: &Content, kinds: bool) -> Vec<u64> {
    let blocks = a.bytes.len() as u64 / BLOCK;
    let bytes = |content: &Content, block: u64| {
        content.bytes[(block * BLOCK) as usize..][..BLOCK as usize].to_vec()
    };
    let differs = |block: &u64| {
        let kind = (*block) as usize;
        bytes(a, *block) != bytes(b, *block) || kinds && a.kinds[kind] != b.kinds[kind]
    };
    (0..blocks).filter(differs).collect()
}

fn blocks(ranges: &[(String, Range)], part: &str) -> Vec<u64> {
    let of_part = ranges.iter().filter(|(name, _)| name == part);
    of_part.flat_map(|(_, range)| range.start() / BLOCK..range.end() / BLOCK).collect()
}

#[test]
fn what_differs_is_what_reading_both_shows() {
    let Some(places) = Places::new() else { return };
    let block = prop_oneof![
        Just(Block::Hole),
        Just(Block::Zero),
        Just(Block::Data(0)),
        (1..=u8::MAX).prop_map(Block::Data),
    ];
    let edits = prop::collection::vec((any::<Index>(), any::<Index>(), block), 0..5);
    for_all(40, (replica::sound(6, 40), edits, any::<bool>()), |(made, edits, rename)| {
        let mut other = made.clone();
        for (layer, at, block) in edits {
            let layer = layer.index(other.layers.len());
            let blocks = &mut other.layers[layer].pattern.blocks;
            if !blocks.is_empty() {
                let at = at.index(blocks.len());
                blocks[at] = block;
            }
        }
        let (as_made, as_other) = (volume(&made), volume(&other));
        let pairs: Vec<_> = made.layers.iter().cloned().zip(other.layers.clone()).collect();
        places.make(&made, &if rename { renamed(other) } else { other });
        let (found, ranges) = places.found();
        assert_eq!(found.layers.len(), pairs.len());
        let mut same = true;
        for (own, other) in pairs {
            let content = |layer: &replica::Layer| Layer::of(&layer.pattern).content();
            let expected = differing(&content(&own), &content(&other), true);
            assert_eq!(blocks(&ranges, &own.file), expected, "{}", own.file);
            let layer = found.layers.iter().find(|it| it.left.as_ref().unwrap().name == own.file);
            assert_eq!(layer.unwrap().is_same(), expected.is_empty());
            same &= expected.is_empty();
        }
        let expected = differing(&as_made, &as_other, false);
        assert_eq!(blocks(&ranges, "volume"), expected);
        assert_eq!(found.volume.is_same(), Some(expected.is_empty()));
        assert_eq!(found.is_same(), same);
        assert!(!same || found.volume == VolumeDiff::Same, "nothing is read twice");
    });
}

/// A volume of two snapshots and a head.
fn line() -> replica::Replica {
    let whole = |number| Pattern::whole(vec![Block::Data(number); 4]);
    replica::Replica::line(vec![whole(1), whole(2), Pattern::whole(vec![Block::Hole; 4])])
}

#[test]
fn what_is_said_of_a_layer_differs_too() {
    let Some(places) = Places::new() else { return };
    let whole = |user_created, removed, labels: &[(&str, &str)]| Meta::Whole {
        user_created,
        removed,
        labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    for (meta, keys) in [
        (whole(true, true, &[]), &["removed"][..]),
        (whole(false, false, &[]), &["user_created"]),
        (whole(true, false, &[("a", "b")]), &["labels"]),
        (whole(false, true, &[("a", "b")]), &["removed", "user_created", "labels"]),
    ] {
        let mut other = line();
        other.layers[1].meta = meta;
        places.make(&line(), &other);
        let (found, ranges) = places.found();
        assert_eq!(found.layers[1].metadata, keys);
        assert!(!found.is_same() && ranges.is_empty());
        assert_eq!(found.volume, VolumeDiff::Same);
    }
}

#[test]
fn a_layer_that_only_one_has_is_named_and_the_volume_read() {
    let Some(places) = Places::new() else { return };
    // The same bytes in fewer layers.
    let mut merged = line();
    merged.layers.remove(0);
    merged.layers[0].parent.clear();
    for is_left in [true, false] {
        let (left, right) =
            if is_left { (line(), merged.clone()) } else { (merged.clone(), line()) };
        places.make(&left, &right);
        let (found, ranges) = places.found();
        let alone = found.layers.iter().find(|it| it.left.is_none() || it.right.is_none()).unwrap();
        let side = if is_left { &alone.left } else { &alone.right };
        assert_eq!(side.as_ref().unwrap().name, "volume-snap-s0.img");
        assert_eq!((alone.is_same(), &alone.stats), (false, &None));
        assert!(matches!(&found.volume, VolumeDiff::Read(stats) if stats.is_same()), "{found:?}");
        assert!(!found.is_same() && ranges.is_empty());
        let s1 = found.layers.iter().find(|it| it.metadata == ["parent"]).unwrap();
        assert_eq!(s1.left.as_ref().unwrap().name, "volume-snap-s1.img");
    }
}

#[test]
fn volumes_of_different_sizes_differ_past_the_end() {
    let Some(places) = Places::new() else { return };
    let mut larger = line();
    larger.layers[2].pattern = Pattern::whole(vec![Block::Hole; 6]);
    larger.size = 6 * BLOCK;
    places.make(&line(), &larger);
    let (found, ranges) = places.found();
    assert!(matches!(&found.volume, VolumeDiff::Read(stats) if stats.past_end_bytes == 2 * BLOCK));
    assert_eq!(blocks(&ranges, "volume"), [4, 5]);
}

#[test]
fn a_backing_image_is_needed_only_to_read_the_volume() {
    let Some(places) = Places::new() else { return };
    let mut made = line();
    made.backing = "/b/backing".to_owned();
    made.older = true;
    places.make(&made, &made);
    assert!(places.found().0.is_same());
    let mut other = made.clone();
    other.layers[2].pattern.blocks[0] = Block::Data(9);
    places.make(&made, &other);
    let (found, _) = places.found();
    assert_eq!((found.volume.is_same(), found.is_same()), (None, false));
    let backing = places.left.with_file_name("backing");
    Pattern::whole(vec![Block::Data(7); 4]).write(&backing);
    let chain = ChainOptions { backing: Some(backing), io: IoMode::Buffered, force: false };
    let options = ReplicaDiffOptions { chain, ..ReplicaDiffOptions::default() };
    let (found, ranges) = compared(&places.left, &places.right, &options).unwrap();
    assert_eq!((found.volume.is_same(), blocks(&ranges, "volume")), (Some(false), vec![0]));
}

#[test]
fn what_is_in_use_or_not_complete_is_refused_unless_that_is_overridden() {
    let Some(places) = Places::new() else { return };
    let forced = ReplicaDiffOptions {
        chain: ChainOptions { force: true, ..ChainOptions::default() },
        ..ReplicaDiffOptions::default()
    };
    places.make(&line(), &line());
    for directory in [&places.left, &places.right] {
        let path = directory.join("volume-head-002.img");
        let writer = File::options().write(true).open(&path).unwrap();
        let refused = run(&places.left, &places.right, &ReplicaDiffOptions::default());
        assert!(matches!(refused, Err(Error::OpenForWriting { path: it }) if it == path));
        assert!(run(&places.left, &places.right, &forced).unwrap().0.is_same());
        drop(writer);
    }
    let rebuilding = replica::Replica { rebuilding: true, ..line() };
    for (left, right) in [(&line(), &rebuilding), (&rebuilding, &line())] {
        places.make(left, right);
        let refused = compared(&places.left, &places.right, &ReplicaDiffOptions::default());
        assert!(matches!(refused, Err(Error::Chain(ChainError::Rebuilding { .. }))));
        assert!(compared(&places.left, &places.right, &forced).unwrap().0.is_same());
    }
}
