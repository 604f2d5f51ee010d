//! `lacuna export`, and `lacuna sync` of a replica directory.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};
use lacuna_testing::replica::{Replica, snapshot};
use rustix::process::Signal;

use crate::common::{PATIENCE, Server, expect, interrupt, json, keys, lacuna, names, sample, text};
use crate::partials::{allow, open_to_all};

/// A replica of two layers on a filesystem that has all kinds.
fn place() -> Option<(Mount, PathBuf, Replica)> {
    let mount = Mount::new(Fs::Ext4)?;
    let directory = mount.path().join("replica");
    fs::create_dir(&directory).unwrap();
    let mut head = vec![Block::Hole; sample().blocks.len()];
    head[1..4].fill(Block::Zero);
    head[50..60].fill(Block::Data(9));
    let base = Pattern::whole(sample().blocks);
    let replica = Replica::line(vec![base, Pattern::whole(head)]);
    replica.write(&directory);
    Some((mount, directory, replica))
}

fn flat() -> Vec<u8> {
    let mut blocks = sample().blocks;
    blocks[1..4].fill(Block::Zero);
    blocks[50..60].fill(Block::Data(9));
    Pattern::whole(blocks).bytes()
}

/// Runs a command that leases refuse as long as a program that another test is starting has its files open.
fn run(command: impl Fn() -> Command) -> Output {
    let begun = std::time::Instant::now();
    loop {
        let output = command().output().unwrap();
        let is_open = text(&output.stderr).contains("open for writing");
        if !is_open || begun.elapsed() > PATIENCE {
            return output;
        }
    }
}

fn export(words: &[&str], directory: &Path) -> Output {
    run(|| {
        let mut command = lacuna();
        command.current_dir(directory).arg("export").args(words);
        command
    })
}

#[test]
fn a_chain_is_exported_and_told_about() {
    let Some((mount, directory, replica)) = place() else { return };
    let here = mount.path();
    let (out, _) = expect(&export(&["--json", "--dry-run", "replica", "a.img"], here), 0);
    let plan = json(&out);
    assert_eq!(plan["dry_run"], true);
    assert!(!here.join("a.img").exists());
    let (out, err) = expect(&export(&["--json", "replica", "a.img"], here), 0);
    let report = json(&out);
    assert_eq!((err.as_str(), &report["source"]), ("", &"replica".into()));
    assert_eq!(report["written_bytes"], plan["written_bytes_max"]);
    assert_eq!(report["size_bytes"], replica.size);
    assert_eq!(report["zero_bytes"], 12 * BLOCK);
    assert!(fs::read(here.join("a.img")).unwrap() == flat());

    let (out, _) = expect(&export(&["replica", "--snapshot", "s0", "a.img"], here), 0);
    assert!(out.starts_with("replica -> a.img: "), "{out}");
    assert!(fs::read(here.join("a.img")).unwrap() == replica.layers[0].pattern.bytes());
    let [base, head] = [0, 1].map(|at| format!("replica/{}", replica.layers[at].file));
    let (_, err) = expect(&export(&[&base, &head, "b.img"], here), 0);
    assert_eq!(err, "");
    assert!(fs::read(here.join("b.img")).unwrap() == flat());
    let mut listed = names(&directory);
    listed.retain(|name| !name.ends_with(".img") && !name.ends_with(".meta"));
    assert_eq!(listed, ["revision.counter"]);
}

