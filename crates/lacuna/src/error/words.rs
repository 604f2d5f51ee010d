//! An error in words, as the system and Go have them.

use std::io;

/// The system's words for an error as Go prints them, which Longhorn's callers match:
/// `no space left on device`.
pub fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = words.chars();
    match (letters.next(), letters.clone().next()) {
        // Not an acronym.
        (Some(first), Some('a'..='z')) => first.to_lowercase().chain(letters).collect(),
        _ => words.to_owned(),
    }
}

/// `error` and what caused it, in one line, with the [system's words](system_words).
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if !line.is_empty() {
            line.push_str(": ");
        }
        match error.downcast_ref::<io::Error>() {
            Some(error) => line.push_str(&system_words(error)),
            None => line.push_str(&error.to_string()),
        }
        next = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_words_are_those_of_go() {
        for (number, words) in [
            (2, "no such file or directory"),
            (5, "input/output error"),
            (28, "no space left on device"),
        ] {
            assert_eq!(system_words(&io::Error::from_raw_os_error(number)), words);
        }
        assert_eq!(system_words(&io::Error::other("RFS specific error")), "RFS specific error");
    }
}
