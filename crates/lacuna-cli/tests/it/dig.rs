use std::path::Path;
use std::process::Command;

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};
use rustix::process::Signal;

use crate::common::{allocated, expect, interrupt, json, keys, lacuna, names, sample};

const KEYS: [&str; 6] =
    ["dug_bytes", "elapsed_seconds", "image", "read_bytes", "reclaimed_bytes", "size_bytes"];

const PLAN_KEYS: [&str; 6] =
    ["dry_run", "dug_bytes", "elapsed_seconds", "image", "read_bytes", "size_bytes"];

fn dig(image: &Path, more: &[&str]) -> Command {
    let mut dig = lacuna();
    dig.arg("dig").args(more).arg(image);
    dig
}

/// The kinds of the sample, its zeros dug.
fn dug() -> Vec<Kind> {
    let blocks = sample().blocks.into_iter();
    let kept = blocks.map(|block| !matches!(block, Block::Zero | Block::Hole | Block::Data(0)));
    kept.map(|kept| if kept { Kind::Data } else { Kind::Hole }).collect()
}

#[test]
fn zeros_become_holes_and_nothing_else_changes() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { return };
        for more in [&[][..], &["--direct", "--jobs", "1"], &["--buffered"]] {
            let image = mount.path().join("disk.img");
            sample().write(&image);
            std::fs::write(mount.path().join("disk.img.checksum"), "{}").unwrap();
            let output = dig(&image, more).arg("--json").output().unwrap();
            let report = json(&expect(&output, 0).0);
            assert_eq!(keys(&report), KEYS);
            assert_eq!(report["dug_bytes"], 10 * 4096, "{fs} {more:?}");
            assert!(std::fs::read(&image).unwrap() == sample().bytes());
            assert_eq!(kinds_of(&image), dug(), "{fs} {more:?}");
            assert!(!names(mount.path()).contains(&"disk.img.checksum".to_owned()));
        }
    }
}

#[test]
fn a_dry_run_reads_and_changes_nothing() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let image = mount.path().join("disk.img");
    sample().write(&image);
    std::fs::write(mount.path().join("disk.img.checksum"), "{}").unwrap();
    let changed = || std::fs::metadata(&image).unwrap().modified().unwrap();
    let before = (changed(), names(mount.path()));
    let plan = json(&expect(&dig(&image, &["--dry-run", "--json"]).output().unwrap(), 0).0);
    assert_eq!(keys(&plan), PLAN_KEYS);
    assert_eq!((&plan["dug_bytes"], &plan["dry_run"]), (&(10 * 4096).into(), &true.into()));
    let (out, _) = expect(&dig(&image, &["--dry-run"]).output().unwrap(), 0);
    assert!(out.contains("nothing done\n"), "{out}");
    assert!(out.ends_with("read 171 KiB, 40.0 KiB of zeros would become holes\n"), "{out}");
    assert_eq!((changed(), names(mount.path())), before);
    assert_eq!(kinds_of(&image), sample().kinds());
    let space = allocated(&image);
    let (out, _) = expect(&dig(&image, &[]).output().unwrap(), 0);
    // ext4 may need a block for the extents that there are now.
    let reclaimed = (space - allocated(&image)) as f64 / 1024.0;
    let told = format!("40.0 KiB of zeros are holes now; it takes {reclaimed:.1} KiB less\n");
    assert!(out.ends_with(&told), "{out}");
    let output = dig(&image, &["--quiet"]).output().unwrap();
    assert_eq!(expect(&output, 0), (String::new(), String::new()));
}

#[test]
fn a_layer_is_refused_unless_forced() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = |name: &str| mount.path().join(name);
    for name in ["volume-snap-1.img", "volume-head-001.img", "named.img", "parent.img"] {
        sample().write(&path(name));
    }
    std::fs::write(path("named.img.meta"), "{\"Parent\":\"parent.img\"}").unwrap();
    std::os::unix::fs::symlink("volume-snap-1.img", path("link.img")).unwrap();
    for name in ["volume-snap-1.img", "volume-head-001.img", "named.img", "parent.img", "link.img"]
    {
        for more in [&[][..], &["--dry-run"]] {
            let (_, err) = expect(&dig(&path(name), more).output().unwrap(), 1);
            assert!(err.contains("is a layer of a snapshot chain"), "{name}: {err}");
            assert!(err.contains("that can be overridden: --force-layer"), "{name}: {err}");
        }
        assert_eq!(kinds_of(&path(name)), sample().kinds());
    }
    expect(&dig(&path("volume-snap-1.img"), &["--force-layer"]).output().unwrap(), 0);
    assert_eq!(kinds_of(&path("volume-snap-1.img")), dug());
}

#[test]
fn what_cannot_be_dug_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open.img");
    sample().write(&open);
    let _writer = std::fs::File::options().write(true).open(&open).unwrap();
    for (image, words) in [
        (Path::new("/nowhere/a.img"), "no such file or directory"),
        (directory.path(), "directory"),
        (Path::new("/dev/null"), "character device"),
        (&open, "open for writing in another process"),
    ] {
        let (out, err) = expect(&dig(image, &["--json"]).output().unwrap(), 1);
        assert!(err.contains(words) && err.contains("what to do"), "{err}");
        assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    }
    expect(&lacuna().arg("dig").output().unwrap(), 2);
}

#[test]
fn one_that_is_told_to_stop_goes_on() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let image = mount.path().join("disk.img");
    for _ in 0..10 {
        let blocks = [Block::Data(0), Block::Data(1)].repeat(12_000);
        let pattern = Pattern::whole(blocks);
        pattern.write(&image);
        let space = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(&image).unwrap().blocks()
        };
        let whole = space();
        let output = interrupt(&mut dig(&image, &["--jobs=1"]), Signal::TERM, |_| space() < whole);
        if output.status.success() {
            continue;
        }
        let (_, err) = expect(&output, 1);
        assert!(err.contains("disk.img was stopped by a signal"), "{err}");
        assert!(err.contains("what was dug stays a hole"), "{err}");
        assert!(std::fs::read(&image).unwrap() == pattern.bytes());
        expect(&dig(&image, &[]).output().unwrap(), 0);
        assert!(std::fs::read(&image).unwrap() == pattern.bytes());
        let kinds = kinds_of(&image);
        assert!(kinds == [Kind::Hole, Kind::Data].repeat(12_000));
        return;
    }
    panic!("digging was always faster than the signal");
}
