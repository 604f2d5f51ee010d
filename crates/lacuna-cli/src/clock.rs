//! Time, as Longhorn writes it into `.checksum` files.

use jiff::tz::TimeZone;

/// RFC 3339, in UTC and whole seconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The zone of this process, as Go would choose it: what is not known is UTC.
pub(crate) fn local_zone() -> TimeZone {
    let zone = TimeZone::system();
    if zone.is_unknown() { TimeZone::UTC } else { zone }
}
