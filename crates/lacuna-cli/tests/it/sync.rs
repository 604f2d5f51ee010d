//! `lacuna sync`: what it does, and reports.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use lacuna::checksum_file::{self, ChecksumFile};
use lacuna::digest::Crc64;
use lacuna::{Image, ImageOptions};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, kinds_of};

use crate::common::{Server, aligned, expect, json, keys, lacuna, names, sample};

/// The keys of the report, sorted.
const KEYS: [&str; 18] = [
    "compared_bytes",
    "data_bytes",
    "elapsed_seconds",
    "hole_bytes",
    "protocol",
    "read_bytes",
    "reflinked_bytes",
    "rest_bytes",
    "resumed_bytes",
    "sent_bytes",
    "size_bytes",
    "skipped",
    "source",
    "target",
    "target_layout_from",
    "wire_bytes",
    "written_bytes",
    "zero_bytes",
];

#[test]
fn a_local_sync_reproduces_content_and_kinds_and_reports_what_it_did() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    let pattern = sample();
    pattern.write(&source);
    let sync = || lacuna().args(["sync", "--json"]).args([&source, &target]).output().unwrap();
    let report = json(&expect(&sync(), 0).0);
    assert_eq!(keys(&report), KEYS);
    assert_eq!(report["protocol"], "local");
    assert_eq!(report["size_bytes"], pattern.size);
    assert_eq!(report["zero_bytes"], 9 * 4096);
    assert_eq!(report["written_bytes"], report["data_bytes"]);
    assert_eq!(std::fs::read(&target).unwrap(), pattern.bytes());
    assert_eq!(kinds_of(&target), pattern.kinds());

    let again = json(&expect(&sync(), 0).0);
    assert_eq!(again["written_bytes"], 0);
    assert_eq!(again["compared_bytes"], report["data_bytes"]);
    assert_eq!(names(mount.path()), ["a.img", "b.img", "lost+found"]);
}

#[test]
fn a_sync_to_a_server_reproduces_content_and_holes() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    for pattern in [aligned(), sample()] {
        pattern.write(&source);
        let server = Server::serve(&target);
        let output = lacuna().args(["sync", "--json"]).arg(&source).arg(server.url()).output();
        let report = json(&expect(&output.unwrap(), 0).0);
        assert_eq!(keys(&report), KEYS);
        assert_eq!(report["protocol"], "v1");
        assert!(report["wire_bytes"].as_u64() > report["sent_bytes"].as_u64());
        let (status, _, err) = server.wait();
        assert!(status.success(), "{err}");
        assert_eq!(std::fs::read(&target).unwrap(), pattern.bytes());
        let allocated = |path| {
            kinds_of(path)
                .iter()
                .map(|kind| *kind != lacuna_testing::pattern::Kind::Hole)
                .collect::<Vec<_>>()
        };
        assert_eq!(allocated(&target), allocated(&source));
    }
}

#[test]
fn a_dry_run_writes_nothing_and_asks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let output =
        lacuna().args(["sync", "--dry-run", "--json"]).args([&source, &target]).output().unwrap();
    let plan = json(&expect(&output, 0).0);
    assert_eq!(plan["written_bytes_max"], plan["data_bytes"]);
    assert_eq!(plan["dry_run"], true);
    let output =
        lacuna().args(["sync", "--dry-run"]).arg(&source).arg("ssync://127.0.0.1:1").output();
    let (out, _) = expect(&output.unwrap(), 0);
    assert!(out.contains("nothing done"), "{out}");
    assert!(out.contains("to a server that has nothing yet (it was not asked)"), "{out}");
    assert!(!out.contains("compare"), "{out}");
    assert_eq!(names(directory.path()), ["a.img"]);
}

#[test]
fn a_dry_run_that_compares_tells_exactly_what_is_written_then() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    let mut changed = sample();
    changed.blocks[3] = Block::Data(9);
    changed.blocks[45] = Block::Data(9);
    changed.blocks[60] = Block::Zero;
    sample().write(&target);
    changed.write(&source);
    let sync = |more: &[&str]| {
        let output = lacuna().args(["sync", "--json"]).args(more).args([&source, &target]).output();
        json(&expect(&output.unwrap(), 0).0)
    };
    let (planned, compared) = (sync(&["--dry-run"]), sync(&["--dry-run", "--compare"]));
    assert_eq!(planned["written_bytes_max"], planned["data_bytes"]);
    assert_eq!(
        keys(&planned),
        keys(&compared).into_iter().filter(|key| *key != "written_bytes").collect::<Vec<_>>()
    );
    assert_eq!(
        (&compared["written_bytes"], &compared["cleared_bytes"]),
        (&8192.into(), &4096.into())
    );
    let mut dry_run = lacuna();
    dry_run.args(["sync", "--dry-run", "--compare"]).args([&source, &target]);
    let (out, _) = expect(&dry_run.output().unwrap(), 0);
    assert!(out.contains(", write 8.00 KiB, punch or zero 4.00 KiB\n"), "{out}");
    assert_eq!(names(mount.path()), ["a.img", "b.img", "lost+found"]);
    assert_eq!(std::fs::read(&target).unwrap(), sample().bytes());
    let synced = sync(&[]);
    for key in ["written_bytes", "read_bytes", "compared_bytes"] {
        assert_eq!(compared[key], synced[key], "{key}");
    }
    assert_eq!(sync(&["--dry-run", "--compare"])["written_bytes"], 0);
}

