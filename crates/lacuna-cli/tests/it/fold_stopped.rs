//! A fold that is told to stop in the middle, and the one after it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lacuna_testing::pattern::{Kind, kinds_of};
use rustix::process::Signal;

use crate::common::{expect, interrupt, lacuna};
use crate::layers::Layers;

/// Layers of which a fold was stopped in the middle by `signal`, what it said, and what the chain was.
fn stopped(directory: &Path, more: &[&str], signal: Signal) -> (Layers, String, Vec<u8>) {
    for _ in 0..10 {
        let layers = Layers::large(directory, 192);
        let chain = layers.read();
        let blocks = |path: &Path| std::fs::metadata(path).unwrap().blocks() * 512;
        let (child, parent) = (blocks(&layers.child), blocks(&layers.parent));
        let begun = |_| match more.contains(&"--free") {
            true => blocks(&layers.child) < child,
            false => blocks(&layers.parent) > parent + (1 << 20),
        };
        let mut fold = lacuna();
        fold.args(["fold", "--jobs", "1"]).args(more);
        fold.arg(&layers.child).arg("--into").arg(&layers.parent);
        let output = interrupt(&mut fold, signal, begun);
        if !output.status.success() {
            let err = String::from_utf8(output.stderr).unwrap();
            return (layers, err, chain);
        }
    }
    panic!("the fold was always faster than the signal");
}

fn complete(layers: &Layers, more: &[&str], chain: &[u8]) {
    assert!(layers.read() == chain, "the chain reads as before");
    assert!(layers.mark().exists());
    let mut fold = lacuna();
    fold.arg("fold").args(more).arg(&layers.child).arg("--into").arg(&layers.parent);
    expect(&fold.output().unwrap(), 0);
    assert!(std::fs::read(&layers.parent).unwrap() == chain);
    assert!(!layers.mark().exists());
}

#[test]
fn the_chain_reads_as_before_and_the_same_command_completes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (layers, err, chain) = stopped(directory.path(), &[], Signal::INT);
    let (child, parent) = (layers.child.display(), layers.parent.display());
    for words in [
        &format!("fold of {child} into {parent} was stopped by a signal"),
        "run the same command again to go on",
        "is marked unfinished; the chain reads as before",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!err.contains("given up"), "{err}");
    // What is half a fold is no image for anybody else.
    let mut sync = lacuna();
    sync.arg("sync").arg(&layers.parent).arg(directory.path().join("copy.img"));
    let (_, err) = expect(&sync.output().unwrap(), 1);
    let words = "repeat what was interrupted, as ";
    assert!(err.contains(words) && err.contains(".parent.img.lacuna-unfinished"), "{err}");
    complete(&layers, &[], &chain);
}

#[test]
fn with_free_it_says_that_the_child_is_no_layer_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (layers, err, chain) = stopped(directory.path(), &["--free"], Signal::TERM);
    let words =
        "the child may have given up a part of what it had: take it for no layer on its own";
    assert!(err.contains(words), "{err}");
    assert!(kinds_of(&layers.child).contains(&Kind::Hole));
    complete(&layers, &["--free"], &chain);
    assert!(kinds_of(&layers.child).iter().all(|kind| *kind == Kind::Hole));
}

#[test]
fn what_was_freed_by_then_is_said_by_whatever_completes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (layers, _, chain) = stopped(directory.path(), &["--free"], Signal::INT);
    let mut fold = lacuna();
    fold.arg("fold").arg(&layers.child).arg("--into").arg(&layers.parent);
    let (out, _) = expect(&fold.output().unwrap(), 0);
    assert!(out.contains("is no layer on its own any more"), "{out}");
    assert!(std::fs::read(&layers.parent).unwrap() == chain);
}

#[test]
fn a_record_that_cannot_be_read_is_not_told_to_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let (layers, ..) = stopped(directory.path(), &[], Signal::INT);
    let record = std::fs::read_to_string(layers.mark()).unwrap();
    for (spoilt, why) in [
        (record.replace("\"version\":4", "\"version\":9"), "another version of lacuna wrote it"),
        (record[..record.len() - 2].to_owned(), "is malformed: a line has no end"),
        (record[..record.find('{').unwrap() + 20].to_owned(), "is malformed: a line has no end"),
        (record[..record.find('{').unwrap()].to_owned(), "is malformed: it ends early"),
    ] {
        std::fs::write(layers.mark(), spoilt).unwrap();
        let mut fold = lacuna();
        fold.arg("fold").arg(&layers.child).arg("--into").arg(&layers.parent);
        let (_, err) = expect(&fold.output().unwrap(), 1);
        assert!(err.contains(why) && err.contains("what to do: keep it"), "{err}");
    }
}

#[test]
fn what_was_killed_is_completed_too() {
    for more in [&[][..], &["--free"]] {
        let directory = tempfile::tempdir().unwrap();
        let (layers, _, chain) = stopped(directory.path(), more, Signal::KILL);
        complete(&layers, more, &chain);
    }
}
