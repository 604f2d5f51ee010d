//! The names that a target and what stands beside it go by.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::beside;
use crate::error::{Error, Result};
use crate::failpoint;

/// Longest name of an image, in bytes, that leaves room for the hidden names around it (NAME_MAX less the longest of
/// our affixes, that of a record's draft).
pub const LONGEST_NAME: usize = 255 - "...lacuna-unfinished.lacuna-draft".len();

pub(super) fn data_of(path: &Path) -> PathBuf {
    beside::hidden(path, beside::DATA)
}

/// A hidden file that is taken over must be one that a session of this user left: under one name
/// only, so that no other file is written through it.
pub(super) fn refuse_foreign(data: &Path) -> Result<()> {
    let metadata =
        std::fs::symlink_metadata(data).map_err(|error| Error::io("stat", data, error))?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.nlink() == 0 {
        // Removed since its name was looked up.
        return Err(Error::Replaced { path: data.to_owned() });
    }
    match metadata.is_file() && metadata.nlink() == 1 && ours {
        true => Ok(()),
        false => Err(Error::Malformed {
            path: data.to_owned(),
            reason: "an interrupted session leaves a file of one name and of its user".to_owned(),
        }),
    }
}

pub(super) fn check_name(path: &Path) -> Result<()> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::NotAnImage { path: path.to_owned(), what: "named as a directory" });
    }
    match path.file_name() {
        Some(name) if name.len() <= LONGEST_NAME => Ok(()),
        Some(_) => Err(Error::io("open", path, Errno::NAMETOOLONG)),
        None => Err(Error::NotAnImage { path: path.to_owned(), what: "a directory" }),
    }
}

/// A name under `/dev` that does not exist is a device that is not there: a file of that name would
/// be lost with the next start.
pub(super) fn refuse_device_names(path: &Path) -> Result<()> {
    match std::fs::canonicalize(beside::directory_of(path)) {
        Ok(directory) if directory.starts_with("/dev") && !directory.starts_with("/dev/shm") => {
            Err(Error::io("find the device", path, Errno::NOENT))
        }
        _ => Ok(()),
    }
}

/// Renames `data` to `path`, which must not exist.
pub(super) fn appear(data: &Path, path: &Path) -> Result<()> {
    let renamed = failpoint::pass("target.rename").and_then(|()| {
        match renameat_with(CWD, data, CWD, path, RenameFlags::NOREPLACE) {
            // Not every filesystem knows the flag; a link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::hard_link(data, path)?;
                std::fs::remove_file(data)
            }
            result => Ok(result?),
        }
    });
    renamed.map_err(|error| Error::io("give the complete image its name", path, error))
}
