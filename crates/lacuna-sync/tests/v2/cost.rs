//! What a session costs on the wire.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::for_all;
use crate::pair::{Wiring, session};

/// What every session costs.
const SESSION: u64 = 1024;

/// Images of some MiB: runs of any length, or few blocks here and there. What is data cannot be
/// compressed.
fn layouts() -> impl Strategy<Value = Pattern> {
    let length = prop_oneof![4 => 1..4_usize, 3 => 4..40_usize, 2 => 40..200_usize];
    let kind = prop_oneof![4 => Just(Kind::Data), 4 => Just(Kind::Hole), 1 => Just(Kind::Zero)];
    let run = (kind, length, 1..=255_u8).prop_map(|(kind, length, seed)| {
        let block = match kind {
            Kind::Data => Block::Data(seed),
            Kind::Zero => Block::Zero,
            Kind::Hole => Block::Hole,
        };
        vec![block; length]
    });
    let few = (16..60_usize, 1..4_usize, 1..=255_u8).prop_map(|(hole, data, seed)| {
        [vec![Block::Hole; hole], vec![Block::Data(seed); data]].concat()
    });
    prop_oneof![vec(run, 1..120), vec(few, 1..150)].prop_map(|runs| Pattern::whole(runs.concat()))
}

/// Bytes of data, allocated bytes, and allocated extents.
fn measure(pattern: &Pattern) -> (u64, u64, u64) {
    let kinds = pattern.kinds();
    let count = |is: fn(Kind) -> bool| kinds.iter().filter(|kind| is(**kind)).count() as u64;
    let data = count(|kind| kind == Kind::Data) * BLOCK;
    let allocated = count(|kind| kind != Kind::Hole) * BLOCK;
    let extents = kinds.chunk_by(|a, b| a == b).filter(|run| run[0] != Kind::Hole).count();
    (data, allocated, extents as u64)
}

/// What an image may cost that is there already.
fn identical(pattern: &Pattern) -> u64 {
    let (_, allocated, extents) = measure(pattern);
    allocated / 1000 + 24 * extents + SESSION
}

struct Place {
    _mount: Mount,
    source: PathBuf,
    target: PathBuf,
}

impl Place {
    fn new(fs: Fs) -> Option<Self> {
        let mount = Mount::new(fs)?;
        let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
        Some(Self { _mount: mount, source, target })
    }

    /// Bytes on the wire, both ways.
    fn cost(&self) -> u64 {
        let ended = session(&self.source, &self.target, &Wiring::default());
        ended.assert_done();
        ended.wire_bytes
    }

    fn cost_of_new(&self, pattern: &Pattern) -> u64 {
        pattern.write(&self.source);
        // There may be none.
        let _ = std::fs::remove_file(&self.target);
        self.cost()
    }
}

#[test]
fn an_image_that_is_there_costs_a_thousandth_and_little_for_an_extent() {
    let Some(place) = Place::new(Fs::Ext4) else { return };
    for_all(30, layouts(), |pattern| {
        pattern.write(&place.source);
        pattern.write(&place.target);
        let (cost, most) = (place.cost(), identical(&pattern));
        assert!(cost <= most, "{cost} bytes, {most} at most");
    });
}

/// Each extent has two blocks, in two chunks that have nothing else.
#[test]
fn extents_that_straddle_chunks_cost_no_more_than_others() {
    let Some(place) = Place::new(Fs::Ext4) else { return };
    for hole in [30, 62, 1006] {
        let extent =
            |n: usize| [vec![Block::Data((n % 250) as u8 + 1); 2], vec![Block::Hole; hole]];
        let extents = (0..4000).flat_map(|n| extent(n).concat());
        let pattern = Pattern::whole([vec![Block::Hole; 15], extents.collect()].concat());
        pattern.write(&place.source);
        pattern.write(&place.target);
        let (cost, most) = (place.cost(), identical(&pattern));
        assert!(cost <= most, "{cost} bytes, {most} at most, holes of {hole}");
    }
}

#[test]
fn an_image_that_is_new_costs_its_data_whatever_cannot_be_compressed() {
    let Some(place) = Place::new(Fs::Ext4) else { return };
    for_all(30, layouts(), |pattern| {
        let (data, allocated, extents) = measure(&pattern);
        let (cost, most) =
            (place.cost_of_new(&pattern), data + allocated / 1000 + 8 * extents + SESSION);
        assert!(cost <= most, "{cost} bytes, {most} at most");
    });
}

#[test]
fn changes_cost_little_more_than_the_blocks_that_changed() {
    let Some(place) = Place::new(Fs::Ext4) else { return };
    let changes = vec(any::<prop::sample::Index>(), 1..100);
    for_all(30, (layouts(), changes), |(pattern, changes)| {
        let data: Vec<usize> = (0..pattern.blocks.len())
            .filter(|block| pattern.blocks[*block].kind() == Kind::Data)
            .collect();
        let mut before = pattern.blocks.clone();
        // One in a hundred, at random.
        for change in changes.iter().take(data.len().div_ceil(100)).filter(|_| !data.is_empty()) {
            let block = &mut before[data[change.index(data.len())]];
            let Block::Data(seed) = *block else { unreachable!() };
            *block = Block::Data(seed % 255 + 1);
        }
        let changed = before.iter().zip(&pattern.blocks).filter(|(a, b)| a != b).count() as u64;
        pattern.write(&place.source);
        Pattern::whole(before).write(&place.target);
        let (cost, most) = (place.cost(), changed * BLOCK * 12 / 10 + identical(&pattern));
        assert!(cost <= most, "{cost} bytes for {changed} blocks, {most} at most");
    });
}

#[test]
fn the_holes_of_a_new_image_cost_nothing() {
    let Some(place) = Place::new(Fs::Xfs) else { return };
    let source = File::create(&place.source).unwrap();
    source.set_len(4 << 40).unwrap();
    for offset in [1 << 30, 3 << 40] {
        source.write_all_at(&Pattern::whole(vec![Block::Data(9)]).bytes(), offset).unwrap();
    }
    source.sync_all().unwrap();
    let cost = place.cost();
    assert!(cost <= 2 * BLOCK + SESSION, "{cost}");
}

#[test]
fn what_can_be_compressed_is() {
    let Some(place) = Place::new(Fs::Ext4) else { return };
    let blocks = (0..2048).map(|n| if n % 9 == 0 { Block::Data(0) } else { Block::DataLastByte });
    let cost = place.cost_of_new(&Pattern::whole(blocks.collect()));
    assert!(cost < 2048 * BLOCK / 50, "{cost}");
    // Half of each frame: what can be compressed pays for what cannot.
    let blocks = (0..2048).map(|n| if n % 2 == 0 { Block::DataLastByte } else { Block::Data(7) });
    let cost = place.cost_of_new(&Pattern::whole(blocks.collect()));
    assert!(cost < 2048 * BLOCK / 100 * 55, "{cost}");
}
