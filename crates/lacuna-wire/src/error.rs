//! What can be wrong with the bytes of a peer.

/// The longest excerpt of a peer's bytes that an [`Error`] shows, in bytes before escaping.
const EXCERPT: usize = 64;

/// A peer that speaks something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The body of an answer is not what the request calls for.
    #[error("expected {expected} as the answer to {request}, the peer sent {excerpt}")]
    Answer {
        /// The request that was answered, as the wire names it.
        request: &'static str,
        /// What the body should have been.
        expected: &'static str,
        /// The beginning of what came, in quotes, printable ASCII only.
        excerpt: String,
    },
    /// A message of version 2 is not what the protocol allows.
    #[error("the peer sent {what} that {reason}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What is to be sent has no room in a message.
    #[error("{what} is longer than {most}, which is all that can be sent")]
    TooLong {
        /// What.
        what: &'static str,
        /// The limit, in its own unit: bytes, or entries.
        most: usize,
    },
}

impl Error {
    pub(crate) fn answer(request: &'static str, expected: &'static str, body: &[u8]) -> Self {
        Self::Answer { request, expected, excerpt: excerpt(body) }
    }
}

fn excerpt(bytes: &[u8]) -> String {
    match bytes.split_at_checked(EXCERPT) {
        Some((head, rest)) if !rest.is_empty() => {
            format!("\"{}\" and {} more bytes", head.escape_ascii(), rest.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_expected_and_what_came() {
        let error = Error::answer("open", "true or false", b"<html>\n");
        assert_eq!(
            error.to_string(),
            "expected true or false as the answer to open, the peer sent \"<html>\\n\""
        );
    }

    #[test]
    fn an_excerpt_is_bounded_and_printable() {
        assert_eq!(excerpt(&[0xff; EXCERPT]), format!("\"{}\"", "\\xff".repeat(EXCERPT)));
        assert_eq!(excerpt(&[b'a'; 100]), format!("\"{}\" and 36 more bytes", "a".repeat(64)));
        assert!(excerpt(&vec![0; 1 << 20]).len() < 300);
    }
}