/// It is done as it was asked for, and said what is not in it.
#[test]
fn a_list_that_begins_in_the_middle_is_exported_with_a_warning() {
    let Some((mount, directory, replica)) = place() else { return };
    let (head, here) = (format!("replica/{}", replica.head), mount.path());
    let warned =
        format!("{head}: its .meta file names volume-snap-s0.img, which is not in the list: what");
    let (_, err) = expect(&export(&[&head, "a.img"], here), 0);
    assert!(err.contains(&(warned.clone() + " that holds reads as zeros")), "{err}");
    let read = fs::read(here.join("a.img")).unwrap();
    assert!(read == replica.layers[1].pattern.bytes());
    File::create(here.join("base.raw")).unwrap().set_len(replica.size).unwrap();
    let (_, err) = expect(&export(&["--backing", "base.raw", &head, "a.img"], here), 0);
    assert!(err.contains(&(warned + " that holds is missing")), "{err}");
    fs::write(directory.join(format!("{}.meta", replica.head)), "{").unwrap();
    let (_, err) = expect(&export(&[&head, "a.img"], here), 0);
    assert!(err.contains("volume-head-001.img.meta"), "{err}");
}

#[test]
fn what_describes_a_replica_is_not_written_over() {
    let Some((mount, directory, replica)) = place() else { return };
    let meta = format!("{}.meta", replica.head);
    for name in ["volume.meta", &meta, &replica.head] {
        let before = fs::read(directory.join(name)).unwrap();
        let output = export(&["replica", &format!("replica/{name}")], mount.path());
        let status = if name == "volume.meta" { 2 } else { 1 };
        let (_, err) = expect(&output, status);
        assert!(err.contains(name), "{err}");
        assert!(fs::read(directory.join(name)).unwrap() == before, "{name}");
    }
}

/// Writes another value for a key of `volume.meta`.
fn say(directory: &Path, key: &str, value: &str) {
    let path = directory.join("volume.meta");
    let mut volume = json(&fs::read_to_string(&path).unwrap());
    volume[key] = json(value);
    fs::write(&path, volume.to_string()).unwrap();
}

#[test]
fn what_a_replica_lacks_is_had_by_an_option_that_is_named() {
    let Some((mount, directory, _)) = place() else { return };
    let here = mount.path();
    say(&directory, "BackingFilePath", "\"/images/base.raw\"");
    let (_, err) = expect(&export(&["replica", "a.img"], here), 1);
    assert!(err.contains("name a raw copy of it: --backing FILE"), "{err}");
    say(&directory, "BackingFilePath", "\"\"");
    say(&directory, "Rebuilding", "true");
    let force = "what has arrived of it can be had all the same: --force";
    for words in [&["replica", "a.img"][..], &["--dry-run", "replica", "a.img"]] {
        let (_, err) = expect(&export(words, here), 1);
        assert!(err.contains(force), "{err}");
    }
    let (_, err) = expect(&sync(&["replica", "copy"], here), 1);
    assert!(err.contains(force), "{err}");
    let squash = ["chain", "squash", "replica", "--from", "s0", "--to", "volume-head-001.img"];
    let squash = lacuna().current_dir(here).args(squash).output().unwrap();
    let (_, err) = expect(&squash, 1);
    assert!(err.contains("use another replica") && !err.contains("--force"), "{err}");
}

#[test]
fn a_directory_elsewhere_wants_its_slash() {
    let Some((mount, _, _)) = place() else { return };
    let mut serve = lacuna();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(mount.path());
    let server = Server::start(&mut serve);
    let there = format!("lacuna://{}/replica", server.address);
    let (_, err) = expect(&sync(&[&there, "copy"], mount.path()), 1);
    assert!(err.contains("a replica directory as SRC ends in a slash, HOST:DIR/"), "{err}");
    for more in [&[][..], &["--dry-run"]] {
        let (_, err) = expect(&sync(&[more, &["replica", &there]].concat(), mount.path()), 1);
        assert!(err.contains("are the same directory"), "{err}");
        let there = there.clone() + "/";
        let (_, err) = expect(&sync(&[more, &[&there, "replica"]].concat(), mount.path()), 1);
        assert!(err.contains("name two different directories"), "{err}");
    }
}

