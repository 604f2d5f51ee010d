//! What each layer of a replica is good for: how much of it anybody sees, and what would be free without it.
//! Nobody is kept out, and nothing is waited for: the replica may be in use.

use std::io;

use super::checksum::ChecksumState;
use super::tree::{self, Node};
use super::{LayerMeta, Replica};
use crate::error::{Error, Result};
use crate::extent::{BLOCK, MAX_OFFSET, Range};
use crate::fiemap::{ExtentFlags, MapFlags, Walk};
use crate::hash::HashOptions;
use crate::image::Image;
use crate::layer::check_layout;
use crate::open::{ImageOptions, IoMode, Links};
use crate::overlay::Cursor;
use crate::progress::{Cancel, Progress};

/// How to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct LsOptions {
    /// Read the layers that have a fresh checksum, in this way, and compare.
    pub verify: Option<HashOptions>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLayer {
    /// The name of its file.
    pub name: String,
    /// How it is described.
    pub meta: LayerMeta,
    /// How many branches lead to it that do not go on to the head; of those that do not, the last one counts as
    /// going on.
    pub depth: usize,
    /// Its size.
    pub size_bytes: u64,
    /// What it takes on the disk.
    pub allocated_bytes: u64,
    /// What of that no other file shares, at most: what would be free without it.
    pub exclusive_bytes: u64,
    /// In blocks that every branch above hides, so that nobody sees them but who reads the layer itself.
    pub hidden_bytes: u64,
    /// What its checksum file is worth.
    pub checksum: ChecksumState,
}

/// What a layer is to whoever reads the newest layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// It has something there, and at least one of them sees that.
    Visible,
    /// It has something there, and none of them sees that.
    Hidden,
    /// It has nothing there.
    Nothing,
}

/// Lists the layers of a replica, each before those that stand on it. Hands what each is to whoever reads the
/// newest layers to `found`, by its place in the list: each its own from 0 to the size of the volume in whole blocks,
/// in order and without gaps.
///
/// # Errors
///
/// That the layers make no tree or are one file, or what is wrong with an image.
pub fn ls(
    replica: &Replica,
    options: &LsOptions,
    progress: &Progress,
    cancel: &Cancel,
    mut found: impl FnMut(usize, Range, Share),
) -> Result<Vec<ListedLayer>> {
    let nodes = tree::of(replica)?;
    replica.refuse_one_file(replica.layers().keys().map(String::as_str))?;
    let images: Vec<Image> = nodes.iter().map(|node| open(replica, node)).collect::<Result<_>>()?;
    let mut layers = vec![];
    for (node, image) in nodes.iter().zip(&images) {
        cancel.check()?;
        layers.push(ListedLayer::of(replica, node, image)?);
    }
    let size = images.iter().map(Image::size).fold(replica.volume().size, u64::max);
    let whole = Range::to(size).round_out(BLOCK);
    progress.total_bytes.set(whole.len());
    walk(&nodes, &images, whole, progress, cancel, |index, range, share| {
        if share == Share::Hidden {
            layers[index].hidden_bytes += range.len();
        }
        found(index, range, share);
    })?;
    if let Some(hash) = &options.verify {
        let fresh = layers.iter_mut().filter(|layer| layer.checksum == ChecksumState::Fresh);
        let fresh: Vec<_> = fresh.collect();
        progress.total_bytes.add(fresh.iter().map(|layer| layer.allocated_bytes).sum());
        for layer in fresh {
            let path = replica.path(&layer.name);
            layer.checksum = ChecksumState::verified(&path, hash, progress, cancel)?;
        }
    }
    progress.finish();
    Ok(layers)
}

fn open(replica: &Replica, node: &Node) -> Result<Image> {
    let options =
        ImageOptions { io: IoMode::Buffered, links: Links::Refuse, ..ImageOptions::default() };
    let image = Image::open(&replica.path(&node.name), &options)?;
    check_layout(&image)?;
    Ok(image)
}

impl ListedLayer {
    /// All but what is hidden.
    fn of(replica: &Replica, node: &Node, image: &Image) -> Result<Self> {
        let allocated_bytes = image.allocated_bytes()?;
        Ok(Self {
            name: node.name.clone(),
            meta: replica.layers().get(&node.name).cloned().unwrap_or_default(),
            depth: node.depth,
            size_bytes: image.size(),
            allocated_bytes,
            // What is compressed takes less than its extents say.
            exclusive_bytes: exclusive_bytes(image)?.min(allocated_bytes),
            hidden_bytes: 0,
            checksum: ChecksumState::of(image)?,
        })
    }
}

/// In extents that no other file shares, also past the end.
fn exclusive_bytes(image: &Image) -> Result<u64> {
    let walk = Walk::new(image.file(), Range::to(MAX_OFFSET), MapFlags::empty());
    let sum = walk.and_then(|mut walk| {
        walk.try_fold(0, |sum: u64, extent| -> io::Result<u64> {
            let extent = extent?;
            let is_shared = extent.flags.contains(ExtentFlags::SHARED);
            Ok(if is_shared { sum } else { sum.saturating_add(extent.length) })
        })
    });
    sum.map_err(|error| Error::io("map", image.path(), error))
}

/// Walks all layers at once, in memory that does not grow with the number of extents.
fn walk(
    nodes: &[Node],
    images: &[Image],
    whole: Range,
    progress: &Progress,
    cancel: &Cancel,
    mut found: impl FnMut(usize, Range, Share),
) -> Result<()> {
    let mut cursors: Vec<_> = images.iter().map(|image| Cursor::new(image, whole, false)).collect();
    let mut runs: Vec<Option<(Range, Share)>> = vec![None; nodes.len()];
    let mut has = vec![false; nodes.len()];
    let mut rest = whole;
    while !rest.is_empty() {
        cancel.check()?;
        let mut end = rest.end();
        for (cursor, has) in cursors.iter_mut().zip(&mut has) {
            let extent = cursor.at(rest)?;
            end = end.min(extent.range.end());
            *has = extent.kind.is_allocated();
        }
        let (range, after) = rest.split_at(end);
        rest = after;
        for (index, (run, share)) in runs.iter_mut().zip(shares(nodes, &has)).enumerate() {
            match run {
                Some((run, open)) if *open == share => *run = run.through(range),
                _ => {
                    let done = run.replace((range, share));
                    done.into_iter().for_each(|(run, share)| found(index, run, share));
                }
            }
        }
        progress.advance(range.end());
    }
    for (index, run) in runs.into_iter().enumerate() {
        run.into_iter().for_each(|(run, share)| found(index, run, share));
    }
    Ok(())
}

/// What each layer is where those have something that `has` says.
fn shares(nodes: &[Node], has: &[bool]) -> Vec<Share> {
    // Whether nobody who reads a layer, or one above it, sees what is below it.
    let mut hides = vec![false; nodes.len()];
    let mut shares = vec![Share::Nothing; nodes.len()];
    // Those that stand on a layer come behind it.
    for (index, Node { children, .. }) in nodes.iter().enumerate().rev() {
        let is_hidden = !children.is_empty() && children.iter().all(|child| hides[*child]);
        hides[index] = has[index] || is_hidden;
        shares[index] = match has[index] {
            false => Share::Nothing,
            true if is_hidden => Share::Hidden,
            true => Share::Visible,
        };
    }
    shares
}
