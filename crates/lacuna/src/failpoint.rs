//! Points at which tests make an operation fail, or cut the power. Nothing in a normal build.

use std::io;

/// Passes the point `name`. With the feature `failpoints`, a test can run code here, or have the point
/// return a system error by its number, as in `return(28)`.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &'static str) -> io::Result<()> {
    fail::fail_point!(name, |number| {
        let number = number.and_then(|number| number.parse().ok());
        Err(number.map_or_else(|| io::Error::other("failpoint"), io::Error::from_raw_os_error))
    });
    Ok(())
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn pass(_name: &'static str) -> io::Result<()> {
    Ok(())
}
