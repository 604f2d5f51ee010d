use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use lacuna_testing::mount::Mount;
use lacuna_testing::pattern::Block;

use super::{chain, line, make, place};
use crate::common::{expect, json, keys, lacuna};

const KEYS: [&str; 6] = ["elapsed_seconds", "layers", "left", "right", "same", "volume"];

const RANGE_KEYS: [&str; 6] =
    ["differs", "layer", "left_kind", "length_bytes", "right_kind", "start_bytes"];

/// A replica, and one that differs from it in a block of `s1`, in what is said of `s0`, and in the number of
/// the head.
fn two() -> Option<(Mount, PathBuf, PathBuf)> {
    let (mount, left) = place()?;
    let mut made = line();
    made.layers[1].pattern.blocks[0] = Block::Data(9);
    made.layers[1].pattern.blocks[3] = Block::Zero;
    made.layers[0].meta =
        lacuna_testing::replica::Meta::Whole { user_created: true, removed: true, labels: vec![] };
    made.layers[2].file = "volume-head-005.img".to_owned();
    made.head = "volume-head-005.img".to_owned();
    let right = make(&mount, "other", &made);
    Some((mount, left, right))
}

#[test]
fn two_replicas_that_differ_are_told_layer_by_layer() {
    let Some((_mount, left, right)) = two() else { return };
    let (out, err) = expect(&chain("diff", &[&left, &right], &[]).output().unwrap(), 1);
    let lines: Vec<_> = out.lines().collect();
    let expected = [
        "volume-snap-s0.img                         removed: false | true",
        "volume-snap-s1.img                         content 4.00 KiB, kind only 4.00 KiB in 2 ranges",
        "volume-head-002.img | volume-head-005.img  same",
        "the volume                                 content 8.00 KiB in 2 ranges",
    ];
    assert_eq!((&lines[..4], err), (&expected[..], String::new()), "{out}");
    let verdict = format!("{} and {} differ; read ", left.display(), right.display());
    assert!(lines[4].starts_with(&verdict) && lines.len() == 5, "{out}");
    let (out, _) = expect(&chain("diff", &[&left, &right], &["--ranges"]).output().unwrap(), 1);
    let lines: Vec<_> = out.lines().collect();
    let words: Vec<Vec<_>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["volume-snap-s1.img"]);
    assert_eq!(words[1], ["start", "length", "differs", "A", "B"]);
    assert_eq!(words[2], ["0", "4096", "content", "data", "data"]);
    assert_eq!(words[3], ["12288", "4096", "kind", "hole", "zero"]);
    assert_eq!(words[4], ["volume"]);
    assert_eq!((words[6][2], words[7][0]), ("content", "12288"));
    assert_eq!(lines.len(), 13, "{out}");
}

#[test]
fn the_object_of_a_difference_names_both_sides() {
    let Some((_mount, left, right)) = two() else { return };
    let report =
        json(&expect(&chain("diff", &[&left, &right], &["--json"]).output().unwrap(), 1).0);
    assert_eq!(keys(&report), KEYS);
    let [s0, s1, head] = &report["layers"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(keys(s0), ["image", "left", "metadata", "right", "same"]);
    assert_eq!(keys(&s0["left"]), ["labels", "layer", "parent", "removed", "user_created"]);
    assert_eq!((&s0["metadata"][0], &s0["right"]["removed"]), (&"removed".into(), &true.into()));
    assert_eq!(s1["image"]["content_bytes"], 4096);
    assert_eq!(
        (&head["same"], &head["right"]["layer"]),
        (&true.into(), &"volume-head-005.img".into())
    );
    let volume = &report["volume"];
    assert_eq!(keys(volume), ["content_bytes", "past_end_bytes", "ranges", "read_bytes", "same"]);
    assert_eq!((&volume["content_bytes"], &volume["same"]), (&8192.into(), &false.into()));
    let more = ["--json", "--ranges"];
    let report = json(&expect(&chain("diff", &[&left, &right], &more).output().unwrap(), 1).0);
    let ranges = report["differences"].as_array().unwrap();
    assert_eq!((ranges.len(), keys(&ranges[0])), (4, RANGE_KEYS.to_vec()));
    let layers: Vec<_> = ranges.iter().map(|range| range["layer"].as_str()).collect();
    assert_eq!(layers, [Some("volume-snap-s1.img"), Some("volume-snap-s1.img"), None, None]);
}

#[test]
fn equal_replicas_end_with_zero() {
    let Some((mount, left)) = place() else { return };
    let right = make(&mount, "other", &line());
    let (out, _) = expect(&chain("diff", &[&left, &right], &[]).output().unwrap(), 0);
    assert!(
        out.contains("the volume           same\n") && out.contains(" are the same; read "),
        "{out}"
    );
    for more in [&["--json"][..], &["--json", "--ranges"]] {
        let report = json(&expect(&chain("diff", &[&left, &right], more).output().unwrap(), 0).0);
        assert_eq!((&report["same"], &report["volume"]["read_bytes"]), (&true.into(), &0.into()));
    }
    let quiet = chain("diff", &[&left, &right], &["--quiet"]).output().unwrap();
    assert_eq!(expect(&quiet, 0), (String::new(), String::new()));
}

#[test]
fn what_cannot_be_compared_ends_with_two() {
    let Some((mount, left, right)) = two() else { return };
    let missing = mount.path().join("missing");
    let (_, err) = expect(&chain("diff", &[&left, &missing], &[]).output().unwrap(), 2);
    assert!(err.contains("missing: no such file or directory"), "{err}");
    let writer = File::options().write(true).open(right.join("volume-head-005.img")).unwrap();
    let (out, err) = expect(&chain("diff", &[&left, &right], &["--json"]).output().unwrap(), 2);
    assert!(err.contains("is open for writing in another process"), "{err}");
    assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    expect(&chain("diff", &[&left, &right], &["--force"]).output().unwrap(), 1);
    drop(writer);
    expect(&lacuna().args(["chain", "diff"]).arg(&left).output().unwrap(), 2);
    fs::remove_file(left.join("volume-snap-s0.img")).unwrap();
    expect(&chain("diff", &[&left, &right], &[]).output().unwrap(), 2);
}

#[test]
fn output_that_nobody_takes_changes_no_answer() {
    let Some((_mount, left, right)) = two() else { return };
    for more in [&["--ranges"][..], &["--json", "--ranges"], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = chain("diff", &[&left, &right], more).stdout(writer).output().unwrap();
        assert_eq!(expect(&output, 1).1, "");
        let full = Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let output = chain("diff", &[&left, &right], more).stdout(full).output().unwrap();
        assert!(expect(&output, 2).1.contains("cannot write to standard output"));
    }
}
