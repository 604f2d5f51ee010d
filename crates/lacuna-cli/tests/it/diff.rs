use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::process::Signal;

use crate::common::{aligned, expect, interrupt, json, keys, lacuna, sample};

const KEYS: [&str; 13] = [
    "content_bytes",
    "elapsed_seconds",
    "kind_bytes",
    "kinds_compared",
    "left",
    "left_size_bytes",
    "past_end_bytes",
    "ranges",
    "read_bytes",
    "right",
    "right_size_bytes",
    "same",
    "shared_bytes",
];

fn diff(left: &Path, right: &Path, more: &[&str]) -> Command {
    let mut diff = lacuna();
    diff.arg("diff").args(more).args([left, right]);
    diff
}

/// Two images that differ in every way, and both names.
fn different(directory: &Path) -> (PathBuf, PathBuf) {
    use Block::{Data, Hole, Zero};
    let (left, right) = (directory.join("a.img"), directory.join("b.img"));
    let a = [Data(1), Data(1), Data(2), Zero, Hole, Data(0), Data(5), Data(0)];
    let b = [Data(1), Data(1), Data(3), Hole, Data(0), Data(0), Data(5), Data(0), Data(4), Hole];
    Pattern::whole(a.to_vec()).write(&left);
    Pattern::whole(b.to_vec()).write(&right);
    (left, right)
}

#[test]
fn the_same_is_0_different_is_1_and_trouble_is_2() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (left, right) = different(mount.path());
    let same = mount.path().join("same.img");
    std::fs::copy(&left, &same).unwrap();
    for (right, code) in [(&left, 0), (&right, 1), (&mount.path().join("none.img"), 2)] {
        for more in [&[][..], &["--json"], &["--ranges"], &["--json", "--ranges"], &["--quiet"]] {
            let (out, err) = expect(&diff(&left, right, more).output().unwrap(), code);
            assert_eq!(err.contains("no such file or directory"), code == 2, "{err}");
            assert_eq!(
                out.is_empty(),
                more == ["--quiet"] || code == 2 && !more.contains(&"--json")
            );
        }
    }
}

#[test]
fn people_read_how_the_two_differ() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (left, right) = different(mount.path());
    let (out, _) = expect(&diff(&left, &right, &[]).output().unwrap(), 1);
    for words in [
        "differ in 5 ranges\n",
        "content    4.00 KiB\n",
        "kind only  8.00 KiB\n",
        "past end   8.00 KiB\n",
        "sizes: 32768 and 40960 bytes\n",
        "known to be shared 0 B",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let (out, _) = expect(&diff(&left, &left, &[]).output().unwrap(), 0);
    assert!(out.contains("are the same: 32.0 KiB\n") && !out.contains("content"), "{out}");
    let (out, _) = expect(&diff(&left, &right, &["--ranges"]).output().unwrap(), 1);
    let lines: Vec<Vec<&str>> =
        out.lines().take(6).map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["start", "length", "differs", "A", "B"],
        ["8192", "4096", "content", "data", "data"],
        ["12288", "4096", "kind", "zero", "hole"],
        ["16384", "4096", "kind", "hole", "data"],
        ["32768", "4096", "past-end", "-", "data"],
        ["36864", "4096", "past-end", "-", "hole"],
    ];
    assert_eq!(lines, expected);
}

