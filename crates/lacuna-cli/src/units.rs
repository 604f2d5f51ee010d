//! Numbers for people.

use lacuna::KindBytes;

/// Bytes in binary units, with three digits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // 1023.5 and more would show as 1024.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match value {
        _ if value < 9.995 => format!("{value:.2} {unit}"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A size, and what of it has which kind.
pub(crate) fn sizes(size: u64, kinds: &KindBytes) -> String {
    format!(
        "{} ({} data, {} zero, {} hole)",
        bytes(size),
        bytes(kinds.data_bytes),
        bytes(kinds.zero_bytes),
        bytes(kinds.hole_bytes)
    )
}

/// Seconds, to what matters.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 120.0 => format!("{seconds:.0} s"),
        _ if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// How long ago something was, in whole units.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        _ if seconds < 120 => format!("{seconds} s"),
        _ if seconds < 7200 => format!("{} min", seconds / 60),
        _ if seconds < 48 * 3600 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / (24 * 3600)),
    }
}

/// A number of things, one or many.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Part of a whole, in percent; of nothing, 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_the_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_240, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (2 << 30, "2.00 GiB"),
            (150 << 20, "150 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn an_age_is_told_in_the_unit_that_fits() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
            (86_400 * 400, "400 d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(percent(1, 3), "33.3 %");
    }
}
