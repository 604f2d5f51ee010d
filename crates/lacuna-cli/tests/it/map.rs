use lacuna_testing::mount::{Fs, Mount};

use crate::common::{aligned, expect, lacuna, sample};

#[test]
fn map_shows_totals_a_strip_and_a_legend() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let image = mount.path().join("disk.img");
    aligned().write(&image);
    let (out, _) = expect(&lacuna().arg("map").arg(&image).output().unwrap(), 0);
    assert!(out.contains("412 KiB (421888 bytes)"), "{out}");
    assert!(out.contains("data   172 KiB   41.7 %         3 extents"), "{out}");
    assert!(out.contains("zero  36.0 KiB    8.7 %         1 extent\n"), "{out}");
    assert!(out.contains("hole   204 KiB   49.5 %         2 extents"), "{out}");
    let strip = out.lines().find(|line| line.starts_with('#')).unwrap();
    assert_eq!(strip.len(), 80);
    assert!(out.ends_with("# data  + some data  0 zero  . hole\n"), "{out}");
    assert!(!out.contains('\x1b'), "colour without a terminal: {out}");
}

#[test]
fn one_byte_is_one_byte() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("one.img");
    std::fs::write(&image, "1").unwrap();
    let (out, _) = expect(&lacuna().arg("map").arg(&image).output().unwrap(), 0);
    assert!(out.contains(": 1 B (1 byte)\n"), "{out}");
}

#[test]
fn extents_are_listed_for_people_and_programs() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let image = mount.path().join("disk.img");
    sample().write(&image);
    let (out, _) = expect(&lacuna().args(["map", "--extents"]).arg(&image).output().unwrap(), 0);
    let lines: Vec<Vec<&str>> =
        out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["0", "163840", "data"],
        ["163840", "36864", "zero"],
        ["200704", "204800", "hole"],
        ["405504", "8192", "data"],
        ["413696", "4096", "hole"],
        ["417792", "3096", "data"],
    ];
    assert_eq!(lines, expected);

    let output = lacuna().args(["map", "--json", "--extents"]).arg(&image).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&expect(&output, 0).0).unwrap();
    assert_eq!(json["layout_from"], "fiemap");
    assert_eq!(json["size_bytes"], 420_888);
    assert_eq!(json["zero_bytes"], 36_864);
    assert_eq!(json["extents"].as_array().unwrap().len(), 6);
    assert_eq!(json["extents"][2]["kind"], "hole");
    assert_eq!(json["extents"][5]["length_bytes"], 3096);
}

#[test]
fn a_layout_from_seek_hole_says_so() {
    let Some(mount) = Mount::new(Fs::Tmpfs) else { return };
    let image = mount.path().join("disk.img");
    sample().write(&image);
    let (out, _) = expect(&lacuna().arg("map").arg(&image).output().unwrap(), 0);
    assert!(out.contains("from SEEK_HOLE"), "{out}");
    let output = lacuna().args(["map", "--json"]).arg(&image).output().unwrap();
    assert!(expect(&output, 0).0.contains("\"layout_from\":\"seek-hole\""));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    let file = std::fs::File::create(&image).unwrap();
    for at in 0..4000_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", at * 8192).unwrap();
    }
    let mut child = lacuna()
        .args(["map", "--extents"])
        .arg(&image)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let (_, err) = expect(&output, 0);
    assert_eq!(err, "");
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    for (path, words) in [
        ("/nowhere/a.img", "no such file or directory"),
        ("/", "is a directory"),
        ("/dev/null", "character device"),
    ] {
        let (out, err) = expect(&lacuna().args(["map", path]).output().unwrap(), 1);
        assert!(err.contains(path) && err.contains(words) && err.contains("what to do"), "{err}");
        assert_eq!(out, "");
    }
}
