//! How a session ends at the server: with an image that is complete, or with word of where what
//! arrived is kept.

use jiff::tz::TimeZone;
use lacuna::checksum_file::{self, CRC64, ChecksumFile};
use lacuna::digest::{Crc64, Hasher, hash_range};
use lacuna::{Range, Stamp};

use super::Opened;
use crate::error::{Error, Result};
use crate::v1::holes;
use crate::v1::ledger::Verdict;

impl Opened {
    /// Says where what has arrived is, after making it durable as far as that goes.
    pub(in crate::v1) fn keep(&self) -> String {
        if let Err(error) = self.target.image().sync() {
            tracing::warn!(error = lacuna::describe(&error), "what had arrived may not be durable");
        }
        self.target.left().words().unwrap_or_else(|| "the image was not changed".to_owned())
    }

    /// See [`Store::close`](crate::v1::store::Store::close).
    pub(in crate::v1) fn finish(self, method: &str, checksum: &str, zone: &TimeZone) -> Result<()> {
        let announced = (method == CRC64 && !checksum.is_empty()).then_some(checksum);
        let committed = self.check(announced).and_then(|complete| match complete {
            true => self.commit(announced.is_some()),
            false => Ok(None),
        });
        let stamp = committed.map_err(|error| match error {
            Error::Image(source) => Error::Uncommitted { kept: self.keep(), source },
            error => error,
        })?;
        match (announced, stamp) {
            (Some(checksum), Some(stamp)) if !self.target.image().is_device() => {
                self.record(checksum, &stamp, zone).map_err(|source| Error::Unrecorded { source })
            }
            _ => Ok(()),
        }
    }

    /// Whether the image is complete, and what was announced. False when nothing was asked of it and
    /// it is as it was.
    fn check(&self, announced: Option<&str>) -> Result<bool> {
        let (verdict, unused) = {
            let ledger = self.ledger();
            (ledger.verdict(), ledger.is_unused())
        };
        let incomplete = |missing: String| Err(Error::Incomplete { missing, kept: self.keep() });
        let crc = match verdict {
            Verdict::Complete(crc) => crc,
            // The client opened the image and asked nothing of it.
            _ if unused && announced.is_none() && self.is_as_it_was() => return Ok(false),
            Verdict::GivenUp => return Err(Error::GivenUp { kept: self.keep() }),
            Verdict::Missing(range) => return incomplete(format!("bytes {range}")),
            Verdict::Overflowed => {
                return incomplete("too many scattered ranges to account for".to_owned());
            }
        };
        let holes: Vec<_> = self.ledger().holes().collect();
        holes::mend(&self.target, &holes)?;
        let Some(announced) = announced else { return Ok(true) };
        let found = match crc {
            Some(crc) => crc,
            None => self.crc_on_disk()?,
        };
        match found.to_string() {
            found if found == announced => Ok(true),
            found => {
                let announced = announced.to_owned();
                Err(Error::Mismatch { found, announced, kept: self.keep() })
            }
        }
    }

    /// Returns the stamp that the image had right then, if that is `wanted`; `None` when somebody else
    /// wrote meanwhile.
    fn commit(&self, wanted: bool) -> Result<Option<Stamp>> {
        let image = self.target.image();
        let before = if wanted { image.settled_stamp().ok() } else { None };
        self.target.commit()?;
        let Some(before) = before else { return Ok(None) };
        let stamp = image.stamp()?;
        Ok(Some(stamp).filter(|now| (now.mtime, now.size) == (before.mtime, before.size)))
    }

    fn is_as_it_was(&self) -> bool {
        self.target.existed() && !self.target.is_written() && !self.target.is_marked()
    }

    /// Of the whole image, read again: for when the requests do not tell.
    fn crc_on_disk(&self) -> Result<Crc64> {
        let mut hashers = [Hasher::crc64()];
        let (all, mut buf) = (Range::to(self.size), self.shared.pieces.take());
        hash_range(self.target.image(), all, &mut hashers, &mut buf, &self.shared.cancel)?;
        let [Hasher::Crc64(crc)] = hashers else { return Ok(Crc64::default()) };
        Ok(crc)
    }

    /// Writes the `.checksum` of an image that is durable, if it is still what it was at `stamp` once
    /// a later change would show.
    fn record(&self, checksum: &str, stamp: &Stamp, zone: &TimeZone) -> Result<(), lacuna::Error> {
        let (path, image) = (self.target.path(), self.target.image());
        let is_same = image.settled_stamp().is_ok_and(|settled| settled == *stamp);
        let Some(change_time) = checksum_file::change_time(stamp, zone).filter(|_| is_same) else {
            tracing::info!(path = %path.display(), "no checksum recorded");
            return Ok(());
        };
        let file = ChecksumFile {
            method: CRC64.to_owned(),
            checksum: checksum.to_owned(),
            change_time,
            last_hashed_at: String::new(),
            silently_corrupted: false,
        };
        file.write(path)
    }
}