#[test]
fn programs_read_one_object_with_every_range() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let (left, right) = different(mount.path());
    let summary = json(&expect(&diff(&left, &right, &["--json"]).output().unwrap(), 1).0);
    assert_eq!(keys(&summary), KEYS);
    assert_eq!((&summary["same"], &summary["kinds_compared"]), (&false.into(), &true.into()));
    let more = ["--json", "--ranges", "--jobs", "1", "--direct"];
    let object = json(&expect(&diff(&left, &right, &more).output().unwrap(), 1).0);
    assert_eq!(object["ranges"], summary["ranges"]);
    let list = object["differences"].as_array().unwrap();
    assert_eq!(list.len(), 5);
    let first = serde_json::json!({
        "start_bytes": 8192, "length_bytes": 4096, "differs": "content",
        "left_kind": "data", "right_kind": "data",
    });
    assert_eq!(list[0], first);
    assert_eq!((&list[4]["left_kind"], &list[4]["right_kind"]), (&().into(), &"hole".into()));
    let same = json(&expect(&diff(&left, &left, &["--json", "--ranges"]).output().unwrap(), 0).0);
    assert_eq!((&same["same"], &same["differences"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn what_both_share_is_not_read() {
    let Some(mount) = Mount::new(Fs::Btrfs) else { return };
    let (left, right) = (mount.path().join("a.img"), mount.path().join("b.img"));
    aligned().write(&left);
    let status = Command::new("cp").arg("--reflink=always").args([&left, &right]).status();
    assert!(status.unwrap().success());
    let report = json(&expect(&diff(&left, &right, &["--json"]).output().unwrap(), 0).0);
    assert_eq!(report["shared_bytes"], 40 * 4096);
    assert_eq!(report["read_bytes"], 2 * 3 * 4096);
}

#[test]
fn where_kinds_cannot_be_seen_that_is_said() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(tmpfs) = Mount::new(Fs::Tmpfs) else { return };
    let Some(device) = LoopDevice::new(aligned().size) else { return };
    let (left, far) = (mount.path().join("a.img"), tmpfs.path().join("a.img"));
    aligned().write(&left);
    aligned().write(&far);
    std::fs::write(device.path(), aligned().bytes()).unwrap();
    for right in [far.as_path(), device.path()] {
        let (out, _) = expect(&diff(&left, right, &[]).output().unwrap(), 0);
        assert!(out.contains("not all kinds were compared"), "{out}");
    }
}

#[test]
fn trouble_is_told_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("a.img");
    sample().write(&image);
    let marked = directory.path().join("marked.img");
    sample().write(&marked);
    std::fs::write(directory.path().join(".marked.img.lacuna-unfinished"), "").unwrap();
    for (right, words) in [
        (Path::new("/nowhere/b.img"), "no such file or directory"),
        (directory.path(), "directory"),
        (Path::new("/dev/null"), "character device"),
        (&marked, "unfinished"),
    ] {
        let (out, err) = expect(&diff(&image, right, &["--json", "--ranges"]).output().unwrap(), 2);
        assert!(err.contains(words) && err.contains("what to do"), "{err}");
        assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    }
    expect(&lacuna().args(["diff", "a.img"]).output().unwrap(), 2);
}

#[test]
fn a_reader_that_leaves_does_not_make_two_images_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (left, right) = (directory.path().join("a.img"), directory.path().join("b.img"));
    Pattern::whole([Block::Data(1), Block::Data(2)].repeat(3000)).write(&left);
    Pattern::whole([Block::Data(3), Block::Data(2)].repeat(3000)).write(&right);
    for more in [&[][..], &["--ranges"], &["--json", "--ranges"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = diff(&left, &right, more).stdout(writer).output().unwrap();
        assert_eq!(expect(&output, 1).1, "");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = diff(&left, &right, more).stdout(full).output().unwrap();
        let (_, err) = expect(&output, 2);
        assert!(err.contains("cannot write to standard output: no space left on device"), "{err}");
    }
}

#[test]
fn a_list_that_was_begun_is_ended_when_the_command_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (left, right) = (directory.path().join("a.img"), directory.path().join("b.img"));
    for (path, seed) in [(&left, 1), (&right, 3)] {
        let striped = [Block::Data(seed), Block::Data(2)].repeat(20_000);
        Pattern::whole(striped).write(path);
    }
    // Nobody reads before the signal, so that the command waits in the middle of its list.
    let in_the_list = |pid: u32| {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0) > 32 << 10
    };
    let mut command = diff(&left, &right, &["--json", "--ranges", "--progress=none"]);
    let output = interrupt(&mut command, Signal::INT, in_the_list);
    let (out, err) = expect(&output, 2);
    assert!(err.contains("was stopped by a signal") && err.contains("it begins anew"), "{err}");
    let object = json(&out);
    assert_eq!(keys(&object), ["differences", "error", "remedy"]);
    assert!(!object["differences"].as_array().unwrap().is_empty());
}
