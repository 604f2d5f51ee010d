use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use lacuna::checksum_file::{ChecksumFile, parse_change_time};
use lacuna::digest::Crc64;
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::process::Signal;

use crate::common::{expect, interrupt, json, keys, lacuna, names, sample, text};

const KEYS: [&str; 10] = [
    "checksum_file",
    "data_bytes",
    "digest",
    "elapsed_seconds",
    "hole_bytes",
    "image",
    "method",
    "read_bytes",
    "size_bytes",
    "zero_bytes",
];

const CHECK_KEYS: [&str; 6] =
    ["digest", "elapsed_seconds", "image", "read_bytes", "recorded", "verdict"];

fn hash(image: &Path, more: &[&str]) -> Command {
    let mut hash = lacuna();
    hash.arg("hash").args(more).arg(image);
    hash
}

#[test]
fn digests_are_those_of_others_and_only_data_is_read() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let image = mount.path().join("disk.img");
    sample().write(&image);
    let line = |more: &[&str]| expect(&hash(&image, more).output().unwrap(), 0).0;
    let crc = Crc64::of(&sample().bytes()).to_string();
    assert_eq!(line(&[]), format!("{crc}  {}\n", image.display()));
    assert_eq!(line(&["--method=crc64", "--jobs", "1", "--direct"]), line(&["--buffered"]));
    let sha512sum = Command::new("sha512sum").arg(&image).output().unwrap();
    assert_eq!(line(&["--method", "sha512"]), text(&sha512sum.stdout));
    let output = hash(&image, &["--method", "blake3", "--json"]).output().unwrap();
    let report = json(&expect(&output, 0).0);
    assert_eq!(keys(&report), KEYS);
    assert_eq!((&report["method"], &report["checksum_file"]), (&"blake3".into(), &().into()));
    assert_eq!(report["digest"].as_str().map(str::len), Some(64));
    assert_eq!(report["read_bytes"], report["data_bytes"]);
    assert_eq!(line(&["--quiet"]), "");
    assert_eq!(names(mount.path()), ["disk.img", "lost+found"]);
}

#[test]
fn a_checksum_file_is_written_as_longhorn_writes_it() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    sample().write(&image);
    let mut command = hash(&image, &["--write", "--json"]);
    let report = json(&expect(&command.env("TZ", "Asia/Kolkata").output().unwrap(), 0).0);
    assert_eq!(keys(&report), KEYS);
    let name = format!("{}.checksum", image.display());
    assert_eq!(report["checksum_file"], name);
    let recorded = ChecksumFile::read(&image).unwrap().unwrap();
    assert_eq!(recorded.checksum, Crc64::of(&sample().bytes()).to_string());
    assert_eq!((recorded.method.as_str(), recorded.silently_corrupted), ("crc64", false));
    assert!(recorded.change_time.ends_with(" +0530 IST"), "{}", recorded.change_time);
    let ctime = std::fs::metadata(&image).unwrap().ctime();
    assert_eq!(parse_change_time(&recorded.change_time).unwrap().as_second(), ctime);
    let at = &recorded.last_hashed_at;
    assert!(at.len() == 20 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");
    let hashed_at: jiff::Timestamp = at.parse().unwrap();
    assert!(hashed_at.as_second() >= ctime && hashed_at <= jiff::Timestamp::now());
    let (out, err) = expect(&hash(&image, &["--write"]).output().unwrap(), 0);
    assert_eq!(out, format!("{}  {}\n", recorded.checksum, image.display()));
    assert!(err.contains("disk.img.checksum is written"), "{err}");
}

#[test]
fn a_dry_run_writes_no_checksum_file() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let image = mount.path().join("disk.img");
    sample().write(&image);
    let more = ["--write", "--dry-run"];
    let (out, _) = expect(&hash(&image, &more).output().unwrap(), 0);
    assert!(out.contains("would read 171 KiB and write ") && out.contains("nothing done"), "{out}");
    let output = hash(&image, &more).arg("--json").output().unwrap();
    let plan = json(&expect(&output, 0).0);
    assert_eq!((&plan["dry_run"], &plan["read_bytes"]), (&true.into(), &plan["data_bytes"]));
    assert_eq!(names(mount.path()), ["disk.img", "lost+found"]);
}

