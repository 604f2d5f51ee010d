use std::fs::File;

use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::{Layer, Meta};
use rustix::fs::{FlockOperation, flock};

use lacuna_testing::mount::{Fs, Mount};

use super::{chain, line, make, place};
use crate::common::{expect, json, keys, lacuna};

const KEYS: [&str; 9] = [
    "backing_file",
    "directory",
    "dirty",
    "elapsed_seconds",
    "engine_error",
    "head",
    "layers",
    "rebuilding",
    "size_bytes",
];

const LAYER_KEYS: [&str; 12] = [
    "allocated_bytes",
    "checksum",
    "created",
    "exclusive_bytes",
    "head",
    "hidden_bytes",
    "labels",
    "layer",
    "parent",
    "removed",
    "size_bytes",
    "user_created",
];

#[test]
fn the_tree_is_shown_with_what_each_layer_has() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let mut made = line();
    let labels = vec![("kind".to_owned(), "daily\\u001b[2J".to_owned())];
    let branch = |file: &str, parent: &str, pattern| Layer {
        file: file.to_owned(),
        parent: parent.to_owned(),
        pattern,
        meta: Meta::Whole { user_created: false, removed: true, labels: labels.clone() },
    };
    let holes = Pattern::whole(vec![Block::Hole; 4]);
    made.layers.push(branch("volume-snap-x.img", "volume-snap-s0.img", holes.clone()));
    made.layers.push(branch("volume-snap-y.img", "volume-snap-x.img", holes));
    let directory = make(&mount, "replica", &made);
    let (out, err) = expect(&chain("ls", &[&directory], &[]).output().unwrap(), 0);
    let heading =
        "16.0 KiB, head volume-head-002.img, dirty; 5 layers, 32.0 KiB allocated, 4.00 KiB hidden";
    let created = "2024-02-25T23:10:17Z";
    let expected = [
        format!("{}: {heading}", directory.display()),
        "layer                    size allocated exclusive    hidden  checksum   is".to_owned(),
        format!(
            "volume-snap-s0.img   16.0 KiB  16.0 KiB  16.0 KiB       0 B  none       user {created}"
        ),
        "####".to_owned(),
        format!(
            "+ volume-snap-x.img  16.0 KiB       0 B       0 B       0 B  none       removed {created} kind=daily\\u{{1b}}[2J"
        ),
        "....".to_owned(),
        format!(
            "  volume-snap-y.img  16.0 KiB       0 B       0 B       0 B  none       removed {created} kind=daily\\u{{1b}}[2J"
        ),
        "....".to_owned(),
        format!(
            "volume-snap-s1.img   16.0 KiB  8.00 KiB  8.00 KiB  4.00 KiB  none       user {created}"
        ),
        "#-..".to_owned(),
        format!(
            "volume-head-002.img  16.0 KiB  8.00 KiB  8.00 KiB       0 B  none       head user {created}"
        ),
        ".##.".to_owned(),
        "# visible  + some visible  - hidden  . nothing".to_owned(),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected, "{out}");
    assert_eq!(err, "");
    let quiet = chain("ls", &[&directory], &["--quiet"]).output().unwrap();
    assert_eq!(expect(&quiet, 0), (String::new(), String::new()));
}

#[test]
fn the_object_has_all_of_it_also_of_a_replica_in_use() {
    let Some((_mount, directory)) = place() else { return };
    let image = directory.join("volume-snap-s1.img");
    expect(&lacuna().args(["hash", "--write"]).arg(image).output().unwrap(), 0);
    let head = File::options().write(true).open(directory.join("volume-head-002.img")).unwrap();
    flock(&head, FlockOperation::LockExclusive).unwrap();
    for (more, checksum) in [(&["--json"][..], "fresh"), (&["--json", "--verify"], "right")] {
        let report = json(&expect(&chain("ls", &[&directory], more).output().unwrap(), 0).0);
        assert_eq!(
            (keys(&report), keys(&report["layers"][1])),
            (KEYS.to_vec(), LAYER_KEYS.to_vec())
        );
        let s1 = &report["layers"][1];
        assert_eq!(s1["layer"], "volume-snap-s1.img");
        assert_eq!((&s1["checksum"], &s1["head"]), (&checksum.into(), &false.into()));
        assert_eq!((&s1["hidden_bytes"], &s1["exclusive_bytes"]), (&4096.into(), &8192.into()));
        assert_eq!((&report["dirty"], &report["size_bytes"]), (&true.into(), &16384.into()));
    }
}

#[test]
fn what_cannot_be_listed_fails() {
    let Some((_mount, directory)) = place() else { return };
    std::fs::remove_file(directory.join("volume-snap-s0.img")).unwrap();
    let output = chain("ls", &[&directory], &["--json"]).output().unwrap();
    let (out, err) = expect(&output, 1);
    assert!(err.contains("volume-snap-s0.img or its .meta file is missing"), "{err}");
    assert!(err.contains("what to do: bring volume-snap-s0.img back"), "{err}");
    assert_eq!(keys(&json(&out)), ["error", "remedy"]);
    std::fs::write(directory.join("volume-snap-s1.img.meta"), "").unwrap();
    let (_, err) = expect(&chain("ls", &[&directory], &[]).output().unwrap(), 1);
    assert!(err.ends_with("what to do: restore it from whoever keeps the chain\n"), "{err}");
}
