//! The `.meta` files of a replica directory. What is unknown in them is kept out of the way; what a chain
//! rests on must be there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::Keys;
use crate::beside;
use crate::error::{Error, Result};

/// No file of a replica but an image is larger, in bytes.
pub(super) const SMALL: u64 = 64 << 10;

/// What names the layer below.
const PARENT: &str = "Parent";

/// What a directory says of its volume, in `volume.meta`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeMeta {
    /// Of the volume, in bytes.
    pub size: u64,
    /// The newest layer, which the volume is written to.
    pub head: String,
    /// The volume was not closed in order.
    #[serde(default)]
    pub dirty: bool,
    /// Another replica was being copied here.
    #[serde(default)]
    pub rebuilding: bool,
    /// Why the engine has given the replica up.
    #[serde(default)]
    pub error: String,
    /// The image under the oldest layer.
    #[serde(default, alias = "BackingFileName")]
    pub backing_file_path: String,
}

/// What a directory says of a layer, in `IMAGE.meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LayerMeta {
    /// The layer below; empty for the oldest.
    pub parent: String,
    /// The snapshot is to go.
    pub removed: bool,
    /// A person has made it, not the system.
    pub user_created: bool,
    /// When.
    pub created: String,
    /// Whatever was attached to it.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Go writes `null` for no map.
fn labels<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl VolumeMeta {
    /// What a replica directory calls it.
    pub const NAME: &str = "volume.meta";

    /// That of `directory`; `None` where there is none.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(Self::NAME);
        read(&path)?.map(|text| Self::parse(&path, &text)).transpose()
    }

    /// What `text`, that of `path`, says.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let meta: Self = parse(path, text, "a volume")?;
        match is_plain(&meta.head) {
            true => Ok(meta),
            false => Err(not_plain(path, "Head", &meta.head)),
        }
    }

    /// Makes `parent` the parent of `head` in that of its directory, durably, if that says one and it is the
    /// head; all else in it stays.
    pub(crate) fn set_parent(head: &Path, parent: &str) -> Result<()> {
        let path = head.with_file_name(Self::NAME);
        let text = read(&path)?.ok_or_else(|| Error::io("read", &path, io::ErrorKind::NotFound))?;
        let meta: Keys = parse(&path, &text, "a volume")?;
        let is_head = meta.text("Head").as_deref().map(OsStr::new) == head.file_name();
        match is_head && meta.has(PARENT) && meta.text(PARENT).as_deref() != Some(parent) {
            true => replace(&path, meta, parent),
            false => Ok(()),
        }
    }
}

impl LayerMeta {
    /// Where that of `image` is.
    pub fn path_of(image: &Path) -> PathBuf {
        let mut path = image.as_os_str().to_owned();
        path.push(".meta");
        path.into()
    }

    /// That of `image`; `None` where there is none.
    pub(crate) fn read(image: &Path) -> Result<Option<Self>> {
        let path = Self::path_of(image);
        read(&path)?.map(|text| Self::parse(&path, &text)).transpose()
    }

    /// What `text`, that of `path`, says.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let meta: Self = parse(path, text, "a layer")?;
        match meta.parent.is_empty() || is_plain(&meta.parent) {
            true => Ok(meta),
            false => Err(not_plain(path, "Parent", &meta.parent)),
        }
    }

    /// All that the one of `image` says, known or not; it must say what the parent is.
    fn read_all(image: &Path) -> Result<Keys> {
        let path = Self::path_of(image);
        let Some(text) = read(&path)? else {
            return Err(Error::io("read", &path, io::ErrorKind::NotFound));
        };
        let meta: Keys = parse(&path, &text, "a layer")?;
        match meta.text(PARENT) {
            Some(_) => Ok(meta),
            None => Err(Error::Malformed { path, reason: "it does not name a Parent".to_owned() }),
        }
    }

    /// Fails when that of `image` does not say what the parent is.
    pub(crate) fn refuse_without_parent(image: &Path) -> Result<()> {
        Self::read_all(image).map(drop)
    }

    /// Makes `parent` what that of `image` names, durably; all else in it stays.
    pub(crate) fn set_parent(image: &Path, parent: &str) -> Result<()> {
        replace(&Self::path_of(image), Self::read_all(image)?, parent)
    }

    /// Whether it names `parent`.
    pub(crate) fn names(&self, parent: &Path) -> bool {
        !self.parent.is_empty() && parent.file_name().is_some_and(|name| name == &*self.parent)
    }
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match beside::read_limited(path, SMALL) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Writes `meta` with another parent.
fn replace(path: &Path, mut meta: Keys, parent: &str) -> Result<()> {
    let line = meta.set(PARENT, parent).and_then(|()| meta.line());
    let line = line.map_err(|error| Error::io("write", path, io::Error::from(error)))?;
    beside::replace(path, |out| {
        out.write_all(line.as_bytes()).map_err(|error| Error::io("write", path, error))
    })
}

fn parse<T: DeserializeOwned>(path: &Path, text: &[u8], of: &str) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        reason: format!("it should describe {of}: {error}"),
    })
}

/// Whether it names a file of the same directory.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(name))
}

fn not_plain(path: &Path, key: &str, name: &str) -> Error {
    let path = path.to_owned();
    Error::Malformed { path, reason: format!("its {key} {name:?} is no name of a file beside it") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_the_same_directory() {
        for name in ["volume-head-000.img", "a", "..a"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", "/", "/a", "a/b", "../a", "a/", "a/.."] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
