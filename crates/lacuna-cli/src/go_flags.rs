//! Flags as Go's `flag` package reads them: one or two dashes, `-flag=value` or `-flag value`,
//! booleans as `-flag` or `-flag=false`; the first word that is no flag ends them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use crate::output::say;

/// The value of a flag, and so its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Int(u64),
    Text(String),
}

/// A flag with its default and what it does.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) default: Value,
    pub(crate) help: &'static str,
}

/// What a command line said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, Value>,
    /// The words after the flags.
    pub(crate) words: Vec<OsString>,
}

/// Why a command line cannot be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Help was asked for.
    Help,
    /// In Go's words.
    Wrong(String),
}

impl Stop {
    /// Ends a command that cannot be carried out.
    pub(crate) fn exit(&self, usage: &str) -> ExitCode {
        match self {
            Self::Help => {
                say(usage.lines());
                ExitCode::SUCCESS
            }
            Self::Wrong(why) => {
                say([why.as_str()].into_iter().chain(usage.lines()));
                ExitCode::from(2)
            }
        }
    }
}

impl Parsed {
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Bool(true))
    }

    pub(crate) fn int(&self, name: &str) -> u64 {
        match self.values.get(name) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }
}

/// Reads `words`, which do not include the name of the command.
pub(crate) fn parse(
    flags: &[Flag],
    words: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Stop> {
    let mut words = words.into_iter().peekable();
    let mut values: BTreeMap<_, _> =
        flags.iter().map(|flag| (flag.name, flag.default.clone())).collect();
    let is_flag = |word: &OsString| word.len() > 1 && word.as_encoded_bytes().starts_with(b"-");
    while let Some(word) = words.next_if(is_flag) {
        if word == "--" {
            break;
        }
        let word = text(word)?;
        let body = word.strip_prefix("--").or(word.strip_prefix('-')).unwrap_or(&word);
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(Stop::Wrong(format!("bad flag syntax: {word}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
            return Err(match name {
                "h" | "help" => Stop::Help,
                _ => Stop::Wrong(format!("flag provided but not defined: -{name}")),
            });
        };
        let value = match (&flag.default, value) {
            (Value::Bool(_), None) => Value::Bool(true),
            (kind, Some(value)) => read(kind, name, value)?,
            (kind, None) => match words.next() {
                Some(word) => read(kind, name, text(word)?)?,
                None => return Err(Stop::Wrong(format!("flag needs an argument: -{name}"))),
            },
        };
        values.insert(flag.name, value);
    }
    Ok(Parsed { values, words: words.collect() })
}

fn text(word: OsString) -> Result<String, Stop> {
    word.into_string().map_err(|word| Stop::Wrong(format!("bad flag syntax: {word:?}")))
}

fn read(kind: &Value, name: &str, text: String) -> Result<Value, Stop> {
    let parsed = match kind {
        Value::Text(_) => return Ok(Value::Text(text)),
        Value::Int(_) => text.parse().ok().map(Value::Int),
        Value::Bool(_) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
    };
    let noun = if matches!(kind, Value::Bool(_)) { "boolean value" } else { "value" };
    let wrong = || Stop::Wrong(format!("invalid {noun} {text:?} for flag -{name}: parse error"));
    parsed.ok_or_else(wrong)
}

/// The usage, as Go prints it.
pub(crate) fn usage(command: &str, flags: &[Flag]) -> String {
    let mut text = format!("Usage of {command}:\n");
    for flag in flags {
        let (kind, default) = match &flag.default {
            Value::Bool(default) => ("", if *default { " (default true)" } else { "" }.to_owned()),
            Value::Int(default) => (" int", format!(" (default {default})")),
            Value::Text(default) if default.is_empty() => (" string", String::new()),
            Value::Text(default) => (" string", format!(" (default {default:?})")),
        };
        text.push_str(&format!("  -{}{kind}\n    \t{}{default}\n", flag.name, flag.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Vec<Flag> {
        vec![
            Flag { name: "daemon", default: Value::Bool(false), help: "serve" },
            Flag { name: "directIO", default: Value::Bool(true), help: "direct" },
            Flag { name: "port", default: Value::Int(5000), help: "port" },
            Flag { name: "host", default: Value::Text(String::new()), help: "host" },
        ]
    }

    fn parsed(line: &str) -> Result<Parsed, Stop> {
        parse(&flags(), line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let all = parsed("-daemon --port=7 -host node -directIO=false file -port 8").unwrap();
        assert!(all.bool("daemon") && !all.bool("directIO"));
        assert_eq!((all.int("port"), all.text("host")), (7, "node"));
        assert_eq!(all.words, ["file", "-port", "8"]);
        let none = parsed("").unwrap();
        assert!(!none.bool("daemon") && none.bool("directIO") && none.words.is_empty());
        assert_eq!(none.int("port"), 5000);
    }

    #[test]
    fn a_boolean_takes_no_word_after_it() {
        assert_eq!(parsed("-directIO false").unwrap().words, ["false"]);
    }

    #[test]
    fn two_dashes_alone_end_the_flags_and_one_is_a_word() {
        assert_eq!(parsed("-- -daemon").unwrap().words, ["-daemon"]);
        assert_eq!(parsed("- -daemon").unwrap().words, ["-", "-daemon"]);
    }

    #[test]
    fn mistakes_are_told_in_go_s_words() {
        for (line, words) in [
            ("-nothing", "flag provided but not defined: -nothing"),
            ("-port", "flag needs an argument: -port"),
            ("-port=x", "invalid value \"x\" for flag -port: parse error"),
            ("-daemon=maybe", "invalid boolean value \"maybe\" for flag -daemon: parse error"),
            ("---port=1", "bad flag syntax: ---port=1"),
            ("-=1", "bad flag syntax: -=1"),
        ] {
            assert_eq!(parsed(line), Err(Stop::Wrong(words.to_owned())));
        }
        assert_eq!(parsed("--help"), Err(Stop::Help));
    }
}
