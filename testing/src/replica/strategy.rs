//! Random replicas that are sound.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Layer, Meta, Replica, snapshot};
use crate::pattern::{Block, Pattern, strategy};

/// Trees of at most `layers` layers of at most `blocks` blocks, with the head as one of the leaves: snapshots that
/// are to go, branches that a revert left, a clone's base that names no more than its parent, a volume that was
/// expanded, descriptions as versions before wrote them.
pub fn sound(layers: usize, blocks: usize) -> impl Strategy<Value = Replica> + Clone {
    let layer = (strategy(blocks), any::<Index>(), 0..4_u8, meta());
    (vec(layer, 1..=layers), any::<bool>(), any::<bool>()).prop_map(|(drawn, expanded, older)| {
        let mut patterns = vec![];
        let mut parents: Vec<Option<usize>> = vec![];
        let mut metas = vec![];
        for (number, (pattern, at, turn, meta)) in drawn.into_iter().enumerate() {
            // Mostly on the one before.
            let parent = if turn == 0 { at.index(number.max(1)) } else { number.saturating_sub(1) };
            parents.push((number > 0).then_some(parent));
            patterns.push(pattern.blocks);
            metas.push(if number > 0 && meta == Meta::ParentOnly { whole(false) } else { meta });
        }
        let most = patterns.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let last = patterns.len() - 1;
        for number in 0..patterns.len() {
            let below = parents[number].map_or(0, |parent| patterns[parent].len());
            let size = match expanded && number < last {
                true => patterns[number].len().max(below),
                false => most,
            };
            patterns[number].resize(size, Block::Hole);
        }
        put_together(patterns, &parents, metas, older)
    })
}

fn put_together(
    patterns: Vec<Vec<Block>>,
    parents: &[Option<usize>],
    metas: Vec<Meta>,
    older: bool,
) -> Replica {
    let mut replica = Replica::line(patterns.into_iter().map(Pattern::whole).collect());
    replica.older = older;
    let files: Vec<_> = replica.layers.iter().map(|layer| layer.file.clone()).collect();
    let last = files.len() - 1;
    for (number, (layer, meta)) in replica.layers.iter_mut().zip(metas).enumerate() {
        layer.parent = parents[number].map(|parent| files[parent].clone()).unwrap_or_default();
        layer.meta = if number == last { whole(false) } else { meta };
    }
    name_expansion(&mut replica.layers);
    replica
}

/// The first layer that has grown is the snapshot that the engine made for that.
fn name_expansion(layers: &mut [Layer]) {
    let size =
        |name: &str| layers.iter().find(|layer| layer.file == name).map(|it| it.pattern.size);
    let grown =
        |layer: &&Layer| size(&layer.parent).is_some_and(|below| below < layer.pattern.size);
    let Some((old, size)) = layers
        .iter()
        .find(grown)
        .map(|layer| (layer.file.clone(), layer.pattern.size))
        .filter(|(name, _)| name.starts_with("volume-snap-"))
    else {
        return;
    };
    let new = snapshot(&format!("expand-{size}"));
    for layer in layers {
        if layer.parent == old {
            layer.parent.clone_from(&new);
        }
        if layer.file == old {
            layer.file.clone_from(&new);
            let label = ("replica-expansion".to_owned(), size.to_string());
            layer.meta = Meta::Whole { user_created: false, removed: false, labels: vec![label] };
        }
    }
}

fn whole(removed: bool) -> Meta {
    Meta::Whole { user_created: !removed, removed, labels: vec![] }
}

fn meta() -> impl Strategy<Value = Meta> + Clone {
    prop_oneof![4 => any::<bool>().prop_map(whole), 1 => Just(Meta::ParentOnly)]
}
