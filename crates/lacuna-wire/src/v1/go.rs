//! Numbers, booleans and quoted text as Go's `strconv` reads and writes them, because the
//! original's error texts are made of its words.

/// Why `strconv.ParseInt` refuses a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntError {
    /// Not a decimal number.
    Syntax,
    /// A number that an int64 cannot hold; with it the nearest one that it can.
    OutOfRange(i64),
}

impl IntError {
    /// What `ParseInt` returns beside the error, which the original prints.
    pub(super) fn value(self) -> i64 {
        match self {
            Self::Syntax => 0,
            Self::OutOfRange(nearest) => nearest,
        }
    }

    /// Go's words for it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::OutOfRange(_) => "value out of range",
        }
    }
}

/// `strconv.ParseInt(text, 10, 64)`.
pub(super) fn parse_int(text: &[u8]) -> Result<i64, IntError> {
    let (nearest, digits) = match text.split_first() {
        Some((b'-', digits)) => (i64::MIN, digits),
        Some((b'+', digits)) => (i64::MAX, digits),
        _ => (i64::MAX, text),
    };
    if digits.is_empty() {
        return Err(IntError::Syntax);
    }
    let mut magnitude = 0u64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(IntError::Syntax);
        }
        // As in Go, a number that is already too long is out of range whatever follows.
        magnitude = magnitude
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte & 0x0f)))
            .ok_or(IntError::OutOfRange(nearest))?;
    }
    let value = match nearest {
        i64::MIN => 0i64.checked_sub_unsigned(magnitude),
        _ => 0i64.checked_add_unsigned(magnitude),
    };
    value.ok_or(IntError::OutOfRange(nearest))
}

/// `strconv.ParseBool(text)`; `None` for its "invalid syntax".
pub(super) fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// `strconv.Quote(text)`, but that combining marks are escaped as well.
pub(super) fn quote(text: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_quoted(&mut quoted, c);
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn push_quoted(quoted: &mut String, c: char) {
    match c {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        ' '..='~' => quoted.push(c),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\t' => quoted.push_str("\\t"),
        '\n' => quoted.push_str("\\n"),
        '\x0b' => quoted.push_str("\\v"),
        '\x0c' => quoted.push_str("\\f"),
        '\r' => quoted.push_str("\\r"),
        '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
        // What Rust's own escaping leaves alone is what Go calls printable.
        _ if c.escape_debug().len() == 1 => quoted.push(c),
        '\u{80}'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_parse_int() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("007", 7),
            ("-5", -5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_int(text.as_bytes()), Ok(value), "{text}");
        }
        for text in
            ["", "-", "+", "abc", "1_000", "0x10", " 1", "1 ", "1.0", "--1", "١", "1/", "1:"]
        {
            assert_eq!(parse_int(text.as_bytes()), Err(IntError::Syntax), "{text}");
        }
        for (text, nearest) in [
            ("9223372036854775808", i64::MAX),
            ("-9223372036854775809", i64::MIN),
            ("18446744073709551616", i64::MAX),
            ("-99999999999999999999999999", i64::MIN),
            ("99999999999999999999x", i64::MAX),
        ] {
            assert_eq!(parse_int(text.as_bytes()), Err(IntError::OutOfRange(nearest)), "{text}");
        }
    }

    #[test]
    fn booleans_are_exactly_those_of_parse_bool() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse_bool(text.as_bytes()), Some(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse_bool(text.as_bytes()), Some(false), "{text}");
        }
        for text in ["", "yes", "tRUE", "true ", "2", "on"] {
            assert_eq!(parse_bool(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn quoting_is_that_of_go() {
        let cases: [(&[u8], &str); 9] = [
            (b"abc 'x'", r#""abc 'x'""#),
            (b"\"\\", r#""\"\\""#),
            (b"\x07\x08\t\n\x0b\x0c\r", r#""\a\b\t\n\v\f\r""#),
            (b"\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            (b"\xff\xc3(", r#""\xff\xc3(""#),
            ("größe 世".as_bytes(), "\"größe 世\""),
            ("\u{a0}\u{ad}\u{202e}".as_bytes(), r#""\u00a0\u00ad\u202e""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
            (b"", r#""""#),
        ];
        for (text, quoted) in cases {
            assert_eq!(quote(text), quoted);
        }
    }
}
