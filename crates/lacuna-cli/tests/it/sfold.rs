use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::kinds_of;

use crate::common::{expect, names, sfold};
use crate::layers::Layers;

#[test]
fn sfold_folds_and_says_nothing() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    for flags in [&[][..], &["-verbose=false"], &["--verbose"]] {
        let layers = Layers::new(mount.path());
        let (chain, kinds) = (layers.read(), layers.folded_kinds());
        let mut command = sfold();
        command.args(flags).arg(&layers.child).arg(&layers.parent);
        let (out, err) = expect(&command.output().unwrap(), 0);
        assert!(std::fs::read(&layers.parent).unwrap() == chain);
        assert_eq!(kinds_of(&layers.parent), kinds);
        assert_eq!(out, "");
        assert_eq!(err.contains("folding "), flags == ["--verbose"], "{err}");
        assert_eq!(names(mount.path()), ["child.img", "lost+found", "parent.img"]);
    }
}

#[test]
fn wrong_words_are_status_2_with_the_usage() {
    for (words, why) in [
        (&[][..], "Error: missing file paths\n"),
        (&["-verbose"], "Error: missing file paths\n"),
        (&["child"], "Error: missing destination file path\n"),
        (&["a", "b", "c"], "Error: too many arguments\n"),
        (&["a", "b", "-verbose"], "Error: too many arguments\n"),
        (&["-nothing", "a", "b"], "flag provided but not defined: -nothing\n"),
    ] {
        let (out, err) = expect(&sfold().args(words).output().unwrap(), 2);
        assert!(err.starts_with(why), "{words:?}: {err}");
        assert!(
            err.contains("Usage of sfold:\n  sfold [flags] CHILD PARENT\n  -verbose\n"),
            "{err}"
        );
        assert_eq!(out, "");
    }
    let (_, err) = expect(&sfold().arg("-h").output().unwrap(), 0);
    assert!(err.starts_with("Usage of sfold:"), "{err}");
}

#[test]
fn failures_are_status_1_and_nothing_is_forced() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let layers = Layers::new(mount.path());
    let (_, err) = expect(&sfold().arg("/nowhere/a").arg(&layers.parent).output().unwrap(), 1);
    assert!(err.starts_with("sfold: cannot open /nowhere/a: no such file or directory"), "{err}");
    layers.describe("another.img");
    let before = layers.seen();
    let mut command = sfold();
    let (_, err) = expect(&command.args([&layers.child, &layers.parent]).output().unwrap(), 1);
    assert!(err.contains("names another.img"), "{err}");
    assert!(err.contains("they can be overridden: lacuna fold --force-layer"), "{err}");
    assert!(layers.seen() == before);
}
