//! The command line: options are taken out by name, and what is left are the operands.

use std::env;
use std::str::FromStr;

use crate::failure::{Failure, Result};
use crate::image::BLOCK;

/// The words of a command line that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Args {
    words: Vec<String>,
}

impl Args {
    /// The words of this process, without its name.
    pub(crate) fn from_env() -> Result<Self> {
        let words = env::args_os().skip(1).map(|word| {
            word.into_string()
                .map_err(|word| Failure::Usage(format!("not UTF-8: {}", word.display())))
        });
        Ok(Self { words: words.collect::<Result<_>>()? })
    }

    /// Takes the first word.
    pub(crate) fn command(&mut self) -> Result<String> {
        if self.words.is_empty() {
            return Err(Failure::Usage("a subcommand is missing".to_owned()));
        }
        Ok(self.words.remove(0))
    }

    /// Takes what follows the word `--`, and the word itself; nothing when it is not there.
    pub(crate) fn after_dashes(&mut self) -> Vec<String> {
        let Some(at) = self.words.iter().position(|word| word == "--") else {
            return Vec::new();
        };
        let rest = self.words.split_off(at + 1);
        self.words.truncate(at);
        rest
    }

    /// Takes the option `name`; tells whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.is_some_and(|at| self.words.remove(at) == name)
    }

    /// Takes the option `name` and the word after it.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 == self.words.len() {
            return Err(Failure::Usage(format!("{name} needs a value")));
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    /// Takes the option `name` and the number after it, or takes nothing and answers `default`.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.text(name)? else {
            return Ok(default);
        };
        text.parse().map_err(|_| Failure::Usage(format!("{name}: not a number: {text}")))
    }

    /// Takes `--threads`, at least 1.
    pub(crate) fn threads(&mut self) -> Result<usize> {
        match self.number("--threads", 4)? {
            0 => Err(Failure::Usage("--threads: at least 1".to_owned())),
            threads => Ok(threads),
        }
    }

    /// Takes `--chunk-kib` and answers it in bytes: a multiple of the block, at most 1 GiB.
    pub(crate) fn chunk(&mut self) -> Result<usize> {
        let kib: usize = self.number("--chunk-kib", 1024)?;
        if kib == 0 || kib > 1 << 20 || !(kib << 10).is_multiple_of(BLOCK) {
            let problem = format!("--chunk-kib: not a multiple of 4 up to 1048576: {kib}");
            return Err(Failure::Usage(problem));
        }
        Ok(kib << 10)
    }

    /// Takes `--unit` and answers it in bytes: a multiple of the block; one block when it is not there.
    pub(crate) fn unit(&mut self) -> Result<u64> {
        let unit = self.text("--unit")?.map_or(Ok(BLOCK as u64), |text| parse_bytes(&text))?;
        match unit > 0 && unit.is_multiple_of(1024) {
            true => Ok(unit),
            false => Err(Failure::Usage(format!("--unit: no multiple of 1024: {unit}"))),
        }
    }

    /// The operands: exactly `N` words must be left, and none may look like an option.
    pub(crate) fn operands<const N: usize>(self) -> Result<[String; N]> {
        if let Some(option) = self.words.iter().find(|word| word.starts_with("--")) {
            return Err(Failure::Usage(format!("no such option here: {option}")));
        }
        <[String; N]>::try_from(self.words)
            .map_err(|words| Failure::Usage(format!("{N} operands expected, not {}", words.len())))
    }
}

/// Reads a number of bytes with an optional suffix K, M or G.
pub(crate) fn parse_bytes(text: &str) -> Result<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| Failure::Usage(format!("not a number of bytes: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        Args { words: words.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn options_are_taken_from_anywhere() {
        let mut args = args(&["a", "--threads", "7", "b", "--buffered"]);
        assert_eq!(args.threads().unwrap(), 7);
        assert!(args.flag("--buffered"));
        assert!(!args.flag("--buffered"));
        assert_eq!(args.operands::<2>().unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_nobody_took_is_refused() {
        assert!(args(&["a", "--colour"]).operands::<2>().is_err());
        assert!(args(&["a"]).operands::<2>().is_err());
        assert!(args(&["--threads"]).threads().is_err());
        assert!(args(&["--chunk-kib", "3"]).chunk().is_err());
    }

    #[test]
    fn a_command_stands_after_the_dashes() {
        let mut args = args(&["--report", "r", "--", "dd", "--report", "--"]);
        assert_eq!(args.after_dashes(), ["dd", "--report", "--"]);
        assert_eq!(args.text("--report").unwrap().as_deref(), Some("r"));
        assert_eq!(args.operands::<0>().unwrap(), [""; 0]);
    }

    #[test]
    fn bytes_have_binary_suffixes() {
        assert_eq!(parse_bytes("10").unwrap(), 10);
        assert_eq!(parse_bytes("2K").unwrap(), 2048);
        assert_eq!(parse_bytes("3G").unwrap(), 3 << 30);
        for wrong in ["", "K", "-1", "1T", "99999999999G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
