//! Where a replica directory is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::chain::{ChainError, Files, Looked};
use lacuna::{Cancel, LONGEST_NAME, LayoutOrigin, Progress};

use rustix::io::Errno;

use super::ReplicaOptions;
use crate::error::Result;
use crate::v2::{self, Answered, Asked, Dry, Remote, codes};

/// For how long a session may be in the way that is over for this end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A replica directory.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this machine.
    Here(PathBuf),
    /// Behind a server.
    There(Remote),
}

impl Place {
    /// As people know it.
    pub(super) fn shown(&self) -> &Path {
        match self {
            Self::Here(directory) => directory,
            Self::There(remote) => Path::new(OsStr::from_bytes(&remote.path)),
        }
    }

    /// That both are one directory.
    pub(super) fn same(&self, other: &Self) -> lacuna::Error {
        let (source_path, target) = (self.shown().to_owned(), other.shown().to_owned());
        lacuna::Error::SameFile { source_path, target }
    }

    /// That a file is not what it was.
    pub(super) fn changed(&self, name: &str) -> lacuna::Error {
        lacuna::Error::Changed { path: self.shown().join(name) }
    }

    /// That a file has another name, by which it would be written too.
    pub(super) fn linked(&self, name: &str) -> lacuna::Error {
        ChainError::Linked { layer: self.shown().join(name) }.into()
    }

    /// That no file describes an image.
    pub(super) fn undescribed(&self, image: &str) -> lacuna::Error {
        ChainError::Undescribed { image: self.shown().join(image) }.into()
    }

    /// That the image of a layer is missing.
    pub(super) fn missing(&self, image: &str) -> lacuna::Error {
        ChainError::ImageMissing { image: self.shown().join(image) }.into()
    }

    /// Fails for a layer that is half written, or does not show what of it hides the one below.
    pub(super) fn refuse_lossy(&self, layer: &str, looked: &Looked, force: bool) -> Result<()> {
        let path = self.shown().join(layer);
        match looked.origin {
            _ if looked.is_unfinished => {
                let mark = self.shown().join(format!(".{layer}.lacuna-unfinished"));
                Err(lacuna::Error::Unfinished { path, mark }.into())
            }
            LayoutOrigin::Fiemap => Ok(()),
            _ if force => Ok(()),
            origin => Err(lacuna::Error::NoLayout { path, origin }.into()),
        }
    }

    /// Fails for an image whose name leaves no room for those of what stands beside it.
    pub(super) fn refuse_long(&self, image: &str) -> Result<()> {
        match image.len() > LONGEST_NAME {
            true => {
                let path = self.shown().join(image);
                Err(lacuna::Error::io("open", &path, Errno::NAMETOOLONG).into())
            }
            false => Ok(()),
        }
    }

    pub(super) fn in_use(&self, image: &str) -> lacuna::Error {
        lacuna::Error::OpenForWriting { path: self.shown().join(image) }
    }

    /// A file of the directory.
    pub(super) fn within(&self, name: &str) -> Self {
        match self {
            Self::Here(directory) => Self::Here(directory.join(name)),
            Self::There(remote) => {
                let path = [trimmed(&remote.path), b"/", name.as_bytes()].concat();
                Self::There(Remote { path, ..remote.clone() })
            }
        }
    }

    /// The same, as the name of a file.
    pub(super) fn as_file(&self) -> Self {
        match self {
            Self::Here(directory) => Self::Here(directory.clone()),
            Self::There(remote) => {
                Self::There(Remote { path: trimmed(&remote.path).to_vec(), ..remote.clone() })
            }
        }
    }

    /// Has `asks` done, in order. What writes makes the directory if it is not there.
    pub(super) fn ask(
        &self,
        asks: Vec<Asked>,
        options: &ReplicaOptions,
        progress: &Arc<Progress>,
        cancel: &Cancel,
    ) -> Result<Vec<Answered>> {
        if asks.is_empty() {
            return Ok(vec![]);
        }
        let dry = (!asks.iter().any(Asked::writes)).then_some(Dry::Plan);
        match self {
            Self::Here(directory) => {
                let files = Files::of(directory);
                if dry.is_none() {
                    files.make()?;
                }
                let rebuild = options.sync.rebuild;
                asks.iter().map(|asked| asked.act(&files, rebuild, cancel)).collect()
            }
            Self::There(remote) => {
                patiently(|| v2::ask(remote, asks.clone(), dry, &options.sync, progress, cancel))
            }
        }
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Does `session`, again where the place of the one before may not be free yet.
pub(super) fn patiently<T>(
    mut session: impl FnMut() -> std::result::Result<T, v2::Stopped>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match session().map_err(|stopped| *stopped.cause) {
            Err(error) if error.told() == Some(codes::BUSY) && begun.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            ended => return ended,
        }
    }
}
