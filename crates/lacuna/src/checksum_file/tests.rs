use super::*;
use crate::stamp::FileId;

fn stamp(seconds: i64, nanoseconds: i64) -> Stamp {
    Stamp {
        id: FileId { device: 1, inode: 1 },
        size: 0,
        mtime: (0, 0),
        ctime: (seconds, nanoseconds),
    }
}

fn printed(seconds: i64, nanoseconds: i64, zone: &TimeZone) -> String {
    change_time(&stamp(seconds, nanoseconds), zone).unwrap()
}

fn zone(posix: &str) -> TimeZone {
    TimeZone::posix(posix).unwrap()
}

#[test]
fn a_change_time_is_printed_as_go_prints_it() {
    let utc = TimeZone::UTC;
    let seconds = 1_669_739_200;
    assert_eq!(printed(seconds, 297_975_939, &utc), "2022-11-29 16:26:40.297975939 +0000 UTC");
    assert_eq!(printed(seconds, 0, &utc), "2022-11-29 16:26:40 +0000 UTC");
    assert_eq!(printed(seconds, 500_000_000, &utc), "2022-11-29 16:26:40.5 +0000 UTC");
    assert_eq!(printed(seconds, 1_000, &utc), "2022-11-29 16:26:40.000001 +0000 UTC");
    assert_eq!(printed(seconds, 100, &utc), "2022-11-29 16:26:40.0000001 +0000 UTC");
}

#[test]
fn a_zone_has_its_offset_and_name_of_that_day() {
    let berlin = zone("CET-1CEST,M3.5.0,M10.5.0/3");
    assert_eq!(printed(1_669_739_200, 0, &berlin), "2022-11-29 17:26:40 +0100 CET");
    assert_eq!(printed(1_656_600_000, 0, &berlin), "2022-06-30 16:40:00 +0200 CEST");
    assert_eq!(printed(1_669_739_200, 0, &zone("IST-5:30")), "2022-11-29 21:56:40 +0530 IST");
    assert_eq!(printed(1_669_739_200, 0, &zone("<-03>3")), "2022-11-29 13:26:40 -0300 -03");
    assert_eq!(printed(1_669_739_200, 0, &zone("NST3:30")), "2022-11-29 12:56:40 -0330 NST");
}

#[test]
fn times_before_1970_have_their_fraction_forward() {
    assert_eq!(printed(-1, 250_000_000, &TimeZone::UTC), "1969-12-31 23:59:59.25 +0000 UTC");
}

#[test]
fn a_change_time_is_compared_as_an_instant() {
    let now = stamp(1_669_739_200, 297_975_939);
    for zone in [TimeZone::UTC, zone("CET-1CEST,M3.5.0,M10.5.0/3"), zone("<-0330>3:30")] {
        let file = ChecksumFile {
            method: CRC64.into(),
            checksum: "0470c08fbc4dc702".into(),
            change_time: change_time(&now, &zone).unwrap(),
            last_hashed_at: String::new(),
            silently_corrupted: false,
        };
        assert!(file.is_fresh(&now), "{}", file.change_time);
        assert!(!file.is_fresh(&stamp(1_669_739_200, 297_975_938)));
        assert!(!file.is_fresh(&stamp(1_669_739_201, 297_975_939)));
    }
}

#[test]
fn what_is_no_change_time_is_never_fresh() {
    for text in [
        "",
        "now",
        "2022-11-29 16:26:40",
        "2022-11-29 16:26:40 0000 UTC",
        "2022-11-29 16:26:40 +00 UTC",
        "2022-11-29 16:26:40 +é00 UTC",
        "2022-13-29 16:26:40 +0000 UTC",
        "2022-11-29 16:26:40 +9999 UTC",
    ] {
        assert_eq!(parse_change_time(text), None, "{text}");
    }
}

#[test]
fn a_file_of_longhorn_is_read_and_written_in_its_form() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("volume-snap-a.img");
    let text = concat!(
        r#"{"method":"crc64","checksum":"0470c08fbc4dc702","#,
        r#""change_time":"2022-11-29 16:26:40.297975939 +0000 UTC","#,
        r#""last_hashed_at":"2022-11-29T16:27:01Z","silently_corrupted":false}"#,
        "\n"
    );
    std::fs::write(path_of(&image), text).unwrap();
    let file = ChecksumFile::read(&image).unwrap().unwrap();
    assert_eq!(file.checksum, "0470c08fbc4dc702");
    assert!(file.is_fresh(&stamp(1_669_739_200, 297_975_939)));
    ChecksumFile::remove(&image).unwrap();
    assert_eq!(ChecksumFile::read(&image).unwrap(), None);
    file.write(&image).unwrap();
    assert_eq!(std::fs::read_to_string(path_of(&image)).unwrap(), text);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_malformed_or_huge_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a.img");
    for bytes in [b"{".to_vec(), vec![b' '; 1 << 20]] {
        std::fs::write(path_of(&image), bytes).unwrap();
        let error = ChecksumFile::read(&image).unwrap_err().to_string();
        assert!(error.contains("a.img.checksum"), "{error}");
    }
}
