//! Whether layers make one chain, or one tree, up to the head.

use std::collections::{BTreeMap, BTreeSet};

use super::Checked;
use super::finding::Code;
use super::layers::Layer;
use crate::chain::VolumeMeta;
use crate::chain::one_file::squashed;

/// What the names of heads begin with.
const HEAD: &str = "volume-head-";

type Layers = BTreeMap<String, Layer>;

/// Everything that shows by more than one file.
pub(super) fn check(layers: &Layers, volume: Option<&VolumeMeta>, checked: &mut Checked) {
    check_heads(layers, volume, checked);
    check_parents(layers, checked);
    check_cycles(layers, checked);
    let files = one_files(layers, volume);
    let olds: Vec<&str> = files.iter().filter_map(|file| Some(file.squashed?.0)).collect();
    check_bases(layers, volume, &olds, checked);
    check_sizes(layers, volume, &olds, checked);
    check_files(&files, checked);
}

fn parent(layer: &Layer) -> Option<&str> {
    layer.meta.as_ref().map(|meta| &*meta.parent)
}

/// Each layer that stands on another, and the name of that.
fn pairs(layers: &Layers) -> impl Iterator<Item = (&String, &Layer, &str)> {
    let pairs = layers.iter().filter_map(|(name, layer)| Some((name, layer, parent(layer)?)));
    pairs.filter(|(_, _, parent)| !parent.is_empty())
}

fn heads(layers: &Layers) -> impl Iterator<Item = &String> {
    layers.keys().filter(|name| name.starts_with(HEAD))
}

fn check_heads(layers: &Layers, volume: Option<&VolumeMeta>, checked: &mut Checked) {
    let named = volume.map(|volume| &volume.head);
    let is_only = heads(layers).count() == 1;
    for head in heads(layers).filter(|head| Some(*head) != named) {
        match is_only {
            true if named.is_none() => {}
            true => checked.add(Code::HeadNotNamed, head, "is not the head that volume.meta names"),
            false => checked.add(Code::TwoHeads, head, "is one head too many"),
        }
    }
    if let Some(named) = named.filter(|named| !layers.contains_key(*named)) {
        let what = format!("names the head {named}, which is not there");
        checked.add(Code::HeadMissing, VolumeMeta::NAME, what);
    }
    for (name, _, parent) in pairs(layers) {
        if layers.contains_key(parent)
            && (parent.starts_with(HEAD) || Some(parent) == named.map(|named| &**named))
        {
            let what = format!("stands on the head {parent}");
            checked.add(Code::HeadHasChild, name, what);
        }
    }
}

fn check_parents(layers: &Layers, checked: &mut Checked) {
    for (name, _, parent) in pairs(layers).filter(|(_, _, parent)| !layers.contains_key(*parent)) {
        let what = format!("stands on {parent}, which is not there");
        checked.add(Code::ParentMissing, name, what);
    }
}

/// The layers from `name` down, up to the base, to one that is not there, or to the first that comes again.
fn down<'a>(layers: &'a Layers, name: &'a str) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let next = |name: &&'a str| parent(layers.get(*name)?);
    let chain = std::iter::successors(Some(name), next);
    chain.take_while(|name| layers.contains_key(*name) && seen.insert(*name)).collect()
}

fn check_cycles(layers: &Layers, checked: &mut Checked) {
    for name in layers.keys() {
        let chain = down(layers, name);
        let last = chain.last().and_then(|last| parent(layers.get(*last)?));
        // Said of the first of them by name.
        if last == Some(name) && chain.iter().all(|other| *other >= &**name) {
            checked.add(Code::Cycle, name, format!("stands on itself: {}", chain.join(", ")));
        }
    }
}

fn check_bases(layers: &Layers, volume: Option<&VolumeMeta>, olds: &[&str], checked: &mut Checked) {
    let is_base = |name: &&str| layers.get(*name).and_then(parent) == Some("");
    let bases: Vec<&str> = layers.keys().map(|name| &**name).filter(is_base).collect();
    let head = volume.map(|volume| &volume.head).or_else(|| heads(layers).next());
    let base = head.and_then(|head| down(layers, head).last().copied()).filter(is_base);
    let is_second = |name: &&&str| Some(**name) != base && !olds.contains(*name);
    for other in bases.iter().filter(|name| bases.len() > 1 && is_second(name)) {
        let what = match base {
            Some(base) => format!("has no parent and is not {base}, the base of the head"),
            None => "is not the only layer without a parent".to_owned(),
        };
        checked.add(Code::SecondBase, *other, what);
    }
}

fn check_sizes(layers: &Layers, volume: Option<&VolumeMeta>, olds: &[&str], checked: &mut Checked) {
    let size = |name: &str| layers.get(name)?.image.map(|(_, size)| size);
    for (child, _, parent) in pairs(layers) {
        if let (Some(size), Some(child_size)) = (size(parent), size(child))
            && size > child_size
            // A squash has made those as large as its newest.
            && !olds.contains(&parent)
        {
            let what = format!(
                "has {size} bytes, more than the {child_size} of {child}, which stands on it"
            );
            checked.add(Code::LargerThanChild, parent, what);
        }
    }
    let head = volume.and_then(|volume| Some((volume, size(&volume.head)?)));
    if let Some((volume, size)) = head.filter(|(volume, size)| *size != volume.size) {
        let what = format!("has {size} bytes, and the volume {}", volume.size);
        checked.add(Code::HeadSize, &volume.head, what);
    }
}

/// Two layers that are one file, and which of them is the older, where that shows.
struct OneFile<'a> {
    layers: [&'a str; 2],
    squashed: Option<(&'a str, &'a str)>,
}

fn one_files<'a>(layers: &'a Layers, volume: Option<&'a VolumeMeta>) -> Vec<OneFile<'a>> {
    let head = volume.map_or("", |volume| &volume.head);
    let (mut first, mut found): (Vec<(_, &str)>, _) = (vec![], vec![]);
    for (name, layer) in layers {
        let Some((id, _)) = layer.image else { continue };
        match first.iter().find(|(other, _)| *other == id) {
            Some((_, other)) => {
                let squashed = squashed(other, name, head, |name| parent(layers.get(name)?));
                found.push(OneFile { layers: [other, name], squashed });
            }
            None => first.push((id, name)),
        }
    }
    found
}

/// One file is never two layers, unless a squash was interrupted.
fn check_files(files: &[OneFile<'_>], checked: &mut Checked) {
    for OneFile { layers: [other, name], squashed } in files {
        match squashed {
            Some((old, new)) => {
                let what = format!(
                    "is the same file as {old}: a squash of {old} to {new} was interrupted"
                );
                checked.add(Code::HalfSquashed, *new, what);
            }
            None => {
                checked.add(Code::SameFile, *name, format!("is the same file as {other}"));
            }
        }
    }
}
