//! Random patterns for property tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{BLOCK, Block, Pattern};

/// Patterns of at most `max_blocks` blocks: runs of a mix of kinds, now and then all `Hole` or all
/// `Data` or empty, the last block whole or partial.
pub fn strategy(max_blocks: usize) -> impl Strategy<Value = Pattern> + Clone {
    (blocks(max_blocks), missing()).prop_map(|(blocks, missing)| pattern(blocks, missing))
}

/// Pairs of a source and a target that is its mutated relative: some blocks changed in content, some
/// in kind, the size smaller, equal or larger. Now and then both are equal or unrelated. A target
/// has at most a quarter more than `max_blocks` blocks, rounded up.
pub fn pair_strategy(max_blocks: usize) -> impl Strategy<Value = (Pattern, Pattern)> + Clone {
    let edits = vec((any::<Index>(), 1..=4_usize, block()), 0..=6);
    let change = prop_oneof![
        3 => (edits.clone(), Just(Resize::Same)).boxed(),
        2 => (edits, resize(max_blocks)).boxed(),
    ];
    let related = (strategy(max_blocks), change).prop_map(|(source, (edits, resize))| {
        let mut target = source.clone();
        edit(&mut target.blocks, &edits);
        (source, resize.apply(target))
    });
    prop_oneof![
        9 => related,
        1 => (strategy(max_blocks), strategy(max_blocks)),
    ]
}

#[derive(Clone, Debug)]
enum Resize {
    Same,
    /// To some number of blocks, and the bytes missing from the last.
    Shrink(Index, u64),
    /// By some blocks, and the bytes missing from the last.
    Grow(Vec<Block>, u64),
}

impl Resize {
    fn apply(self, mut target: Pattern) -> Pattern {
        match self {
            Self::Same => target,
            Self::Shrink(to, missing) => {
                target.blocks.truncate(to.index(target.blocks.len() + 1));
                pattern(target.blocks, missing)
            }
            Self::Grow(by, missing) => {
                target.blocks.extend(by);
                pattern(target.blocks, missing)
            }
        }
    }
}

fn resize(max_blocks: usize) -> impl Strategy<Value = Resize> + Clone {
    let growth = vec(block(), 0..=max_blocks.div_ceil(4));
    prop_oneof![
        (any::<Index>(), missing()).prop_map(|(to, missing)| Resize::Shrink(to, missing)),
        (growth, missing()).prop_map(|(by, missing)| Resize::Grow(by, missing)),
    ]
}

fn edit(blocks: &mut [Block], edits: &[(Index, usize, Block)]) {
    if blocks.is_empty() {
        return;
    }
    for (at, length, block) in edits {
        let start = at.index(blocks.len());
        let end = (start + length).min(blocks.len());
        blocks[start..end].fill(*block);
    }
}

fn pattern(blocks: Vec<Block>, missing: u64) -> Pattern {
    let whole = Pattern::whole(blocks);
    Pattern { size: whole.size.saturating_sub(missing), ..whole }
}

fn blocks(max: usize) -> impl Strategy<Value = Vec<Block>> + Clone {
    let length = prop_oneof![3 => 1..=3_usize, 1 => 1..=max / 4 + 1];
    let runs = vec((block(), length), 0..=max / 2 + 1).prop_map(move |runs| {
        let all = runs.into_iter().flat_map(|(block, length)| std::iter::repeat_n(block, length));
        all.take(max).collect::<Vec<_>>()
    });
    prop_oneof![
        8 => runs,
        1 => vec(Just(Block::Hole), 0..=max),
        1 => vec(any::<u8>().prop_map(Block::Data), 0..=max),
    ]
}

fn block() -> impl Strategy<Value = Block> + Clone {
    prop_oneof![
        3 => Just(Block::Hole),
        3 => Just(Block::Zero),
        3 => (1..=u8::MAX).prop_map(Block::Data),
        1 => Just(Block::Data(0)),
        1 => Just(Block::DataLastByte),
    ]
}

/// Bytes that the last block lacks: none, all but one, or some.
fn missing() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![3 => Just(0), 1 => Just(BLOCK - 1), 2 => 1..BLOCK]
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn patterns_keep_to_their_limits((source, target) in pair_strategy(20)) {
            prop_assert!(source.blocks.len() <= 20);
            prop_assert!(target.blocks.len() <= 25);
            prop_assert_eq!(source.bytes().len() as u64, source.size);
            prop_assert_eq!(target.bytes().len() as u64, target.size);
        }
    }
}
