//! Commands on replica directories that are told to stop in the middle.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::Replica;
use rustix::process::Signal;

use super::chain;
use crate::common::{expect, interrupt, json, keys, lacuna, text};

const SIGNALS: [Signal; 2] = [Signal::INT, Signal::TERM];

/// What the process has under `key` of its `io` file, in bytes.
fn io(pid: u32, key: &str) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let bytes = io.lines().find_map(|line| line.strip_prefix(key));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

/// Runs what `make` returns until it is stopped before its end: it may be faster than the signal, and a program
/// that another test is starting has its files open.
fn stopped(make: impl Fn() -> Command, signal: Signal, begun: impl Fn(u32) -> bool) -> Output {
    for _ in 0..20 {
        let output = interrupt(&mut make(), signal, &begun);
        if text(&output.stderr).contains("was stopped by a signal") {
            return output;
        }
    }
    panic!("it was always faster than the signal");
}

/// Two layers that take a moment to be read.
fn large(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let layer = |seed| Pattern::whole(vec![Block::Data(seed); 24 << 10]);
    Replica::line(vec![layer(1), layer(2)]).write(directory);
}

#[test]
fn a_listing_that_verifies_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("replica");
    large(&directory);
    for name in ["volume-snap-s0.img", "volume-head-001.img"] {
        let mut hash = lacuna();
        hash.args(["hash", "--write", "--quiet"]).arg(directory.join(name));
        expect(&hash.output().unwrap(), 0);
    }
    let ls = || chain("ls", &[&directory], &["--verify", "--jobs", "1"]);
    for signal in SIGNALS {
        let (out, err) = expect(&stopped(ls, signal, |pid| io(pid, "rchar:") > 4 << 20), 1);
        let what = format!("listing of {} was stopped by a signal", directory.display());
        assert!(err.contains(&what) && err.contains("it begins anew"), "{err}");
        assert_eq!(out, "");
    }
    let (out, _) = expect(&ls().output().unwrap(), 0);
    assert_eq!(out.matches("right").count(), 2, "{out}");
}

#[test]
fn a_comparison_ends_its_list_and_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let directories = ["a", "b"].map(|name| place.path().join(name));
    for (directory, seed) in directories.iter().zip([1, 3]) {
        fs::create_dir(directory).unwrap();
        let striped = Pattern::whole([Block::Data(seed), Block::Data(2)].repeat(4000));
        Replica::line(vec![striped, Pattern::whole(vec![Block::Hole; 8000])]).write(directory);
    }
    let [a, b] = directories.each_ref().map(std::path::PathBuf::as_path);
    // Nobody reads before the signal, so that the command waits in the middle of its list.
    let diff = || chain("diff", &[a, b], &["--json", "--ranges", "--progress=none"]);
    for signal in SIGNALS {
        let (out, err) = expect(&stopped(diff, signal, |pid| io(pid, "wchar:") > 32 << 10), 2);
        assert!(err.contains("it begins anew"), "{err}");
        let object = json(&out);
        assert_eq!(keys(&object), ["differences", "error", "remedy"]);
        assert!(object["differences"].as_array().unwrap().len() < 4000);
    }
    let (out, _) = expect(&diff().output().unwrap(), 1);
    assert_eq!(json(&out)["differences"].as_array().unwrap().len(), 8000, "in the layer, and read");
}

#[test]
fn an_export_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("replica");
    large(&directory);
    let (target, data) = (place.path().join("out.img"), place.path().join(".out.img.lacuna-data"));
    let expected = fs::read(directory.join("volume-head-001.img")).unwrap();
    let export = || {
        // What an export left that was faster than the signal.
        let _ = fs::remove_file(&target);
        let mut export = lacuna();
        export.args(["export", "--jobs", "1"]).args([&directory, &target]);
        export
    };
    let begun = |_| fs::metadata(&data).is_ok() && crate::common::allocated(&data) > 8 << 20;
    for signal in SIGNALS {
        let (_, err) = expect(&stopped(export, signal, begun), 1);
        let (from, to) = (directory.display(), target.display());
        let what = format!("export of {from} to {to} was stopped by a signal");
        for words in [&what, "run the same command again to go on", "the same command goes on"] {
            assert!(err.contains(words), "{words}: {err}");
        }
        assert!(data.exists() && !target.exists());
        let (out, _) = expect(&export().arg("--json").output().unwrap(), 0);
        assert!(json(&out)["resumed_bytes"].as_u64().unwrap() > 0, "{out}");
        assert!(fs::read(&target).unwrap() == expected);
    }
}
