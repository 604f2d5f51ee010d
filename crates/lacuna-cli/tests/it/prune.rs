use std::process::Command;

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};
use rustix::process::Signal;

use crate::common::{allocated, expect, interrupt, json, keys, lacuna};
use crate::layers::Layers;

const KEYS: [&str; 7] = [
    "child",
    "elapsed_seconds",
    "hidden_bytes",
    "hidden_ranges",
    "parent",
    "reclaimed_bytes",
    "size_bytes",
];

const PLAN_KEYS: [&str; 7] = [
    "child",
    "dry_run",
    "hidden_bytes",
    "hidden_ranges",
    "parent",
    "reclaimed_bytes_max",
    "size_bytes",
];

fn prune(layers: &Layers, more: &[&str]) -> Command {
    let mut prune = lacuna();
    prune.arg("prune").args(more).arg(&layers.parent).arg("--under").arg(&layers.child);
    prune
}

#[test]
fn a_prune_punches_what_the_child_hides_and_nothing_else() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        let Some(mount) = Mount::new(fs) else { return };
        let layers = Layers::new(mount.path());
        let (chain, kinds, below) =
            (layers.read(), layers.pruned_kinds(), kinds_of(&layers.parent));
        let (child, child_kinds) = (std::fs::read(&layers.child).unwrap(), kinds_of(&layers.child));
        let gone = below.iter().zip(&kinds).filter(|(was, is)| was != is).count() as u64 * 4096;
        assert!(gone > 0);
        let space = allocated(&layers.parent);
        let report = json(&expect(&prune(&layers, &["--json"]).output().unwrap(), 0).0);
        assert_eq!(keys(&report), KEYS);
        assert_eq!(report["hidden_bytes"], gone, "{fs}");
        if fs == Fs::Ext4 {
            // It may need a block for the extents that there are now.
            assert_eq!(report["reclaimed_bytes"], space - allocated(&layers.parent));
        }
        assert!(layers.read() == chain, "{fs}");
        assert_eq!(kinds_of(&layers.parent), kinds, "{fs}");
        assert!(std::fs::read(&layers.child).unwrap() == child);
        assert_eq!(kinds_of(&layers.child), child_kinds);
        assert!(!layers.mark().exists());
    }
}

#[test]
fn people_read_what_was_hidden_and_what_came_back() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let layers = Layers::new(mount.path());
    let before = layers.seen();
    let (out, _) = expect(&prune(&layers, &["--dry-run"]).output().unwrap(), 0);
    assert!(out.contains("nothing done\nhidden 208 KiB in 3 ranges: would be punched"), "{out}");
    let plan = json(&expect(&prune(&layers, &["--dry-run", "--json"]).output().unwrap(), 0).0);
    assert_eq!(keys(&plan), PLAN_KEYS);
    assert_eq!((&plan["hidden_bytes"], &plan["hidden_ranges"]), (&(52 * 4096).into(), &3.into()));
    assert!(layers.seen() == before);
    let space = allocated(&layers.parent);
    let (out, _) = expect(&prune(&layers, &[]).output().unwrap(), 0);
    let reclaimed = (space - allocated(&layers.parent)) / 1024;
    let parent = layers.parent.display();
    let told =
        format!("hidden 208 KiB in 3 ranges, punched; {parent} takes {reclaimed} KiB less\n");
    assert!(out.contains(&told), "{out}");
    let output = prune(&layers, &["-q"]).output().unwrap();
    assert_eq!(expect(&output, 0), (String::new(), String::new()));
}

#[test]
fn what_the_chain_forbids_takes_force() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let layers = Layers::new(mount.path());
    layers.describe("");
    let before = layers.seen();
    for more in [&[][..], &["--dry-run"]] {
        let (_, err) = expect(&prune(&layers, more).output().unwrap(), 1);
        assert!(err.contains("names none") && err.contains("--force-layer"), "{err}");
    }
    assert!(layers.seen() == before);
    let chain = layers.read();
    expect(&prune(&layers, &["--force-layer"]).output().unwrap(), 0);
    assert!(layers.read() == chain);
    assert!(kinds_of(&layers.parent)[..80].iter().all(|kind| *kind == Kind::Hole));
}

#[test]
fn what_cannot_be_pruned_is_refused_with_a_remedy_and_untouched() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = |name: &str| mount.path().join(name);
    let layers = Layers::new(mount.path());
    std::fs::hard_link(&layers.child, path("hard.img")).unwrap();
    Pattern::whole(vec![Block::Data(1); 500]).write(&path("large.img"));
    Pattern::whole(vec![Block::Data(1)]).write(&path("marked.img"));
    std::fs::write(path(".marked.img.lacuna-unfinished"), "a sync").unwrap();
    let before = layers.seen();
    for (parent, words) in [
        (layers.child.clone(), "same file"),
        (path("hard.img"), "same file"),
        (path("none.img"), "no such file or directory"),
        (mount.path().to_owned(), "directory"),
        (path("large.img"), "more than the 520092 of its child"),
        (path("marked.img"), "unfinished"),
    ] {
        let mut prune = lacuna();
        prune.args(["prune", "--json"]).arg(&parent).arg("--under").arg(&layers.child);
        let (out, err) = expect(&prune.output().unwrap(), 1);
        assert!(err.contains(words) && err.contains("what to do"), "{}: {err}", parent.display());
        assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    }
    assert!(layers.seen() == before);
    let (_, err) = expect(&lacuna().args(["prune", "a.img"]).output().unwrap(), 2);
    assert!(err.contains("--under"), "{err}");
}

/// So many ranges that punching them takes a while.
fn fragmented(mount: &Mount) -> Layers {
    let layers = Layers::at(mount.path());
    let striped = (0..24_000).map(|n| if n % 2 == 0 { Block::Data(1) } else { Block::Hole });
    Pattern::whole(striped.collect()).write(&layers.child);
    Pattern::whole(vec![Block::Data(2); 24_000]).write(&layers.parent);
    layers
}

#[test]
fn a_prune_that_is_told_to_stop_is_completed_by_the_next() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    for _ in 0..10 {
        let layers = fragmented(&mount);
        let (chain, kinds) = (layers.read(), layers.pruned_kinds());
        let output = interrupt(&mut prune(&layers, &[]), Signal::INT, |_| layers.mark().exists());
        if output.status.success() {
            continue;
        }
        let (_, err) = expect(&output, 1);
        for words in [
            "parent.img under ",
            "child.img was stopped by a signal",
            "is marked unfinished; the chain reads as before, and the same command completes the prune",
        ] {
            assert!(err.contains(words), "{words}: {err}");
        }
        assert!(layers.read() == chain && layers.mark().exists());
        assert!(kinds_of(&layers.parent) != kinds);
        expect(&prune(&layers, &[]).output().unwrap(), 0);
        assert!(layers.read() == chain && !layers.mark().exists());
        assert!(kinds_of(&layers.parent) == kinds && kinds.contains(&Kind::Data));
        return;
    }
    panic!("the prune was always faster than the signal");
}
