//! Longhorn's `.checksum` file: the digest of an image as of one change time.
//!
//! The fields and the form of the time are those of Longhorn's `SnapshotHashInfo`.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::beside;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::stamp::Stamp;

/// The one method that Longhorn knows.
pub const CRC64: &str = "crc64";

/// The content of a `.checksum` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksumFile {
    /// [`CRC64`].
    pub method: String,
    /// 16 lowercase hexadecimal digits for [`CRC64`], over the whole size, holes read as zeros.
    pub checksum: String,
    /// The image's ctime as Go prints a time: see [`change_time`].
    pub change_time: String,
    /// When the content was last read to make it, or empty.
    #[serde(default)]
    pub last_hashed_at: String,
    /// Whether a later hash found other content under the same change time.
    #[serde(default)]
    pub silently_corrupted: bool,
}

/// `IMAGE.checksum`.
pub fn path_of(image: &Path) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".checksum");
    name.into()
}

/// No file of this kind is larger, in bytes.
const LIMIT: u64 = 64 << 10;

impl ChecksumFile {
    /// The one beside `image`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], or the system's.
    pub fn read(image: &Path) -> Result<Option<Self>> {
        let path = path_of(image);
        let Some(text) = Self::read_text(image)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&text);
        parsed.map(Some).map_err(|error| Error::Malformed { path, reason: error.to_string() })
    }

    /// The same, as the bytes that are there.
    pub fn read_text(image: &Path) -> Result<Option<Vec<u8>>> {
        let path = path_of(image);
        match beside::read_limited(&path, LIMIT) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Writes it beside `image`, atomically and durably.
    ///
    /// # Errors
    ///
    /// The system's; the file that was there before stays then.
    pub fn write(&self, image: &Path) -> Result<()> {
        let path = path_of(image);
        let mut text = serde_json::to_vec(self)
            .map_err(|error| Error::Malformed { path: path.clone(), reason: error.to_string() })?;
        text.push(b'\n');
        beside::replace(&path, |out| {
            out.write_all(&text).map_err(|error| Error::io("write", &path, error))
        })
    }

    /// Removes the one beside `image`, durably; whoever writes an image does so first.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove(image: &Path) -> Result<()> {
        let path = path_of(image);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() || metadata.len() > LIMIT => {
                let reason = "too large for a checksum file: move it elsewhere".to_owned();
                Err(Error::Malformed { path, reason })
            }
            _ => beside::remove(&path),
        }
    }

    /// Whether it speaks of the image as it is now: the change time is the same instant, whatever
    /// zone it was printed in.
    pub fn is_fresh(&self, stamp: &Stamp) -> bool {
        parse_change_time(&self.change_time).is_some_and(|time| Some(time) == timestamp(stamp))
    }

    /// The method and checksum recorded for `image` when they are fresh and usable.
    pub fn fresh(image: &Image) -> Result<Option<Self>> {
        // The change time of a device's node says nothing of what the device holds.
        if image.is_device() {
            return Ok(None);
        }
        let Some(recorded) = Self::read(image.path())? else {
            return Ok(None);
        };
        let usable = !recorded.silently_corrupted
            && !recorded.method.is_empty()
            && !recorded.checksum.is_empty()
            && recorded.is_fresh(&image.stamp()?);
        Ok(usable.then_some(recorded))
    }
}

fn timestamp(stamp: &Stamp) -> Option<Timestamp> {
    Timestamp::new(stamp.ctime.0, i32::try_from(stamp.ctime.1).ok()?).ok()
}

/// A change time as Go's `time.Time.String` prints it in `zone`:
/// `2022-11-29 16:26:40.297975939 +0000 UTC`, trailing zeros of the fraction dropped, no point without
/// a fraction. Go knows UTC by that name only. `None` for a time that no calendar has.
pub fn change_time(stamp: &Stamp, zone: &TimeZone) -> Option<String> {
    let time = timestamp(stamp)?;
    let info = zone.to_offset_info(time);
    let local = info.offset().to_datetime(time);
    let seconds = info.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    let nanoseconds = local.subsec_nanosecond();
    let fraction = match nanoseconds {
        0 => String::new(),
        _ => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    Some(format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction} {sign}{:02}{:02} {}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second(),
        minutes / 60,
        minutes % 60,
        info.abbreviation(),
    ))
}

/// The instant that a change time names; what follows the offset does not matter.
pub fn parse_change_time(text: &str) -> Option<Timestamp> {
    let mut words = text.split(' ');
    let (date, time, offset) = (words.next()?, words.next()?, words.next()?);
    let local: jiff::civil::DateTime = format!("{date}T{time}").parse().ok()?;
    let (sign, digits) = offset.split_at_checked(1)?;
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let seconds = match sign {
        "+" => seconds,
        "-" => -seconds,
        _ => return None,
    };
    Offset::from_seconds(seconds).ok()?.to_timestamp(local).ok()
}

#[cfg(test)]
mod tests;