#[test]
fn sound_stale_corrupt_and_missing_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    sample().write(&image);
    let check = |verdict: &str, code: i32| {
        let (out, _) = expect(&hash(&image, &["--check"]).output().unwrap(), code);
        assert!(out.starts_with(&format!("{}: {verdict}", image.display())), "{out}");
        let report = hash(&image, &["--check", "--json", "--method=crc64"]).output().unwrap();
        let report = json(&expect(&report, code).0);
        assert_eq!(keys(&report), CHECK_KEYS);
        assert_eq!(report["verdict"], verdict);
        let (out, err) = expect(&hash(&image, &["--check", "-q"]).output().unwrap(), code);
        assert_eq!((out, err), (String::new(), String::new()));
        report
    };
    assert_eq!(check("missing", 1)["recorded"], serde_json::Value::Null);
    expect(&hash(&image, &["--write"]).output().unwrap(), 0);
    let sound = check("sound", 0);
    assert_eq!(sound["recorded"], sound["digest"]);
    let mut wrong = ChecksumFile::read(&image).unwrap().unwrap();
    wrong.checksum = "0123456789abcdef".to_owned();
    wrong.write(&image).unwrap();
    let corrupt = check("corrupt", 1);
    assert_eq!(corrupt["recorded"], "0123456789abcdef");
    assert_eq!(corrupt["digest"], sound["digest"]);
    let (out, _) = expect(&hash(&image, &["--check"]).output().unwrap(), 1);
    assert!(out.contains("says 0123456789abcdef") && out.contains("nothing wrote to it"), "{out}");
    // So much later that the change time is another one on any kernel.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let file = std::fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    drop(file);
    let stale = check("stale", 1);
    assert_eq!((&stale["digest"], &stale["read_bytes"]), (&().into(), &0.into()));
}

#[test]
fn trouble_with_a_check_is_status_2_and_else_1() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    sample().write(&image);
    let malformed = directory.path().join("disk.img.checksum");
    std::fs::write(&malformed, "{").unwrap();
    let (_, err) = expect(&hash(&image, &["--check"]).output().unwrap(), 2);
    assert!(err.contains("disk.img.checksum is malformed"), "{err}");
    for (image, words) in [
        (Path::new("/nowhere/a.img"), "no such file or directory"),
        (directory.path(), "directory"),
        (Path::new("/dev/null"), "character device"),
    ] {
        for (more, code) in [(&["--check"][..], 2), (&["--write"], 1), (&["--layout"], 1), (&[], 1)]
        {
            let (out, err) = expect(&hash(image, more).arg("--json").output().unwrap(), code);
            assert!(err.contains(words) && err.contains("what to do"), "{more:?}: {err}");
            assert_eq!(keys(&json(&out)), ["error", "remedy"]);
        }
    }
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    for (more, code) in [("--check", 2), ("--write", 1)] {
        let (_, err) = expect(&hash(device.path(), &[more]).output().unwrap(), code);
        assert!(err.contains("is a block device: it has no change time"), "{err}");
    }
    let zeros = Crc64::of(&vec![0; 1 << 20]).to_string();
    let (out, _) = expect(&hash(device.path(), &[]).output().unwrap(), 0);
    assert!(out.starts_with(&zeros), "{out}");
}

#[test]
fn options_that_contradict_each_other_are_wrong_usage() {
    for more in [
        &["--write", "--check"][..],
        &["--write", "--layout"],
        &["--check", "--layout"],
        &["--layout", "--method", "blake3"],
        &["--write", "--method", "sha512"],
        &["--check", "--method", "blake3"],
        &["--dry-run"],
        &["--method", "md5"],
        &["--direct", "--buffered"],
    ] {
        let (_, err) = expect(&hash(Path::new("a.img"), more).output().unwrap(), 2);
        assert!(!err.contains("no such file"), "{more:?}: {err}");
    }
}

#[test]
fn a_receipt_covers_kinds_and_says_where_they_come_from() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let Some(tmpfs) = Mount::new(Fs::Tmpfs) else { return };
    let (image, other) = (mount.path().join("a.img"), mount.path().join("b.img"));
    sample().write(&image);
    let receipt = |image: &Path| {
        let output = hash(image, &["--layout", "--json"]).output().unwrap();
        let report = json(&expect(&output, 0).0);
        (report["digest"].clone(), report["layout_from"].clone())
    };
    let first = receipt(&image);
    assert_eq!(first.1, "fiemap");
    sample().write(&other);
    assert_eq!(receipt(&other), first);
    let mut dug = sample();
    dug.blocks.iter_mut().filter(|block| **block == Block::Zero).for_each(|b| *b = Block::Hole);
    dug.write(&other);
    assert_ne!(receipt(&other).0, first.0);
    let far = tmpfs.path().join("a.img");
    sample().write(&far);
    assert_eq!(receipt(&far).1, "seek-hole");
    let (out, err) = expect(&hash(&image, &["--layout"]).output().unwrap(), 0);
    assert_eq!(out, format!("{}  {}\n", first.0.as_str().unwrap(), image.display()));
    assert!(err.contains("layout from FIEMAP"), "{err}");
}

#[test]
fn one_that_is_told_to_stop_stops_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    Pattern::whole(vec![Block::Data(1)]).write(&image);
    // More zeros than anybody hashes in a minute.
    std::fs::File::options().write(true).open(&image).unwrap().set_len(1 << 40).unwrap();
    let mut command = hash(&image, &["--method", "sha512"]);
    let output = interrupt(&mut command, Signal::INT, |_| true);
    let (out, err) = expect(&output, 1);
    assert!(err.contains("disk.img was stopped by a signal"), "{err}");
    assert!(err.contains("it begins anew"), "{err}");
    assert_eq!(out, "");
}
