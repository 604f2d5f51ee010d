//! Why a session failed, or was refused: what a peer may do about it goes by this.

/// The words say why.
pub const OTHER: u16 = 1;
/// What came is not understood.
pub const NOT_UNDERSTOOD: u16 = 2;
/// No version in common.
pub const VERSIONS: u16 = 3;
/// Wrong token, or none.
pub const TOKEN: u16 = 4;
/// The path is not to be had.
pub const PATH: u16 = 5;
/// In use by another session or process.
pub const IN_USE: u16 = 6;
/// Nobody may write.
pub const READ_ONLY: u16 = 7;
/// Too many sessions.
pub const BUSY: u16 = 8;
/// No space.
pub const FULL: u16 = 9;
/// The source changed.
pub const CHANGED: u16 = 10;
/// The receipts differ.
pub const RECEIPTS: u16 = 11;
/// Stopped by a person.
pub const STOPPED: u16 = 12;
/// TLS is needed.
pub const TLS: u16 = 13;
/// The server receives one image, and sends none.
pub const RECEIVES_ONLY: u16 = 14;
/// Block devices are not served.
pub const NO_DEVICES: u16 = 15;
