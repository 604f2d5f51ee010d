//! Digests of bytes and of ranges: SHA-512, BLAKE3 and Longhorn's CRC-64.

use std::fmt::{self, Write as _};

use crc_fast::CrcAlgorithm::Crc64GoIso;
use sha2::Digest as _;

use crate::error::Result;
use crate::extent::{Kind, Range};
use crate::image::Image;
use crate::layout::{Layout, LayoutOptions};
use crate::progress::Cancel;

/// A CRC-64 together with the number of bytes it covers, so that neighbours can be combined.
///
/// The polynomial is Go's `crc64.ISO`: reflected 0xD800000000000000, initial value and final xor all
/// ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc64 {
    value: u64,
    len: u64,
}

impl Crc64 {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { value: crc_fast::checksum(Crc64GoIso, bytes), len: bytes.len() as u64 }
    }

    /// Of `len` zero bytes, in time that grows with the logarithm of `len`.
    pub fn zeros(len: u64) -> Self {
        Self { value: !append_zeros(!0, len), len }
    }

    /// Of the bytes of `self` followed by those of `next`.
    pub fn then(self, next: Self) -> Self {
        // The initial value of `next` and the final xor of `self` are both all ones and cancel out.
        let value = append_zeros(self.value, next.len) ^ next.value;
        Self { value, len: self.len + next.len }
    }

    /// The value.
    pub fn value(self) -> u64 {
        self.value
    }
}

/// The polynomial without its highest term, lowest power in the highest bit.
const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;

/// `a * b` modulo the polynomial.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut power = 0;
    while power < 64 {
        // The coefficient of x^power of `a`; `b` is multiplied by x at every turn.
        product ^= b & (a >> (63 - power) & 1).wrapping_neg();
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        power += 1;
    }
    product
}

/// `x^(8 * 2^k)` modulo the polynomial, for each k: what 2^k zero bytes do to a remainder.
const ZERO_BYTES: [u64; 64] = {
    let mut powers = [1 << (63 - 8); 64];
    let mut k = 1;
    while k < 64 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The remainder after `len` more bytes, all zero.
fn append_zeros(mut remainder: u64, len: u64) -> u64 {
    let mut rest = len;
    while rest > 0 {
        remainder = multiply(ZERO_BYTES[rest.trailing_zeros() as usize], remainder);
        rest &= rest - 1;
    }
    remainder
}

/// 16 lowercase hexadecimal digits, as `.checksum` files have it.
impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.value)
    }
}

/// SHA-512 of `bytes`.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    sha2::Sha512::digest(bytes).into()
}

/// BLAKE3 of `bytes`.
pub fn blake3(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Something that takes bytes in order and has a digest of them in the end.
pub enum Hasher {
    /// SHA-512.
    Sha512(Box<sha2::Sha512>),
    /// BLAKE3.
    Blake3(Box<blake3::Hasher>),
    /// Longhorn's CRC-64.
    Crc64(Crc64),
}

impl Hasher {
    /// SHA-512.
    pub fn sha512() -> Self {
        Self::Sha512(Box::default())
    }

    /// BLAKE3.
    pub fn blake3() -> Self {
        Self::Blake3(Box::default())
    }

    /// CRC-64.
    pub fn crc64() -> Self {
        Self::Crc64(Crc64::default())
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
            Self::Crc64(crc) => *crc = crc.then(Crc64::of(bytes)),
        }
    }

    /// Takes `len` zero bytes, of which `zeros` holds some.
    pub fn update_zeros(&mut self, mut len: u64, zeros: &[u8]) {
        if let Self::Crc64(crc) = self {
            *crc = crc.then(Crc64::zeros(len));
            return;
        }
        while len > 0 && !zeros.is_empty() {
            let piece = len.min(zeros.len() as u64);
            self.update(&zeros[..piece as usize]);
            len -= piece;
        }
    }

    /// The digest: 64, 32 or 8 (most significant first) bytes.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
            Self::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
            Self::Crc64(crc) => crc.value().to_be_bytes().to_vec(),
        }
    }
}

