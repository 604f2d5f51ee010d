//! Direct I/O: the same file opened with `O_DIRECT`, and what it asks of offsets and buffers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

use crate::aligned_buf::AlignedBuf;
use crate::error::{Error, Result};
use crate::open::Access;
use crate::open::open;
use crate::stamp::FileId;

/// Largest piece that goes through a bounce buffer.
const BOUNCE: usize = 1 << 20;

/// A file opened for direct I/O.
pub(crate) struct DirectFile {
    file: File,
    /// What offsets, lengths and addresses must be multiples of, in bytes.
    unit: usize,
}

impl DirectFile {
    /// Opens `path` again, which must still be the file `id`.
    pub(crate) fn open(path: &Path, access: Access, id: FileId) -> Result<Self> {
        let replaced = || Error::Replaced { path: path.to_owned() };
        let file = open(path, access, OFlags::DIRECT).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => replaced(),
            _ => not_direct(path, &error),
        })?;
        match FileId::of(&file).map_err(|error| Error::io("stat", path, error))? == id {
            true => Self::of(path, file),
            false => Err(replaced()),
        }
    }

    /// Turns the open `file` itself to direct I/O.
    pub(crate) fn turn(path: &Path, file: &File) -> Result<Self> {
        let file = file.try_clone().map_err(|error| Error::io("open", path, error))?;
        let flags = fcntl_getfl(&file).map_err(|errno| Error::io("open", path, errno))?;
        fcntl_setfl(&file, flags | OFlags::DIRECT)
            .map_err(|errno| not_direct(path, &errno.into()))?;
        Self::of(path, file)
    }

    fn of(path: &Path, file: File) -> Result<Self> {
        let stat = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
            .map_err(|error| Error::io("stat", path, error))?;
        let unit = if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN) {
            stat.stx_dio_offset_align.max(stat.stx_dio_mem_align) as usize
        } else {
            4096
        };
        if unit == 0 || !unit.is_power_of_two() || unit > 4096 {
            let reason = format!("the filesystem reports an alignment of {unit} bytes");
            return Err(Error::NotDirect { path: path.to_owned(), reason });
        }
        Ok(Self { file, unit })
    }

    /// Fills `buf` from `offset`; `UnexpectedEof` where the file ends before.
    pub(crate) fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> std::io::Result<()> {
        while !buf.is_empty() {
            let whole = buf.len() & !(self.unit - 1);
            let done = if whole > 0 && self.fits(buf, offset) {
                self.file.read_at(&mut buf[..whole], offset)
            } else {
                self.read_bounced(buf, offset)
            };
            match done {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(done) => {
                    buf = &mut buf[done..];
                    offset += done as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_bounced(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let skip = offset as usize & (self.unit - 1);
        let wanted = (skip + buf.len()).next_multiple_of(self.unit).min(BOUNCE);
        let mut bounce = AlignedBuf::new(wanted);
        let read = self.file.read_at(&mut bounce, offset - skip as u64)?;
        let got = read.saturating_sub(skip).min(buf.len());
        buf[..got].copy_from_slice(&bounce[skip..skip + got]);
        Ok(got)
    }

    /// Writes the part of `buf` that consists of whole units, and returns its length: 0 when the
    /// first byte is not at the start of a unit or less than a unit is left.
    pub(crate) fn write_units(&self, buf: &[u8], offset: u64) -> std::io::Result<usize> {
        let whole = buf.len() & !(self.unit - 1);
        if whole == 0 || offset as usize & (self.unit - 1) != 0 {
            return Ok(0);
        }
        if self.fits(buf, offset) {
            return self.file.write_at(&buf[..whole], offset);
        }
        let mut bounce = AlignedBuf::new(whole.min(BOUNCE));
        let piece = bounce.len();
        bounce.copy_from_slice(&buf[..piece]);
        self.file.write_at(&bounce, offset)
    }

    /// Bytes from `offset` to the next start of a unit.
    pub(crate) fn to_next_unit(&self, offset: u64) -> usize {
        self.unit - (offset as usize & (self.unit - 1))
    }

    fn fits(&self, buf: &[u8], offset: u64) -> bool {
        offset as usize & (self.unit - 1) == 0 && buf.as_ptr().align_offset(self.unit) == 0
    }
}

fn not_direct(path: &Path, error: &std::io::Error) -> Error {
    let reason = crate::error::system_words(error);
    Error::NotDirect { path: path.to_owned(), reason }
}
