//! Query strings as Go's `url.ParseQuery` reads them and `Values.Encode` writes them.

use std::collections::BTreeMap;

/// The parameters of a query: for each key, in order, the values in the order they came.
///
/// Keys and values are bytes, because percent-decoding yields any bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Query {
    /// Reads `key=value&...`. A pair with a bad escape or a semicolon is left out, as Go's
    /// `URL.Query` does.
    pub(super) fn parse(text: &str) -> Self {
        let mut values: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
                values.entry(key).or_default().push(value);
            }
        }
        Self(values)
    }

    /// The first value of `key`, empty when there is none.
    pub(super) fn get(&self, key: &str) -> &[u8] {
        let first = self.0.get(key.as_bytes()).and_then(|values| values.first());
        first.map_or(&[], Vec::as_slice)
    }

    /// What Go's `%+v` prints: `map[begin:[0] end:[4096]]`.
    pub(super) fn print(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(|(key, values)| print_key(key, values)).collect();
        format!("map[{}]", keys.join(" "))
    }
}

fn print_key(key: &[u8], values: &[Vec<u8>]) -> String {
    let values: Vec<_> = values.iter().map(|value| plain(value)).collect();
    format!("{}:[{}]", plain(key), values.join(" "))
}

/// What Go's `%v` prints, but for control characters and what is not UTF-8: a message is one line
/// of text.
pub(super) fn plain(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace(char::is_control, "\u{fffd}")
}

/// `url.QueryUnescape`: `+` is a space; `None` for a `%` without two hexadecimal digits.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' => b' ',
            _ => byte,
        });
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `url.QueryEscape`.
pub(super) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_value_of_a_key_counts() {
        let query = Query::parse("begin=1&end=2&begin=3");
        assert_eq!(query.get("begin"), b"1");
        assert_eq!(query.get("end"), b"2");
        assert_eq!(query.get("missing"), b"");
    }

    #[test]
    fn plus_and_percent_are_decoded_in_keys_and_values() {
        let query = Query::parse("be%67in=a+b%2bc%C3%A9&=x");
        assert_eq!(query.get("begin"), "a b+cé".as_bytes());
        assert_eq!(query.get(""), b"x");
    }

    #[test]
    fn malformed_pairs_are_dropped_as_in_go() {
        for malformed in
            ["begin=%", "begin=%4", "begin=%zz", "begin=%4g", "begin=%+1", "b;egin=1", "begin=1;2"]
        {
            let query = Query::parse(&format!("{malformed}&end=2"));
            assert_eq!(query.print(), "map[end:[2]]", "{malformed}");
        }
        assert_eq!(Query::parse("&&a&b=&c=d=e&").print(), "map[a:[] b:[] c:[d=e]]");
    }

    #[test]
    fn a_query_prints_like_a_go_map_with_sorted_keys() {
        assert_eq!(Query::parse("").print(), "map[]");
        assert_eq!(
            Query::parse("end=2&b=%0a&begin=1&begin=3").print(),
            "map[b:[\u{fffd}] begin:[1 3] end:[2]]"
        );
    }

    #[test]
    fn escaping_is_that_of_go() {
        assert_eq!(escape("aZ09-_.~ +&=%/é"), "aZ09-_.~+%2B%26%3D%25%2F%C3%A9");
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(value in any::<String>()) {
            prop_assert_eq!(unescape(&escape(&value)), Some(value.into_bytes()));
        }

        #[test]
        fn any_query_is_read_and_printed(text in any::<String>()) {
            Query::parse(&text).print();
        }
    }
}
