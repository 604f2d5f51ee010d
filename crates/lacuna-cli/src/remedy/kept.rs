//! What an operation that failed has left, and what that is good for.

use std::path::Path;

use lacuna::Kept;

use super::Words;
use crate::units;

/// In the words of the command that ran.
pub(super) fn kept(words: &Words, kept: &Kept) -> Option<String> {
    Some(match kept {
        Kept::Nothing => return None,
        Kept::Part { path, done_bytes: 0 } => format!(
            "{} holds nothing that can be relied on: the same command begins again in it, or remove it",
            path.display()
        ),
        Kept::Part { path, done_bytes } => format!(
            "the first {} are kept in {}, and the same command goes on behind them",
            units::bytes(*done_bytes),
            path.display()
        ),
        Kept::Named(path) => format!(
            "{} is complete, but may not outlast a power cut: the same command makes sure",
            path.display()
        ),
        Kept::HalfWritten(path) => format!(
            "{} is half old and half new, and marked unfinished: the same command completes it",
            path.display()
        ),
        Kept::HalfFolded { parent, freed: false } => marked(parent, words.fold),
        Kept::HalfFolded { parent, freed: true } => format!(
            "{} is marked unfinished, and {}. Over this parent the chain reads as before, and the same \
             command completes the {}",
            parent.display(),
            words.freed,
            words.fold
        ),
        Kept::HalfRebuilt(directory) => format!(
            "{} says Rebuilding until a copy is complete: the same command completes it",
            directory.display()
        ),
        Kept::HalfPruned(parent) => marked(parent, "prune"),
        Kept::HalfSquashed(newest) => format!(
            "what is to be {} is complete, but not all files are gone that it takes the place of; the chain \
             reads as before, and the same squash completes it",
            newest.display()
        ),
        Kept::HalfWrittenDevice(path) => format!(
            "{} is half old and half new: do not use it before the same command has completed it",
            path.display()
        ),
    })
}

fn marked(parent: &Path, operation: &str) -> String {
    let parent = parent.display();
    format!(
        "{parent} is marked unfinished; the chain reads as before, and the same command completes the \
         {operation}"
    )
}