#[test]
fn a_new_target_has_the_source_s_permissions_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sample().write(&path("a.img"));
    std::fs::set_permissions(path("a.img"), PermissionsExt::from_mode(0o440)).unwrap();
    let sync = |target: &str, more: &[&str]| {
        let sync = lacuna().arg("sync").args(more).arg(path("a.img")).arg(path(target)).output();
        expect(&sync.unwrap(), 0);
        std::fs::metadata(path(target)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(sync("b.img", &[]), 0o440);
    assert_eq!(sync("c.img", &["--chmod", "604"]), 0o604);
}

#[test]
fn a_sync_shares_space_where_the_filesystem_can_unless_told_otherwise() {
    let Some(xfs) = Mount::new(Fs::Xfs) else { return };
    let Some(ext4) = Mount::new(Fs::Ext4) else { return };
    let source = xfs.path().join("a.img");
    sample().write(&source);
    let run = 40 * 4096;
    let synced = |more: &[&str], name: &str| {
        let target = xfs.path().join(name);
        let mut sync = lacuna();
        sync.args(["sync", "--json"]).args(more).arg(&source).arg(&target);
        let report = json(&expect(&sync.output().unwrap(), 0).0);
        assert!(std::fs::read(&target).unwrap() == sample().bytes());
        assert_eq!(kinds_of(&target), sample().kinds());
        let bytes = |key: &str| report[key].as_u64().unwrap();
        assert_eq!(bytes("written_bytes") + bytes("reflinked_bytes"), bytes("data_bytes"));
        bytes("reflinked_bytes")
    };
    assert_eq!(synced(&[], "b.img"), run);
    assert_eq!(synced(&["--reflink", "always"], "c.img"), run);
    assert_eq!(synced(&["--reflink=never"], "d.img"), 0);
    let output = lacuna().arg("sync").arg(&source).arg(xfs.path().join("e.img")).output();
    let (out, _) = expect(&output.unwrap(), 0);
    assert!(out.ends_with(", reflinked 160 KiB\n"), "{out}");

    let far = ext4.path().join("b.img");
    let mut sync = lacuna();
    sync.args(["sync", "--reflink", "always"]).arg(&source).arg(&far);
    let (_, err) = expect(&sync.output().unwrap(), 1);
    assert!(err.contains("cannot share space") && err.contains("--reflink auto"), "{err}");
    let (out, _) = expect(&lacuna().arg("sync").arg(&source).arg(&far).output().unwrap(), 0);
    assert!(!out.contains("reflinked"), "{out}");
}

#[test]
fn equal_fresh_checksums_are_enough_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let image = Image::open(&source, &ImageOptions::default()).unwrap();
    let change_time = checksum_file::change_time(&image.stamp().unwrap(), &jiff::tz::TimeZone::UTC);
    let recorded = ChecksumFile {
        method: "crc64".to_owned(),
        checksum: Crc64::of(&aligned().bytes()).to_string(),
        change_time: change_time.unwrap(),
        last_hashed_at: String::new(),
        silently_corrupted: false,
    };
    recorded.write(&source).unwrap();
    drop(image);
    let sync = |more: &[&str]| {
        let server = Server::serve(&target);
        let mut sync = lacuna();
        sync.args(["sync", "--json"]).args(more).arg(&source).arg(server.url());
        let report = json(&expect(&sync.output().unwrap(), 0).0);
        assert!(server.wait().0.success());
        report
    };
    assert_eq!(sync(&[])["skipped"], false);
    let copied = ChecksumFile::read(&target).unwrap().unwrap();
    assert_eq!(copied.checksum, recorded.checksum);
    assert_eq!(sync(&[])["skipped"], true);
    let compared = sync(&["--no-fast"]);
    assert_eq!(compared["skipped"], false);
    assert!(compared["compared_bytes"].as_u64() > Some(0));
}

#[test]
fn a_name_need_not_be_text() {
    let directory = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| directory.path().join(std::ffi::OsStr::from_bytes(bytes));
    let (source, target) = (name(b"a\xff.img"), name(b"b\xfe.img"));
    sample().write(&source);
    expect(&lacuna().arg("sync").args([&source, &target]).output().unwrap(), 0);
    assert_eq!(std::fs::read(&target).unwrap(), sample().bytes());
}

#[test]
fn a_device_is_synced_and_its_rest_left_alone() {
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    let pattern = aligned();
    pattern.write(&source);
    std::fs::write(device.path(), vec![9; 1 << 20]).unwrap();
    let mut dry_run = lacuna();
    dry_run.args(["sync", "--dry-run"]).arg(&source).arg(device.path());
    let (out, _) = expect(&dry_run.output().unwrap(), 0);
    assert!(out.contains("would leave the last 612 KiB of the target alone"), "{out}");
    assert!(!out.contains("free"), "{out}");
    let output = lacuna().args(["sync", "--json"]).arg(&source).arg(device.path()).output();
    let report = json(&expect(&output.unwrap(), 0).0);
    assert_eq!(report["rest_bytes"], (1 << 20) - pattern.size);
    let bytes = std::fs::read(device.path()).unwrap();
    let (copied, rest) = bytes.split_at(pattern.size as usize);
    assert!(copied == pattern.bytes());
    assert!(rest.iter().all(|byte| *byte == 9));
    let back = directory.path().join("back.img");
    expect(&lacuna().arg("sync").arg(device.path()).arg(&back).output().unwrap(), 0);
    assert!(std::fs::read(&back).unwrap() == bytes);
}