#[test]
fn what_is_wrong_with_an_export_is_said_with_what_to_do() {
    let Some((mount, directory, replica)) = place() else { return };
    let here = mount.path();
    fs::create_dir(here.join("empty")).unwrap();
    for (words, code, said) in [
        (&["empty", "a.img"][..], 1, "no replica directory"),
        (&["missing", "a.img"], 1, "no such file"),
        (&["replica"], 2, "behind them DST"),
        (&["replica", "--snapshot", "s9", "a.img"], 1, "volume-snap-s0.img"),
        (
            &["replica/volume-snap-s0.img", "--snapshot", "s0", "a.img"],
            2,
            "for replica directories",
        ),
        (&["replica", "replica/volume-snap-s0.img"], 1, "is a layer"),
        (&["--snapshot", "s0", "replica", "replica/volume-head-001.img"], 1, "is a layer"),
        (&["replica", "--chmod", "600", "ssync://127.0.0.1:1"], 2, "--chmod"),
    ] {
        let (_, err) = expect(&export(words, here), code);
        assert!(err.contains(said), "{words:?}: {err}");
    }
    let writer = File::options().write(true).open(directory.join(&replica.head)).unwrap();
    let refused = lacuna().current_dir(here).args(["export", "replica", "a.img"]).output().unwrap();
    let (_, err) = expect(&refused, 1);
    assert!(err.contains("is open for writing") && err.contains("fuser"), "{err}");
    expect(&export(&["--force", "replica", "a.img"], here), 0);
    drop(writer);
    assert!(fs::read(here.join("a.img")).unwrap() == flat());
}

/// Who may not ask for a lease is told what could not be seen.
#[test]
fn a_replica_of_another_user_is_exported_with_a_warning() {
    let Some((mount, directory, _)) = place() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_bin, bin) = open_to_all();
    let (images, open) = (fs::read_dir(&directory).unwrap(), mount.path().join("open"));
    images.for_each(|image| allow(&image.unwrap().path(), 0o644));
    fs::create_dir(&open).unwrap();
    for (path, mode) in [
        (mount.path().parent().unwrap(), 0o755),
        (mount.path(), 0o755),
        (&*directory, 0o755),
        (&*open, 0o777),
    ] {
        allow(path, mode);
    }
    let mut command = Command::new(&bin);
    command.uid(65534).gid(65534).current_dir("/").arg("export").arg(&directory);
    let (_, err) = expect(&command.arg(open.join("a.img")).output().unwrap(), 0);
    let warned = "whether others have it open for writing cannot be seen by this user";
    assert_eq!(err.matches(warned).count(), 2, "{err}");
    assert!(fs::read(open.join("a.img")).unwrap() == flat());
    let (_, err) = expect(&export(&["replica", "a.img"], mount.path()), 0);
    assert!(!err.contains(warned), "{err}");
}

/// Of a dry run between directories on this machine.
const PLAN_KEYS: [&str; 19] = [
    "cleared_bytes",
    "compared_bytes",
    "data_bytes",
    "dry_run",
    "free_bytes",
    "hole_bytes",
    "layer_count",
    "needed_bytes",
    "protocol",
    "read_bytes",
    "reflink_bytes",
    "removed_files",
    "resumed_bytes",
    "size_bytes",
    "skipped_layer_count",
    "source",
    "target",
    "written_bytes_max",
    "zero_bytes",
];

fn sync(words: &[&str], directory: &Path) -> Output {
    run(|| {
        let mut command = lacuna();
        command.current_dir(directory).arg("sync").args(words);
        command
    })
}

