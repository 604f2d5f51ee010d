//! The layers of a replica as a tree, from the base up.

use std::collections::BTreeMap;

use super::Replica;
use crate::error::Result;

/// A layer, by its place among the others.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Those that stand on it.
    pub(super) children: Vec<usize>,
    /// How many branches lead to it that others do not go on in.
    pub(super) depth: usize,
}

/// Every layer before those that stand on it; where several stand on one, the way to the head is last.
pub(super) fn of(replica: &Replica) -> Result<Vec<Node>> {
    let to_head = replica.chain(&replica.volume().head)?;
    let mut above: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, meta) in replica.layers() {
        // None is missing, and none comes again.
        replica.chain(name)?;
        above.entry(&meta.parent).or_default().push(name);
    }
    for siblings in above.values_mut() {
        siblings.sort_by_key(|name| (to_head.contains(name), *name));
    }
    let mut nodes: Vec<Node> = vec![];
    let bases = above.get("").into_iter().flatten();
    let mut rest: Vec<(&str, Option<usize>, usize)> =
        bases.rev().map(|base| (*base, None, 0)).collect();
    while let Some((name, parent, depth)) = rest.pop() {
        let index = nodes.len();
        if let Some(parent) = parent {
            nodes[parent].children.push(index);
        }
        let children = above.get(name).into_iter().flatten().rev().enumerate();
        // The last one goes on at the same depth.
        rest.extend(
            children.map(|(turn, child)| {
                (*child, Some(index), if turn == 0 { depth } else { depth + 1 })
            }),
        );
        nodes.push(Node { name: name.to_owned(), children: vec![], depth });
    }
    Ok(nodes)
}
