//! Two layers that are one file: has a squash left them so?

use std::collections::BTreeSet;

use super::{ChainError, Replica};
use crate::error::Result;
use crate::stamp::FileId;

impl Replica {
    /// Fails when two of `layers` are one file: what is written to one of them is written to the other.
    ///
    /// # Errors
    ///
    /// [`ChainError::HalfSquashed`], or [`ChainError::OneFile`] where it does not show which of them is older.
    pub fn refuse_one_file<'a>(&'a self, layers: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut seen: Vec<(FileId, &str)> = vec![];
        for name in layers {
            // Whoever opens one that is not there says so.
            let Ok(metadata) = std::fs::symlink_metadata(self.path(name)) else { continue };
            let id = FileId::from_metadata(&metadata);
            let Some((_, other)) = seen.iter().find(|(other, _)| *other == id) else {
                seen.push((id, name));
                continue;
            };
            let parent = |name: &str| Some(&*self.layers().get(name)?.parent);
            let error = match squashed(other, name, &self.volume().head, parent) {
                Some((old, new)) => {
                    ChainError::HalfSquashed { old: self.path(old), new: self.path(new) }
                }
                None => ChainError::OneFile { layer: self.path(other), other: self.path(name) },
            };
            return Err(error.into());
        }
        Ok(())
    }
}

/// Which of two layers that are one file is the oldest and which the newest of those that a squash was making
/// one; `None` where that does not show.
pub(super) fn squashed<'a>(
    one: &'a str,
    other: &'a str,
    head: &'a str,
    parent: impl Fn(&str) -> Option<&'a str>,
) -> Option<(&'a str, &'a str)> {
    let leads_to = |from: &'a str, to: &str| {
        let mut seen = BTreeSet::new();
        let mut chain = std::iter::successors(Some(from), |name| parent(name));
        chain.by_ref().take_while(|name| seen.insert(*name)).any(|name| name == to)
    };
    match (leads_to(one, other), leads_to(other, one)) {
        (true, false) => return Some((other, one)),
        (false, true) => return Some((one, other)),
        (true, true) => return None,
        (false, false) if parent(one).is_none() || parent(one) != parent(other) => return None,
        (false, false) => {}
    }
    // The oldest is in nobody's chain any more.
    match (leads_to(head, one), leads_to(head, other)) {
        (true, false) => Some((other, one)),
        (false, true) => Some((one, other)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_of_two_names_is_the_one_below_or_the_one_that_the_head_does_not_lead_to() {
        let find = |layers: &'static [(&str, &str)]| {
            squashed("a", "b", "head", |name| {
                layers.iter().find(|(layer, _)| *layer == name).map(|(_, parent)| *parent)
            })
        };
        for (layers, expected) in [
            (&[("a", "x"), ("x", "b"), ("b", "")][..], Some(("b", "a"))),
            (&[("b", "a"), ("a", "")], Some(("a", "b"))),
            (&[("head", "b"), ("b", "base"), ("a", "base"), ("base", "")], Some(("a", "b"))),
            (&[("head", "base"), ("b", "base"), ("a", "base"), ("base", "")], None),
            (&[("head", "b"), ("b", "x"), ("a", "base")], None),
            (&[("a", "b"), ("b", "a")], None),
            (&[("head", "x"), ("x", "head"), ("a", ""), ("b", "")], None),
        ] {
            assert_eq!(find(layers), expected, "{layers:?}");
        }
    }
}
