//! A JSON object of which one value changes: all else stays as it was written, known or not.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// The keys and values of an object, in their order.
pub(super) struct Keys(Vec<(String, Box<RawValue>)>);

impl Keys {
    /// The text at `key`; `None` where there is none, or another kind of value.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        serde_json::from_str(value.get()).ok()
    }

    /// Whether there is a `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Puts `text` at `key`, where that is.
    pub(super) fn set(&mut self, key: &str, text: &str) -> serde_json::Result<()> {
        for (_, value) in self.0.iter_mut().filter(|(name, _)| name == key) {
            *value = to_raw_value(text)?;
        }
        Ok(())
    }

    /// As one line.
    pub(super) fn line(&self) -> serde_json::Result<String> {
        let mut line = String::from("{");
        for (key, value) in &self.0 {
            line += if line.len() > 1 { "," } else { "" };
            line += &format!("{}:{}", serde_json::to_string(key)?, value.get());
        }
        Ok(line + "}\n")
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = vec![];
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_value_stays_as_it_was_written() {
        let text =
            r#"{ "Z":18446744073709551617, "Parent" : "a","A":[1.50, {"b" : null}],"":"\u00e9" }"#;
        let mut keys: Keys = serde_json::from_str(text).unwrap();
        assert_eq!(keys.text("Parent").as_deref(), Some("a"));
        assert!(keys.has("A") && keys.text("A").is_none() && !keys.has("a"));
        keys.set("Parent", "b\"c").unwrap();
        keys.set("none", "x").unwrap();
        let expected =
            r#"{"Z":18446744073709551617,"Parent":"b\"c","A":[1.50, {"b" : null}],"":"\u00e9"}"#;
        assert_eq!(keys.line().unwrap(), format!("{expected}\n"));
        for other in ["[]", "1", "{\"a\":}", ""] {
            assert!(serde_json::from_str::<Keys>(other).is_err(), "{other}");
        }
    }
}
