//! The bodies of 200 answers. `writeData`, `sendHole` and `close` have none, and
//! `getRecordedMetadata` answers with a file as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Error;

/// The length of a SHA-512 in standard base64 with padding.
const BASE64_LEN: usize = 88;

/// The body of an answer to `open`: whether the file existed.
pub fn encode_existed(existed: bool) -> &'static str {
    if existed { "true" } else { "false" }
}

/// Reads the body of an answer to `open`.
///
/// # Errors
///
/// [`Error::Answer`] for anything but JSON's `true` and `false`.
pub fn decode_existed(body: &[u8]) -> Result<bool, Error> {
    match body.trim_ascii() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Error::answer("open", "true or false", body)),
    }
}

/// The body of an answer to `getChecksum`: the range's SHA-512 in quoted base64, or `null` for a
/// range that is not entirely data.
pub fn encode_checksum(checksum: Option<&[u8; 64]>) -> String {
    match checksum {
        Some(checksum) => format!("\"{}\"", STANDARD.encode(checksum)),
        None => "null".to_owned(),
    }
}

/// Reads the body of an answer to `getChecksum`.
///
/// # Errors
///
/// [`Error::Answer`] for anything but `null` and a quoted base64 (standard, padded) of 64 bytes.
pub fn decode_checksum(body: &[u8]) -> Result<Option<[u8; 64]>, Error> {
    let text = body.trim_ascii();
    if text == b"null" {
        return Ok(None);
    }
    match unquote(text).and_then(decode_base64) {
        Some(checksum) => Ok(Some(checksum)),
        None => Err(Error::answer("getChecksum", "null or a SHA-512 in quoted base64", body)),
    }
}

fn unquote(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn decode_base64(text: &[u8]) -> Option<[u8; 64]> {
    // Looked at first, so that a long body costs nothing.
    if text.len() != BASE64_LEN {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn existed_is_a_json_boolean_and_nothing_else() {
        assert_eq!(decode_existed(encode_existed(true).as_bytes()), Ok(true));
        assert_eq!(decode_existed(encode_existed(false).as_bytes()), Ok(false));
        assert_eq!(decode_existed(b" true\r\n"), Ok(true));
        for body in ["", "1", "True", "\"true\"", "null", "true false", "<html>"] {
            assert!(decode_existed(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_checksum_is_quoted_standard_base64() {
        let encoded = encode_checksum(Some(&[0xfb; 64]));
        assert_eq!(encoded.len(), 90);
        assert_eq!(encoded, format!("\"{}+w==\"", "+/v7".repeat(21)));
        assert_eq!(decode_checksum(format!("{encoded}\n").as_bytes()), Ok(Some([0xfb; 64])));
        assert_eq!(decode_checksum(b"null"), Ok(None));
        assert_eq!(encode_checksum(None), "null");
    }

    #[test]
    fn what_is_no_checksum_is_an_error_that_shows_it() {
        let unpadded = format!("\"{}+w\"", "+/v7".repeat(21));
        let url_safe = format!("\"{}-w==\"", "-_v7".repeat(21));
        let stray_bits = format!("\"{}+x==\"", "+/v7".repeat(21));
        let too_short = format!("\"{}+/s=\"", "+/v7".repeat(20));
        let unquoted = format!("{}+w==", "+/v7".repeat(21));
        for body in [
            "",
            "\"",
            "\"\"",
            "[]",
            "Null",
            &unpadded,
            &url_safe,
            &stray_bits,
            &too_short,
            &unquoted,
        ] {
            assert!(decode_checksum(body.as_bytes()).is_err(), "{body}");
        }
        let long = format!("\"{}\"", "A".repeat(1 << 20));
        assert!(decode_checksum(long.as_bytes()).unwrap_err().to_string().len() < 200);
        assert_eq!(
            decode_checksum(b"404 page\n").unwrap_err().to_string(),
            "expected null or a SHA-512 in quoted base64 as the answer to getChecksum, \
             the peer sent \"404 page\\n\""
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body in any::<Vec<u8>>()) {
            let _ = decode_existed(&body);
            let _ = decode_checksum(&body);
        }

        #[test]
        fn quoted_text_of_the_right_length_is_decoded_or_refused(text in "\"[A-Za-z0-9+/=]{88}\"") {
            if let Ok(checksum) = decode_checksum(text.as_bytes()) {
                prop_assert_eq!(encode_checksum(checksum.as_ref()), text);
            }
        }

        #[test]
        fn every_checksum_comes_back(bytes in prop::collection::vec(any::<u8>(), 64)) {
            let checksum: [u8; 64] = bytes.try_into().unwrap();
            let encoded = encode_checksum(Some(&checksum));
            prop_assert_eq!(decode_checksum(encoded.as_bytes()), Ok(Some(checksum)));
        }
    }
}
