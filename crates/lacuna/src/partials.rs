//! What interrupted sessions left in a directory and in those below it: found, and removed.
//!
//! A session has locked what it writes: the part of a new image, or the image itself. What belongs to
//! either is removed under the same lock, taken exclusively, so that no session loses what it is at work on;
//! who comes meanwhile waits for a moment, and finds that the name leads elsewhere. Where there is nothing to
//! lock, the directory is: no session puts anything there as long as that is so. A record is gone for good
//! before its part goes: nothing may vouch for another part of that name. Marks stay: the image beside one is
//! half written.

mod guard;
mod leftover;
mod walk;

use std::path::{Path, PathBuf};

use crate::beside;
use crate::error::{Error, Result};
use crate::progress::Cancel;
use guard::Guard;
pub use leftover::{Leftover, LeftoverKind};
use walk::Walk;

/// What was found, and what was done about it.
#[derive(Debug, Default)]
pub struct Partials {
    /// In the order of the directories; what belongs to one image stands together.
    pub leftovers: Vec<Leftover>,
    /// What this user may not look into, so that no session of this user was there.
    pub unread: Vec<PathBuf>,
    /// What could not be looked at or removed.
    pub errors: Vec<Error>,
}

/// What is left in `directory` and in those below it, on its filesystem, links not followed. Writes
/// nothing.
///
/// # Errors
///
/// When `directory` itself cannot be listed.
pub fn plan(directory: &Path) -> Result<Partials> {
    each_group(directory, &Cancel::default(), |group| {
        look(group);
        Ok(())
    })
}

/// Removes what is left there, durably, but for what is in use and for marks. What fails is in
/// [`Partials::errors`], and the rest is removed all the same.
///
/// # Errors
///
/// When `directory` itself cannot be listed, and [`Error::Cancelled`]: what was removed by then is gone.
pub fn apply(directory: &Path, cancel: &Cancel) -> Result<Partials> {
    each_group(directory, cancel, |group| match group.iter().all(Leftover::is_mark) {
        true => {
            look(group);
            Ok(())
        }
        false => remove(group),
    })
}

/// Does `act` to all that is left, what one lock guards at a time.
fn each_group(
    directory: &Path,
    cancel: &Cancel,
    act: impl Fn(&mut Vec<Leftover>) -> Result<()>,
) -> Result<Partials> {
    let mut walk = Walk::new(directory)?;
    let (mut leftovers, mut errors) = (vec![], vec![]);
    while let Some(here) = walk.next_directory() {
        cancel.check()?;
        for group in here.chunk_by(|one, other| one.guard == other.guard) {
            cancel.check()?;
            let mut group = group.to_vec();
            errors.extend(act(&mut group).err());
            leftovers.append(&mut group);
        }
    }
    let Walk { unread, errors: unseen, .. } = walk;
    errors.extend(unseen);
    Ok(Partials { leftovers, unread, errors })
}

/// Finds out whether a session has what guards these.
fn look(group: &mut [Leftover]) {
    let Some(first) = group.first() else { return };
    let in_use = Guard::ask(&first.guard).ok().map(|guard| matches!(guard, Guard::InUse));
    group.iter_mut().for_each(|leftover| leftover.in_use = in_use);
}

/// Removes these in their order, unless they are in use.
fn remove(group: &mut Vec<Leftover>) -> Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    let guard = Guard::take(&first.guard, first.is_of_part())?;
    if matches!(guard, Guard::Absent { .. }) {
        // A part that is gone got its name, or was removed.
        group.retain(|leftover| leftover.kind != LeftoverKind::Part);
    }
    let in_use = matches!(guard, Guard::InUse);
    group.iter_mut().for_each(|leftover| leftover.in_use = Some(in_use));
    for leftover in group.iter_mut().filter(|leftover| !in_use && !leftover.is_mark()) {
        if leftover.is_only_name()? {
            continue;
        }
        beside::remove_alone(&leftover.path)?;
        leftover.removed = true;
    }
    Ok(())
}
