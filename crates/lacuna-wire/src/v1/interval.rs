//! Ranges as v1 sends them, and the body that a range calls for.

use std::fmt;

use super::{MAX_BODY, Refusal};

/// A byte range `begin..end` as sent: `begin <= end <= i64::MAX`, for the original's numbers are
/// int64.
///
/// It may reach past the end of the image, or lie past it: the original's client rounds the end of
/// the last extent up to [`BLOCK`](super::BLOCK), and sends preallocation past the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    begin: u64,
    end: u64,
}

impl Interval {
    /// `begin..end` in bytes; `None` when it is reversed or `end` is over `i64::MAX`.
    pub fn new(begin: u64, end: u64) -> Option<Self> {
        (begin <= end && i64::try_from(end).is_ok()).then_some(Self { begin, end })
    }

    /// The offset of the first byte.
    pub fn begin(self) -> u64 {
        self.begin
    }

    /// The offset after the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes it spans.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.begin)
    }

    /// Whether it spans nothing.
    pub fn is_empty(self) -> bool {
        self.begin == self.end
    }

    /// The part that a body or a checksum covers when the image has `size` bytes:
    /// `begin..min(end, size)`, and `begin..begin` when the range begins at or past the end.
    pub fn within(self, size: u64) -> Self {
        Self { begin: self.begin, end: self.end.min(size).max(self.begin) }
    }
}

/// `begin..end`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.begin, self.end)
    }
}

/// The range that a `writeData` of `interval` writes to an image of `size` bytes, when its body has
/// `length` bytes, as announced or as received.
///
/// # Errors
///
/// 413 for a body over [`MAX_BODY`], 400 for one that is not exactly as long as the part of the
/// range within the image. The original writes the first and cuts or accepts the second.
pub fn check_body(interval: Interval, size: u64, length: u64) -> Result<Interval, Refusal> {
    let within = interval.within(size);
    if !usize::try_from(length).is_ok_and(|length| length <= MAX_BODY) {
        let message = format!("a body of {length} bytes is over the limit of {MAX_BODY} bytes");
        return Err(Refusal::new(413, message));
    }
    if length != within.len() {
        let needed = within.len();
        let message = format!(
            "writing {interval} of an image of {size} bytes takes a body of {needed} bytes, \
             not {length}"
        );
        return Err(Refusal::new(400, message));
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(begin: u64, end: u64) -> Interval {
        Interval::new(begin, end).unwrap()
    }

    #[test]
    fn an_interval_is_ordered_and_fits_an_int64() {
        let max = i64::MAX.unsigned_abs();
        assert_eq!(interval(3, 10).len(), 7);
        assert_eq!((interval(3, 10).begin(), interval(3, 10).end()), (3, 10));
        assert!(interval(7, 7).is_empty());
        assert!(!interval(7, 8).is_empty());
        assert_eq!(interval(0, max).len(), max);
        assert_eq!(Interval::new(10, 9), None);
        assert_eq!(Interval::new(0, max + 1), None);
        assert_eq!(Interval::new(u64::MAX, u64::MAX), None);
        assert_eq!(interval(3, 10).to_string(), "3..10");
    }

    #[test]
    fn within_ends_at_the_size_and_is_empty_past_it() {
        assert_eq!(interval(0, 4096).within(10), interval(0, 10));
        assert_eq!(interval(0, 4096).within(4096), interval(0, 4096));
        assert_eq!(interval(0, 4096).within(1 << 40), interval(0, 4096));
        assert_eq!(interval(8192, 12288).within(8192), interval(8192, 8192));
        assert_eq!(interval(8192, 12288).within(0), interval(8192, 8192));
    }

    #[test]
    fn a_body_is_exactly_the_part_within_the_image() {
        assert_eq!(check_body(interval(0, 4096), 10, 10), Ok(interval(0, 10)));
        assert_eq!(check_body(interval(4096, 8192), 8192, 4096), Ok(interval(4096, 8192)));
        assert_eq!(check_body(interval(8192, 12288), 8192, 0), Ok(interval(8192, 8192)));
        for (begin, end, size, length) in
            [(0, 4096, 10, 4096), (0, 4096, 4096, 4095), (0, 4096, 8192, 4097), (8192, 8193, 1, 1)]
        {
            let refusal = check_body(interval(begin, end), size, length).unwrap_err();
            assert_eq!(refusal.status, 400, "{begin}..{end} of {size} with {length}");
        }
        assert_eq!(
            check_body(interval(0, 4096), 10, 4096).unwrap_err().message,
            "writing 0..4096 of an image of 10 bytes takes a body of 10 bytes, not 4096"
        );
    }

    #[test]
    fn a_body_over_the_limit_is_413_even_when_it_fits_its_range() {
        let limit = MAX_BODY as u64;
        assert_eq!(check_body(interval(0, limit), limit, limit), Ok(interval(0, limit)));
        assert_eq!(check_body(interval(0, limit + 1), 1 << 40, limit + 1).unwrap_err().status, 413);
        assert_eq!(check_body(interval(0, 1), 1, u64::MAX).unwrap_err().status, 413);
        assert_eq!(check_body(interval(0, 1 << 40), 1 << 40, 4096).unwrap_err().status, 400);
    }
}
