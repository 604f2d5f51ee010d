//! Images: their bytes, their space, and how they are opened and locked.

mod bytes;
mod opening;
mod space;
