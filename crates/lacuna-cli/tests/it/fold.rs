use std::path::Path;
use std::process::Command;

use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};

use crate::common::{expect, json, keys, lacuna, names};
use crate::layers::Layers;

const KEYS: [&str; 14] = [
    "child",
    "data_bytes",
    "elapsed_seconds",
    "free",
    "grown_bytes",
    "hole_bytes",
    "parent",
    "read_bytes",
    "reclaimed_bytes",
    "reflinked_bytes",
    "size_bytes",
    "written_bytes",
    "zero_bytes",
    "zeroed_bytes",
];

const PLAN_KEYS: [&str; 15] = [
    "child",
    "copy_bytes",
    "data_bytes",
    "dry_run",
    "fits",
    "free",
    "free_bytes",
    "grown_bytes",
    "hole_bytes",
    "needed_bytes",
    "parent",
    "reflink_bytes",
    "size_bytes",
    "zero_bytes",
    "zero_range_bytes",
];

fn fold(layers: &Layers, more: &[&str]) -> Command {
    let mut fold = lacuna();
    fold.arg("fold").args(more).arg(&layers.child).arg("--into").arg(&layers.parent);
    fold
}

#[test]
fn a_fold_makes_the_parent_what_the_two_were_and_leaves_the_child() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { return };
        for more in [&[][..], &["--direct", "--jobs", "1"], &["--buffered", "--reflink=never"]] {
            let layers = Layers::new(mount.path());
            let (chain, kinds) = (layers.read(), layers.folded_kinds());
            let (child, child_kinds) = (std::fs::read(&layers.child), kinds_of(&layers.child));
            let output = fold(&layers, more).arg("--json").output().unwrap();
            let report = json(&expect(&output, 0).0);
            assert_eq!(keys(&report), KEYS);
            assert!(std::fs::read(&layers.parent).unwrap() == chain, "{fs} {more:?}");
            assert_eq!(kinds_of(&layers.parent), kinds, "{fs} {more:?}");
            assert_eq!(std::fs::read(&layers.child).unwrap(), child.unwrap());
            assert_eq!(kinds_of(&layers.child), child_kinds);
            let bytes = |key: &str| report[key].as_u64().unwrap();
            let shares = fs != Fs::Ext4 && !more.contains(&"--reflink=never");
            assert_eq!(
                bytes("reflinked_bytes"),
                if shares { 80 * 4096 } else { 0 },
                "{fs} {more:?}"
            );
            assert_eq!(bytes("written_bytes") + bytes("reflinked_bytes"), bytes("data_bytes"));
            assert_eq!((bytes("grown_bytes"), bytes("reclaimed_bytes")), (4096 * 4 - 100, 0));
            assert!(!layers.mark().exists());
        }
    }
}

#[test]
fn people_read_what_moved_and_how() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let layers = Layers::new(mount.path());
    let (out, _) = expect(&fold(&layers, &[]).output().unwrap(), 0);
    assert!(out.contains("(336 KiB data, 84.0 KiB zero, 87.9 KiB hole)"), "{out}");
    assert!(out.contains("reflinked 320 KiB, copied 16.0 KiB, made zero 80.0 KiB\n"), "{out}");
    assert!(out.contains("parent.img grew by 15.9 KiB\n") && !out.contains("gave up"), "{out}");
    let output = fold(&layers, &["--quiet"]).output().unwrap();
    assert_eq!(expect(&output, 0), (String::new(), String::new()));
}

#[test]
fn free_empties_the_child_and_says_what_that_means() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { return };
        let layers = Layers::new(mount.path());
        let (chain, kinds) = (layers.read(), layers.folded_kinds());
        let (out, _) = expect(&fold(&layers, &["--free"]).output().unwrap(), 0);
        assert!(out.contains("child.img takes 4"), "{fs}: {out}");
        assert!(out.contains(" KiB less and is no layer on its own any more: "), "{fs}: {out}");
        assert!(std::fs::read(&layers.parent).unwrap() == chain, "{fs}");
        assert_eq!(kinds_of(&layers.parent), kinds, "{fs}");
        assert!(kinds_of(&layers.child).iter().all(|kind| *kind == Kind::Hole), "{fs}");
        let again = fold(&layers, &["--free", "--json"]).output().unwrap();
        let report = json(&expect(&again, 0).0);
        assert_eq!((&report["reclaimed_bytes"], &report["free"]), (&0.into(), &true.into()));
    }
}

