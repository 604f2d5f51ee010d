use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use lacuna_testing::mount::{Fs, Mount};
use rustix::process::geteuid;

use super::{chain, line, make, place};
use crate::common::{expect, json, keys, lacuna};
use crate::partials::{allow, open_to_all};

const KEYS: [&str; 8] = [
    "directory",
    "elapsed_seconds",
    "findings",
    "layer_count",
    "notes",
    "sound",
    "unsound",
    "verified",
];

const FINDING_KEYS: [&str; 5] = ["code", "file", "remedy", "severity", "what"];

#[test]
fn a_sound_replica_ends_with_zero_and_its_notes() {
    let Some((_mount, directory)) = place() else { return };
    let image = directory.join("volume-snap-s1.img");
    expect(&lacuna().args(["hash", "--write"]).arg(image).output().unwrap(), 0);
    let (out, err) = expect(&chain("check", &[&directory], &[]).output().unwrap(), 0);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("note     volume.meta says that the volume is in use"), "{out}");
    assert_eq!(lines[1], format!("{} is sound; 3 layers, 1 note", directory.display()));
    assert_eq!(err, "");
    let (out, _) = expect(&chain("check", &[&directory], &["--verify"]).output().unwrap(), 0);
    assert!(out.ends_with(" is sound; 3 layers, 1 note, 1 checksum read and compared\n"), "{out}");
    let (out, _) =
        expect(&chain("check", &[&directory], &["--json", "--verify"]).output().unwrap(), 0);
    let report = json(&out);
    assert_eq!(keys(&report), KEYS);
    assert_eq!(keys(&report["findings"][0]), FINDING_KEYS);
    let dirty = &report["findings"][0];
    assert_eq!((&dirty["code"], &dirty["severity"]), (&"dirty".into(), &"note".into()));
    assert_eq!((&report["sound"], &report["verified"]), (&true.into(), &1.into()));
    let quiet = chain("check", &[&directory], &["--quiet"]).output().unwrap();
    assert_eq!(expect(&quiet, 0), (String::new(), String::new()));
}

#[test]
fn an_unsound_replica_ends_with_one_and_says_what_to_do() {
    let Some((_mount, directory)) = place() else { return };
    fs::remove_file(directory.join("volume-snap-s0.img")).unwrap();
    fs::write(directory.join("volume-snap-s1.img.meta"), "").unwrap();
    let (out, _) = expect(&chain("check", &[&directory], &[]).output().unwrap(), 1);
    let lines: Vec<_> = out.lines().collect();
    let bring = "bring the image back from another replica, with its .meta file; if a squash that was to \
        remove it was interrupted, run that again instead";
    let missing =
        format!("unsound  volume-snap-s0.img is missing, its .meta file is there; {bring}");
    assert_eq!(lines[0], missing);
    assert_eq!(lines[1], "unsound  volume-snap-s1.img.meta is empty; copy it from another replica");
    assert!(lines[3].ends_with("replica is unsound: 2 faults; 3 layers, 1 note"), "{out}");
    let (out, _) = expect(&chain("check", &[&directory], &["--json"]).output().unwrap(), 1);
    let report = json(&out);
    assert_eq!((&report["sound"], &report["unsound"]), (&false.into(), &2.into()));
    assert_eq!(report["findings"][0]["code"], "image-missing");
    let quiet = chain("check", &[&directory], &["--quiet"]).output().unwrap();
    assert_eq!(expect(&quiet, 1), (String::new(), String::new()));
}

#[test]
fn what_cannot_be_checked_ends_with_two() {
    let directory = tempfile::tempdir().unwrap();
    for more in [&[][..], &["--json"]] {
        let (out, err) = expect(&chain("check", &[directory.path()], more).output().unwrap(), 2);
        assert!(err.contains("is no replica directory: it has no volume.meta"), "{err}");
        assert!(err.contains("what to do: name the directory of one replica"), "{err}");
        assert!(more.is_empty() || keys(&json(&out)) == ["error", "remedy"], "{out}");
    }
    let missing = directory.path().join("missing");
    let (_, err) = expect(&chain("check", &[&missing], &[]).output().unwrap(), 2);
    assert!(err.contains("no such file or directory") && err.contains("check the path"), "{err}");
    expect(&lacuna().arg("chain").output().unwrap(), 2);
}

#[test]
fn what_may_not_be_read_is_named_beside_what_was_found() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (_bin, bin) = open_to_all();
    let directory = make(&mount, "replica", &line());
    // The mount lies in a directory of root's alone.
    if !geteuid().is_root() {
        return;
    }
    allow(mount.path().parent().unwrap(), 0o755);
    allow(mount.path(), 0o755);
    allow(&directory, 0o755);
    allow(&directory.join("volume-snap-s0.img"), 0o000);
    fs::write(directory.join("volume-snap-s1.img.meta"), "").unwrap();
    let run = |more: &[&str]| {
        let mut check = Command::new(&bin);
        check.uid(65534).gid(65534).current_dir("/").args(["chain", "check"]).args(more);
        check.arg(&directory).output().unwrap()
    };
    let (out, err) = expect(&run(&[]), 2);
    assert!(out.contains("volume-snap-s1.img.meta is empty"), "{out}");
    assert!(out.contains("could not be checked whole"), "{out}");
    assert!(err.contains("volume-snap-s0.img: permission denied"), "{err}");
    assert!(err.contains("what to do: check the permissions"), "{err}");
    let report = json(&expect(&run(&["--json"]), 2).0);
    assert_eq!(keys(&report), ["error", "findings", "remedy"]);
}

#[test]
fn output_that_nobody_takes_changes_no_answer() {
    let Some((_mount, directory)) = place() else { return };
    fs::remove_file(directory.join("volume-snap-s0.img")).unwrap();
    for more in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = chain("check", &[&directory], more).stdout(writer).output().unwrap();
        assert_eq!(expect(&output, 1).1, "");
        let full = Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
        let output = chain("check", &[&directory], more).stdout(full).output().unwrap();
        assert!(expect(&output, 2).1.contains("cannot write to standard output"));
    }
}