/// Feeds `range` of `image` to `hashers`, `buf` at a time. Only data is read; zeros and holes are
/// known.
pub fn hash_range(
    image: &Image,
    range: Range,
    hashers: &mut [Hasher],
    buf: &mut [u8],
    cancel: &Cancel,
) -> Result<()> {
    let zeros = [0; 64 << 10];
    for extent in Layout::new(image, &LayoutOptions { range: Some(range), flush: true })? {
        let extent = extent?;
        if extent.kind != Kind::Data {
            for hasher in &mut *hashers {
                hasher.update_zeros(extent.range.len(), &zeros);
            }
            continue;
        }
        for piece in extent.range.pieces(buf.len() as u64) {
            cancel.check()?;
            let bytes = &mut buf[..piece.len() as usize];
            image.read_at(bytes, piece.start())?;
            for hasher in &mut *hashers {
                hasher.update(bytes);
            }
        }
    }
    Ok(())
}

/// In lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn crc64_has_the_values_that_longhorn_records() {
        assert_eq!(Crc64::of(b"123456789").to_string(), "b90956c775a41001");
        assert_eq!(Crc64::of(&[0; 4096]).to_string(), "492fc33c906fff90");
        assert_eq!(Crc64::of(&vec![0; 1 << 20]).to_string(), "430efbe3cfd1f78c");
    }

    #[test]
    fn sha512_and_blake3_have_their_published_values_for_nothing() {
        assert_eq!(sha512(b"")[..4], [0xcf, 0x83, 0xe1, 0x35]);
        assert_eq!(blake3(b"")[..4], [0xaf, 0x13, 0x49, 0xb9]);
    }

    #[test]
    fn combining_agrees_with_the_library() {
        for len in [0, 1, 5, 4096, 1 << 20, 12_345_678] {
            let (a, b) = (Crc64::of(b"before"), Crc64 { value: 0x1234_5678_9abc_def0, len });
            let expected = crc_fast::checksum_combine(Crc64GoIso, a.value, b.value, len);
            assert_eq!(a.then(b).value, expected, "{len}");
        }
    }

    #[test]
    fn a_terabyte_of_zeros_costs_no_terabyte() {
        let whole = Crc64::zeros(1 << 40);
        let half = Crc64::zeros(1 << 39);
        assert_eq!(half.then(half), whole);
    }

    proptest! {
        #[test]
        fn combined_parts_have_the_crc_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..3000), cuts in (0_usize..3000, 0_usize..3000),
        ) {
            let a = cuts.0.min(cuts.1).min(bytes.len());
            let b = cuts.0.max(cuts.1).min(bytes.len());
            let parts = Crc64::of(&bytes[..a]).then(Crc64::of(&bytes[a..b])).then(Crc64::of(&bytes[b..]));
            prop_assert_eq!(parts, Crc64::of(&bytes));
        }

        #[test]
        fn zeros_have_the_crc_of_zeros(len in 0_usize..20_000) {
            prop_assert_eq!(Crc64::zeros(len as u64), Crc64::of(&vec![0; len]));
        }

        #[test]
        fn hashers_agree_with_hashing_at_once(
            bytes in prop::collection::vec(any::<u8>(), 0..3000), zeros in 0_usize..9000,
        ) {
            let all = [bytes.clone(), vec![0; zeros]].concat();
            for (mut hasher, expected) in [
                (Hasher::sha512(), sha512(&all).to_vec()),
                (Hasher::blake3(), blake3(&all).to_vec()),
                (Hasher::crc64(), Crc64::of(&all).value().to_be_bytes().to_vec()),
            ] {
                hasher.update(&bytes);
                hasher.update_zeros(zeros as u64, &[0; 1000]);
                prop_assert_eq!(hasher.finish(), expected);
            }
        }
    }
}