#[test]
fn a_dry_run_tells_how_much_would_move_and_changes_nothing() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let layers = Layers::new(mount.path());
    let before = layers.seen();
    let plan = |more: &[&str]| {
        let output = fold(&layers, more).args(["--dry-run", "--json"]).output().unwrap();
        let plan = json(&expect(&output, 0).0);
        assert_eq!(keys(&plan), PLAN_KEYS);
        assert_eq!((&plan["dry_run"], &plan["fits"]), (&true.into(), &true.into()));
        ["reflink_bytes", "copy_bytes", "zero_range_bytes"].map(|key| plan[key].as_u64().unwrap())
    };
    // One block of the child's zeros is zero in the parent already.
    assert_eq!(plan(&[]), [80 * 4096, 4 * 4096, 20 * 4096]);
    assert_eq!(plan(&["--reflink", "never", "--free"]), [0, 84 * 4096, 20 * 4096]);
    let (out, _) = expect(&fold(&layers, &["--dry-run", "--free"]).output().unwrap(), 0);
    assert!(out.contains("nothing done\nwould reflink 320 KiB, copy 16.0 KiB"), "{out}");
    assert!(out.contains("are free: it fits\n") && out.contains("no layer on its own"), "{out}");
    assert!(layers.seen() == before);
}

#[test]
fn what_does_not_fit_is_refused_beforehand_and_fits_with_free() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    let layers = Layers::at(mount.path());
    Pattern::whole(vec![Block::Data(3); 8192]).write(&layers.child);
    Pattern::whole(vec![Block::Hole; 8192]).write(&layers.parent);
    let chain = layers.read();
    let filler = mount.path().join("filler");
    std::fs::write(&filler, vec![1; 16 << 20]).unwrap();
    let before = layers.seen();
    let (out, _) = expect(&fold(&layers, &["--dry-run"]).output().unwrap(), 0);
    assert!(
        out.contains("needs 32.0 MiB more space") && out.contains("not enough (see --free)"),
        "{out}"
    );
    let output = fold(&layers, &["--dry-run", "--json"]).output().unwrap();
    assert_eq!(json(&expect(&output, 0).0)["fits"], false);
    let (_, err) = expect(&fold(&layers, &[]).output().unwrap(), 1);
    assert!(
        err.contains("needs 33558528 more bytes") && err.contains("see --dry-run --free"),
        "{err}"
    );
    assert!(layers.seen() == before);
    expect(&fold(&layers, &["--free"]).output().unwrap(), 0);
    assert!(std::fs::read(&layers.parent).unwrap() == chain);
}

#[test]
fn sharing_at_all_costs_fails_where_it_cannot_be_had() {
    for (fs, code) in [(Fs::Ext4, 1), (Fs::Xfs, 0)] {
        let Some(mount) = Mount::new(fs) else { return };
        let layers = Layers::new(mount.path());
        let before = layers.seen();
        let dry_run = fold(&layers, &["--reflink=always", "--dry-run"]).output().unwrap();
        expect(&dry_run, code);
        assert!(layers.seen() == before);
        let (_, err) = expect(&fold(&layers, &["--reflink=always"]).output().unwrap(), code);
        if code == 1 {
            assert!(err.contains("cannot share space") && err.contains("--reflink auto"), "{err}");
            assert!(layers.seen() == before);
        }
    }
}

#[test]
fn what_the_chain_forbids_takes_force() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let layers = Layers::new(mount.path());
    layers.describe("another.img");
    let before = layers.seen();
    let (_, err) = expect(&fold(&layers, &[]).output().unwrap(), 1);
    for words in ["is not the parent of", "names another.img", "--force-layer"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    layers.describe("parent.img");
    let other = mount.path().join("other.img.meta");
    std::fs::write(&other, "{\"Parent\":\"parent.img\"}").unwrap();
    let (_, err) = expect(&fold(&layers, &[]).output().unwrap(), 1);
    assert!(err.contains("other.img.meta") && err.contains("--force-layer"), "{err}");
    assert!(layers.seen()[0].0 == before[0].0 && layers.seen()[1].0 == before[1].0);
    let chain = layers.read();
    expect(&fold(&layers, &["--force-layer"]).output().unwrap(), 0);
    assert!(std::fs::read(&layers.parent).unwrap() == chain);
}

