//! Replica directories as Longhorn leaves them.

mod strategy;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

pub use self::strategy::sound;
use crate::pattern::Pattern;

/// A layer of a [`Replica`].
#[derive(Clone, Debug)]
pub struct Layer {
    /// The name of its file.
    pub file: String,
    /// The file of the layer below; empty for the oldest.
    pub parent: String,
    /// What it holds.
    pub pattern: Pattern,
    /// How it is described.
    pub meta: Meta,
}

/// What the `.meta` file of a layer says beside its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meta {
    /// All keys, among them whether a person made it, whether it is to go, and its labels.
    Whole {
        /// `UserCreated`.
        user_created: bool,
        /// `Removed`.
        removed: bool,
        /// `Labels`; null when there are none.
        labels: Vec<(String, String)>,
    },
    /// The parent alone, as after a clone or a restore.
    ParentOnly,
    /// There is none.
    Missing,
}

/// A replica directory.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Any order; the head is among them.
    pub layers: Vec<Layer>,
    /// The file of the head.
    pub head: String,
    /// Of the volume, in bytes.
    pub size: u64,
    /// `Rebuilding`.
    pub rebuilding: bool,
    /// `Error`.
    pub error: String,
    /// `BackingFilePath`.
    pub backing: String,
    /// Keys as versions before had them.
    pub older: bool,
}

impl Replica {
    /// A volume whose layers are these, from the oldest to the head: `volume-snap-s0.img`, `-s1` and so on, and
    /// `volume-head-NNN.img`. It is as large as the largest.
    ///
    /// # Panics
    ///
    /// Without a pattern.
    pub fn line(patterns: Vec<Pattern>) -> Self {
        let size = patterns.iter().map(|pattern| pattern.size).max().expect("a head");
        let (last, head) =
            (patterns.len() - 1, format!("volume-head-{:03}.img", patterns.len() - 1));
        let name = |index: usize| match index == last {
            true => head.clone(),
            false => snapshot(&format!("s{index}")),
        };
        let meta = Meta::Whole { user_created: true, removed: false, labels: vec![] };
        let layers = patterns.into_iter().enumerate().map(|(index, pattern)| Layer {
            file: name(index),
            parent: index.checked_sub(1).map(name).unwrap_or_default(),
            pattern,
            meta: meta.clone(),
        });
        Self {
            layers: layers.collect(),
            head: head.clone(),
            size,
            rebuilding: false,
            error: String::new(),
            backing: String::new(),
            older: false,
        }
    }

    /// Makes the files in `directory`, which exists.
    ///
    /// # Panics
    ///
    /// If the filesystem does not.
    pub fn write(&self, directory: &Path) {
        for layer in &self.layers {
            layer.pattern.write(&directory.join(&layer.file));
            if let Some(text) = layer.text() {
                put(&directory.join(format!("{}.meta", layer.file)), &text);
            }
        }
        put(&directory.join("volume.meta"), &self.text());
        let mut counter = b"42".to_vec();
        counter.resize(4096, 0);
        fs::write(directory.join("revision.counter"), counter).expect("write revision.counter");
    }

    /// What stands in `volume.meta`.
    pub fn text(&self) -> String {
        let Self { size, head, rebuilding, error, backing, .. } = self;
        let begin = format!(
            "{{\"Size\":{size},\"Head\":\"{head}\",\"Dirty\":true,\"Rebuilding\":{rebuilding}"
        );
        let end = match self.older {
            true => {
                format!(",\"Parent\":\"\",\"SectorSize\":512,\"BackingFileName\":\"{backing}\"}}")
            }
            false => format!(
                ",\"Error\":\"{error}\",\"Parent\":\"\",\"SectorSize\":512,\
                 \"BackingFilePath\":\"{backing}\",\"Encrypted\":false,\"Unknown\":[1]}}"
            ),
        };
        format!("{begin}{end}\n")
    }
}

impl Layer {
    /// What stands in its `.meta` file.
    pub fn text(&self) -> Option<String> {
        let parent = &self.parent;
        match &self.meta {
            Meta::Missing => None,
            Meta::ParentOnly => Some(format!("{{\"Parent\":\"{parent}\"}}\n")),
            Meta::Whole { user_created, removed, labels } => {
                let mut map = String::new();
                for (key, value) in labels {
                    let comma = if map.is_empty() { "" } else { "," };
                    write!(map, "{comma}\"{key}\":\"{value}\"").expect("a string");
                }
                let map = if labels.is_empty() { "null".to_owned() } else { format!("{{{map}}}") };
                Some(format!(
                    "{{\"Name\":\"volume-head-001.img\",\"Parent\":\"{parent}\",\"Removed\":{removed},\
                     \"UserCreated\":{user_created},\"Created\":\"2024-02-25T23:10:17Z\",\"Labels\":{map}}}\n"
                ))
            }
        }
    }
}

/// The file of a snapshot.
pub fn snapshot(name: &str) -> String {
    format!("volume-snap-{name}.img")
}

/// What an engine that was interrupted, and others, leave in a replica directory: none of it belongs to the
/// chain. Returns what was made.
///
/// # Panics
///
/// If the filesystem does not.
pub fn leave_leftovers(directory: &Path) -> Vec<PathBuf> {
    let names = ["volume.meta.tmp", "volume-snap-s0.img.meta.tmp", "volume-snap-s9.img.snap_tmp"];
    let paths: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
    paths.iter().for_each(|path| put(path, "{"));
    paths
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}