#[test]
fn a_replica_directory_is_copied_and_told_about() {
    let Some((mount, directory, replica)) = place() else { return };
    let here = mount.path();
    let (out, _) = expect(&sync(&["--json", "--dry-run", "replica", "copy"], here), 0);
    let plan = json(&out);
    assert_eq!(keys(&plan), PLAN_KEYS);
    assert_eq!((&plan["layer_count"], &plan["protocol"]), (&2.into(), &"local".into()));
    assert_eq!(plan["removed_files"], serde_json::json!([]));
    assert!(!here.join("copy").exists());
    let (out, err) = expect(&sync(&["--json", "replica", "copy"], here), 0);
    assert_eq!(err, "");
    let report = json(&out);
    assert_eq!(
        keys(&report),
        [
            "compared_bytes",
            "elapsed_seconds",
            "layer_count",
            "protocol",
            "read_bytes",
            "removed_file_count",
            "sent_bytes",
            "size_bytes",
            "skipped_layer_count",
            "source",
            "target",
            "wire_bytes",
            "written_bytes"
        ]
    );
    assert_eq!(names(&here.join("copy")), names(&directory));
    for layer in &replica.layers {
        let copy = fs::read(here.join("copy").join(&layer.file)).unwrap();
        assert!(copy == layer.pattern.bytes(), "{}", layer.file);
    }
    let (out, _) = expect(&sync(&["replica", "copy"], here), 0);
    assert!(out.contains("2 layers") && out.contains("written 0 B"), "{out}");
    for (words, code, said) in [
        (&["--no-fast", "replica", "copy"][..], 2, "--no-fast"),
        (&["--chmod", "600", "replica", "copy"], 2, "--chmod is for images only"),
        (&["--tls-ca", "x", "replica", "lacuna://127.0.0.1:1/r"], 2, "--tls-ca is for lacunas://"),
        (
            &["--rsh", "false", "replica", "lacuna://127.0.0.1:1/r"],
            2,
            "--rsh is for HOST:PATH only",
        ),
        (&["--verify", "replica", "copy"], 2, "--verify is for HOST:PATH, lacuna:// and"),
        (&["--reflink", "auto", "replica", "node:copy"], 2, "--reflink is for paths"),
        (&["--force", "replica/volume-snap-s0.img", "a.img"], 2, "replica directories only"),
        (&["replica", "replica"], 1, "replica and replica are the same directory"),
        (&["replica", "ssync://127.0.0.1:1"], 2, "knows no directories"),
        (&["node:dir/", "other:dir"], 2, "must be a path on this machine"),
    ] {
        let (_, err) = expect(&sync(words, here), code);
        assert!(err.contains(said), "{words:?}: {err}");
    }
}

/// A copy that was stopped in the middle by `signal`.
fn stopped(place: &Path, signal: Signal) -> Output {
    let (target, volume) = (place.join("copy"), place.join("copy/volume.meta"));
    for _ in 0..10 {
        let _ = fs::remove_dir_all(&target);
        let mut command = lacuna();
        command.current_dir(place).args(["sync", "replica", "copy", "--jobs", "1"]);
        let output = interrupt(&mut command, signal, |_| volume.exists());
        let is_refused = text(&output.stderr).contains("open for writing");
        if !output.status.success() && !is_refused {
            return output;
        }
    }
    panic!("the copy was always faster than the signal");
}

/// Killed in the middle, the target says that it is not complete, and the same command completes it.
#[test]
fn a_copy_of_a_replica_that_is_killed_says_so_and_goes_on() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (directory, target) = (mount.path().join("replica"), mount.path().join("copy"));
    fs::create_dir(&directory).unwrap();
    let large = |seed| Pattern::whole(vec![Block::Data(seed); 6000]);
    Replica::line(vec![large(1), large(2)]).write(&directory);
    for signal in [Signal::KILL, Signal::TERM] {
        let output = stopped(mount.path(), signal);
        let says = fs::read_to_string(target.join("volume.meta")).unwrap();
        assert!(says.contains("\"Rebuilding\":true"), "{says}");
        let err = text(&output.stderr);
        let is_told = err.contains("copy says Rebuilding until a copy is complete");
        assert_eq!(is_told, signal == Signal::TERM, "{err}");
        expect(&sync(&["replica", "copy"], mount.path()), 0);
        assert_eq!(names(&target), names(&directory));
        for name in names(&directory) {
            let [source, copy] = [&directory, &target].map(|of| fs::read(of.join(&name)).unwrap());
            assert!(source == copy, "{name}");
        }
    }
    assert!(directory.join(snapshot("s0")).exists());
}
