//! The secret by which a server knows its clients.

use std::fmt;

/// What a client shows and a server asks for: at most [`Token::MAX`] bytes. It does not print itself.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// The longest that a hello has room for, in bytes.
    pub const MAX: usize = 256;

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Token {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Takes as long wherever the first difference is.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_as_itself_alone_and_is_not_printed() {
        let token = |bytes: &str| Token::from(bytes.as_bytes().to_vec());
        assert_eq!(token("sesame"), token("sesame"));
        for other in ["", "sesam", "sesame ", "tesame", "sesamf"] {
            assert_ne!(token("sesame"), token(other));
        }
        assert!(!format!("{:?}", token("sesame")).contains("sesame"));
    }
}