#[test]
fn what_cannot_be_folded_is_refused_with_a_remedy_and_untouched() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(tmpfs) = Mount::new(Fs::Tmpfs) else { return };
    let path = |name: &str| mount.path().join(name);
    let layers = Layers::new(mount.path());
    std::fs::hard_link(&layers.child, path("hard.img")).unwrap();
    Pattern::whole(vec![Block::Data(1); 500]).write(&path("large.img"));
    Pattern::whole(vec![Block::Data(1)]).write(&path("open.img"));
    Pattern::whole(vec![Block::Data(1)]).write(&path("marked.img"));
    std::fs::write(path(".marked.img.lacuna-unfinished"), "a sync").unwrap();
    Pattern::whole(vec![Block::Data(1)]).write(&tmpfs.path().join("p.img"));
    let _writer = std::fs::File::options().write(true).open(path("open.img")).unwrap();
    let (child, nowhere) = (layers.child.clone(), path("none.img"));
    let before = layers.seen();
    for (child, parent, words) in [
        (&child, child.clone(), "same file"),
        (&child, path("hard.img"), "same file"),
        (&child, nowhere.clone(), "no such file or directory"),
        (&nowhere, layers.parent.clone(), "no such file or directory"),
        (&child, mount.path().to_owned(), "directory"),
        (&child, path("large.img"), "2048000 bytes, more than the 520092 of its child"),
        (&child, path("open.img"), "open for writing in another process"),
        (&path("open.img"), layers.parent.clone(), "open for writing in another process"),
        (&child, path("marked.img"), "unfinished"),
        (&path("marked.img"), layers.parent.clone(), "unfinished"),
        (&child, tmpfs.path().join("p.img"), "has no FIEMAP"),
        (&child, Path::new("/dev/null").to_owned(), "character device"),
    ] {
        let mut fold = lacuna();
        fold.args(["fold", "--json"]).arg(child).arg("--into").arg(&parent);
        let (out, err) = expect(&fold.output().unwrap(), 1);
        assert!(err.contains(words) && err.contains("what to do"), "{}: {err}", parent.display());
        assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    }
    assert!(layers.seen() == before);
}

#[test]
fn wrong_words_are_status_2() {
    for (words, why) in [
        (&["fold", "a.img"][..], "--into"),
        (&["fold", "--into", "a.img"], "CHILD"),
        (&["fold", "a", "b", "--into", "c"], "unexpected argument"),
        (&["fold", "a", "--into", "b", "--reflink", "maybe"], "possible values"),
        (&["fold", "a", "--into", "b", "--jobs", "0"], "--jobs"),
        (&["fold", "a", "--into", "b", "--direct", "--buffered"], "cannot be used with"),
    ] {
        let (_, err) = expect(&lacuna().args(words).output().unwrap(), 2);
        assert!(err.contains(why), "{words:?}: {err}");
    }
}

#[test]
fn a_device_can_be_the_parent() {
    let Some(device) = LoopDevice::new(1 << 20) else { return };
    let directory = tempfile::tempdir().unwrap();
    let child = directory.path().join("child.img");
    Pattern::whole(vec![Block::Hole, Block::Data(1), Block::Zero, Block::Hole]).write(&child);
    std::fs::write(device.path(), vec![9; 1 << 20]).unwrap();
    let layers = Layers { child, parent: device.path().to_owned() };
    let (out, _) = expect(&fold(&layers, &["--dry-run"]).output().unwrap(), 0);
    assert!(!out.contains("are free"), "{out}");
    expect(&fold(&layers, &[]).output().unwrap(), 0);
    let bytes = std::fs::read(device.path()).unwrap();
    let child = std::fs::read(&layers.child).unwrap();
    assert!(bytes[4096..12_288] == child[4096..12_288]);
    assert!(bytes[..4096].iter().chain(&bytes[12_288..]).all(|byte| *byte == 9));
    assert_eq!(names(directory.path()), ["child.img"]);
}
