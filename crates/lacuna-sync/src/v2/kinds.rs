//! What this crate and the wire call the same things.

use lacuna::{BLOCK, Image, LayoutOrigin};
use lacuna_wire::Kinds;

use crate::error::Result;

/// The kinds that `image` shows, and holds.
pub(super) fn kinds_of(image: &Image) -> Result<Kinds> {
    Ok(kinds_from(LayoutOrigin::of(image)?, image.allocation_unit()))
}

/// Where the layout of an image comes from that holds these `kinds`.
pub(super) fn origin_of(kinds: Kinds) -> LayoutOrigin {
    match kinds {
        Kinds::Three => LayoutOrigin::Fiemap,
        Kinds::Two => LayoutOrigin::SeekHole,
        Kinds::One => LayoutOrigin::Device,
    }
}

/// Those of an image whose layout comes from `origin`, in units of `unit`.
pub(super) fn kinds_from(origin: LayoutOrigin, unit: u64) -> Kinds {
    match origin {
        LayoutOrigin::Device => Kinds::One,
        // A block of it may be of two kinds.
        _ if unit > BLOCK => Kinds::One,
        LayoutOrigin::Fiemap => Kinds::Three,
        LayoutOrigin::SeekHole => Kinds::Two,
    }
}
