use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::common::{
    PATIENCE, Server, allocated, expect, interrupt, json, keys, lacuna, names, sample,
};
use crate::sync_stopped::interrupted;

const KEYS: [&str; 6] =
    ["allocated_bytes", "directory", "elapsed_seconds", "leftovers", "reclaimed_bytes", "unread"];

const PLAN_KEYS: [&str; 6] =
    ["allocated_bytes", "directory", "dry_run", "leftovers", "reclaimed_bytes_max", "unread"];

const LEFTOVER_KEYS: [&str; 7] =
    ["age_seconds", "allocated_bytes", "image", "in_use", "kind", "path", "size_bytes"];

fn partials(directory: &Path, more: &[&str]) -> Command {
    let mut partials = lacuna();
    partials.arg("partials").args(more).arg(directory);
    partials
}

#[track_caller]
fn in_json(directory: &Path, more: &[&str]) -> serde_json::Value {
    let output = partials(directory, &[&["--json"], more].concat()).output().unwrap();
    json(&expect(&output, 0).0)
}

/// The kinds in a report, each with what it says under `key`.
fn each<'a>(report: &'a serde_json::Value, key: &str) -> Vec<(&'a str, &'a serde_json::Value)> {
    let leftovers = report["leftovers"].as_array().unwrap().iter();
    leftovers.map(|left| (left["kind"].as_str().unwrap(), &left[key])).collect()
}

fn sync(source: &Path, target: &Path) -> Command {
    let mut sync = lacuna();
    sync.args(["sync", "--json"]).args([source, target]);
    sync
}

fn put(path: &Path) {
    std::fs::write(path, "something").unwrap();
}

#[test]
fn what_an_interrupted_sync_left_is_listed_removed_and_synced_anew() {
    for signal in [Signal::TERM, Signal::KILL] {
        let directory = tempfile::tempdir().unwrap();
        let (source, target, _) = interrupted(directory.path(), signal);
        let part = directory.path().join(".b.img.lacuna-data");
        let listed = in_json(directory.path(), &[]);
        assert_eq!(keys(&listed), PLAN_KEYS);
        assert_eq!(keys(&listed["leftovers"][0]), LEFTOVER_KEYS);
        assert_eq!(listed["directory"], directory.path().display().to_string());
        // One that is killed may not have come to write a record.
        let found = listed["leftovers"].as_array().unwrap();
        let found = found.iter().find(|left| left["kind"] == "part").unwrap();
        assert_eq!(found["path"], part.display().to_string());
        assert_eq!(found["image"], target.display().to_string());
        assert_eq!(found["size_bytes"], 400 << 20);
        assert_eq!(found["allocated_bytes"], allocated(&part));
        assert!(allocated(&part) > 8 << 20);
        assert!(each(&listed, "in_use").iter().all(|(_, used)| **used == false), "{listed}");
        if signal == Signal::TERM {
            assert_eq!(
                each(&listed, "in_use"),
                [("record", &false.into()), ("part", &false.into())]
            );
        }
        let max = listed["reclaimed_bytes_max"].as_u64().unwrap();
        assert_eq!(listed["allocated_bytes"], max);

        let removed = in_json(directory.path(), &["--remove"]);
        assert_eq!(keys(&removed), KEYS);
        assert_eq!(removed["reclaimed_bytes"], max);
        assert!(each(&removed, "removed").iter().all(|(_, removed)| **removed == true));
        assert_eq!(names(directory.path()), ["a.img"]);

        let report = json(&expect(&sync(&source, &target).output().unwrap(), 0).0);
        assert_eq!((&report["resumed_bytes"], &report["compared_bytes"]), (&0.into(), &0.into()));
        assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
        assert_eq!(names(directory.path()), ["a.img", "b.img"]);
    }
}

/// A process that is stopped; killed when dropped.
struct Stopped(Child);

impl Stopped {
    fn go_on(&self) {
        kill_process(Pid::from_child(&self.0), Signal::CONT).unwrap();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sync of a source that takes a moment, stopped amid it until it is told to go on.
fn stopped(source: &Path, target: &Path) -> Stopped {
    Pattern::whole(vec![Block::Data(3); 30_000]).write(source);
    let name = target.file_name().unwrap().to_str().unwrap();
    let part = target.with_file_name(format!(".{name}.lacuna-data"));
    for _ in 0..10 {
        let mut sync = sync(source, target);
        let mut child = Stopped(sync.args(["--jobs", "1"]).stdout(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while !part.metadata().is_ok_and(|part| part.len() > 0) && !target.exists() {
            assert!(start.elapsed() < PATIENCE, "nothing begins");
            std::thread::sleep(Duration::from_micros(200));
        }
        kill_process(Pid::from_child(&child.0), Signal::STOP).unwrap();
        while !is_stopped(child.0.id()) {
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        if part.exists() {
            return child;
        }
        child.go_on();
        child.0.wait().unwrap();
        std::fs::remove_file(target).unwrap();
    }
    panic!("the sync was always faster than the signal");
}

/// Stopped, or gone.
fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| {
        line.strip_prefix("State:").is_some_and(|state| state.trim().starts_with(['T', 'Z']))
    })
}

#[test]
fn what_a_running_sync_writes_is_in_use_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    let mut child = stopped(&source, &target);
    put(&directory.path().join("..b.img.lacuna-partial.lacuna-draft"));
    let before = names(directory.path());
    let listed = in_json(directory.path(), &[]);
    assert!(each(&listed, "in_use").iter().all(|(_, used)| **used == true), "{listed}");
    assert_eq!(listed["reclaimed_bytes_max"], 0);
    let removed = in_json(directory.path(), &["--remove"]);
    assert!(each(&removed, "removed").iter().all(|(_, removed)| **removed == false), "{removed}");
    let (out, _) = expect(&partials(directory.path(), &["--remove"]).output().unwrap(), 0);
    assert!(out.contains("  in use   ") && out.contains("removed 0, which took 0 B\n"), "{out}");
    assert_eq!(names(directory.path()), before);

    child.go_on();
    assert!(child.0.wait().unwrap().success());
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
    let (out, _) = expect(&partials(directory.path(), &["--remove"]).output().unwrap(), 0);
    assert_eq!(out, format!("nothing is left under {}\n", directory.path().display()));
}

#[test]
fn a_mark_stays_until_the_same_sync_has_completed_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    let mark = directory.path().join(".b.img.lacuna-unfinished");
    Pattern::whole(vec![Block::Data(3); 20_000]).write(&source);
    for _ in 0..10 {
        Pattern::whole(vec![Block::Data(4); 20_000]).write(&target);
        interrupt(&mut sync(&source, &target), Signal::KILL, |_| mark.exists());
        if mark.exists() {
            break;
        }
    }
    assert!(mark.exists(), "the sync was always faster than the signal");
    for more in [&[][..], &["--remove"]] {
        let report = in_json(directory.path(), more);
        assert_eq!(each(&report, "in_use"), [("mark", &false.into())]);
        assert_eq!(report["leftovers"][0]["path"], mark.display().to_string());
        assert!(report["leftovers"][0]["removed"] != true);
        let (out, _) = expect(&partials(directory.path(), more).output().unwrap(), 0);
        let told = "the image beside it is half written, and the same sync, fold, prune or squash again \
                    completes it\n";
        assert!(out.ends_with(told), "{out}");
        assert!(mark.exists());
    }
    expect(&sync(&source, &target).output().unwrap(), 0);
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
    assert_eq!(names(directory.path()), ["a.img", "b.img"]);
}

#[test]
fn what_a_killed_server_left_is_found_below_its_root() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir_all(root.join("vm7")).unwrap();
    Pattern::whole(vec![Block::Data(3); 30_000]).write(&source);
    let mut serve = lacuna();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(&root);
    let mut server = Server::start(&mut serve);
    let mut push = lacuna();
    push.args(["sync", "--bwlimit", "4M", "--compress", "none"]).arg(&source);
    push.arg(format!("lacuna://{}/vm7/b.img", server.address));
    let mut client = push.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let part = root.join("vm7/.b.img.lacuna-data");
    let start = Instant::now();
    while !part.metadata().is_ok_and(|part| part.len() > 0) {
        assert!(start.elapsed() < PATIENCE, "nothing arrives");
        std::thread::sleep(Duration::from_millis(1));
    }
    let listed = in_json(&root, &[]);
    assert!(each(&listed, "in_use").contains(&("part", &true.into())), "{listed}");
    server.kill();
    client.wait().unwrap();
    let removed = in_json(&root, &["--remove"]);
    assert!(each(&removed, "removed").contains(&("part", &true.into())), "{removed}");
    assert_eq!(names(&root.join("vm7")), [""; 0]);
}

#[test]
fn odd_names_are_printed_safely_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join(OsStr::from_bytes(b"d\r\xfe"));
    std::fs::create_dir(&below).unwrap();
    put(&below.join(OsStr::from_bytes(b".a\n\x1b[2J\xff \"b\".lacuna-data")));
    let listed = in_json(directory.path(), &[]);
    let path = format!(
        "{}/d\r\u{fffd}/.a\n\u{1b}[2J\u{fffd} \"b\".lacuna-data",
        directory.path().display()
    );
    assert_eq!(each(&listed, "path"), [("part", &path.into())]);
    for (more, state) in [(&[][..], "no"), (&["--remove"], "yes")] {
        let (out, _) = expect(&partials(directory.path(), more).output().unwrap(), 0);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        let name = "/d\\r\u{fffd}/.a\\n\\u{1b}[2J\u{fffd} \"b\".lacuna-data";
        assert!(lines[1].ends_with(name) && lines[1].contains(&format!(" {state} ")), "{out}");
    }
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0);
}

#[test]
fn a_dry_run_is_the_list_and_removes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    put(&directory.path().join(".a.lacuna-data"));
    put(&directory.path().join(".a.lacuna-partial"));
    let listed = in_json(directory.path(), &["--remove", "--dry-run"]);
    assert_eq!((keys(&listed), &listed["dry_run"]), (PLAN_KEYS.to_vec(), &true.into()));
    assert_eq!(listed["leftovers"], in_json(directory.path(), &["--dry-run"])["leftovers"]);
    for more in [&["--remove", "--dry-run"][..], &["--dry-run"], &[]] {
        let (out, _) = expect(&partials(directory.path(), more).output().unwrap(), 0);
        assert!(out.contains("total: 2 files, ") && out.contains("; --remove gives"), "{out}");
    }
    assert_eq!(names(directory.path()), [".a.lacuna-data", ".a.lacuna-partial"]);
    let output = partials(directory.path(), &["--remove", "--quiet"]).output().unwrap();
    assert_eq!(expect(&output, 0), (String::new(), String::new()));
    assert_eq!(names(directory.path()), [""; 0]);
    let empty = in_json(directory.path(), &[]);
    assert_eq!((keys(&empty), &empty["leftovers"]), (PLAN_KEYS.to_vec(), &serde_json::json!([])));
}

#[test]
fn what_is_no_directory_fails_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".a.lacuna-data");
    put(&file);
    for (path, words) in
        [(&file, "not a directory"), (&directory.path().join("none"), "no such file or directory")]
    {
        for more in [&["--json"][..], &["--json", "--remove"]] {
            let (out, err) = expect(&partials(path, more).output().unwrap(), 1);
            assert!(err.contains("cannot list ") && err.contains(words), "{err}");
            assert!(err.contains("what to do: check the path"), "{err}");
            assert_eq!(keys(&json(&out)), ["error", "remedy"]);
        }
    }
    assert!(file.exists());
    expect(&lacuna().arg("partials").output().unwrap(), 2);
}

/// `partials` as a user who may not do everything.
fn unprivileged(directory: &Path, bin: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(bin);
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.current_dir("/").arg("partials").args(more).arg(directory);
    command
}

/// A directory that everybody may enter, and the command, where everybody may run it.
pub(crate) fn open_to_all() -> (tempfile::TempDir, PathBuf) {
    let mode = Permissions::from_mode(0o755);
    let directory = tempfile::Builder::new().permissions(mode.clone()).tempdir().unwrap();
    let bin = directory.path().join("lacuna");
    // By a process of its own: what this one had open for writing could not be run.
    let copied = Command::new("cp").arg(assert_cmd::cargo::cargo_bin!("lacuna")).arg(&bin).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&bin, mode).unwrap();
    (directory, bin)
}

pub(crate) fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_removed_is_told_and_the_rest_is_removed() {
    let (directory, bin) = open_to_all();
    let path = |name: &str| directory.path().join("images").join(name);
    for name in ["hers", "his", "secret"] {
        std::fs::create_dir_all(path(name)).unwrap();
        put(&path(name).join(".a.lacuna-data"));
        put(&path(name).join(".a.lacuna-partial"));
        put(&path(name).join(".b.lacuna-data"));
        for file in names(&path(name)) {
            allow(&path(name).join(file), 0o666);
        }
    }
    allow(&path("his/.b.lacuna-data"), 0o000);
    allow(&path("his"), 0o777);
    allow(&path("hers"), 0o555);
    allow(&path("secret"), 0o000);
    let images = path("");
    let run = |more: &[&str]| unprivileged(&images, &bin, more).output().unwrap();

    let (out, err) = expect(&run(&[]), 0);
    assert!(out.contains(" ?       ") && out.contains("total: 6 files"), "{out}");
    assert!(err.ends_with("images/secret may not be read: not looked at\n"), "{err}");
    let (out, err) = expect(&run(&["--json"]), 0);
    assert_eq!(json(&out)["unread"], serde_json::json!([path("secret").display().to_string()]));
    assert_eq!(err, "");
    let listed = json(&out);
    let in_use: Vec<_> = each(&listed, "in_use").iter().map(|(_, used)| used.as_bool()).collect();
    assert_eq!(in_use, [[Some(false); 5].as_slice(), &[None]].concat());

    let (out, err) = expect(&run(&["--json", "--remove"]), 1);
    let report = json(&out);
    let removed: Vec<_> = each(&report, "removed").iter().map(|(_, gone)| **gone == true).collect();
    assert_eq!(removed, [false, false, false, true, true, false], "{out}");
    assert_eq!(keys(&report), ["error", "leftovers", "remedy"]);
    assert!(err.contains("cannot open ") && err.contains("his/.b.lacuna-data"), "{err}");
    assert!(err.contains("cannot remove ") && err.contains("hers/.a.lacuna-partial"), "{err}");
    assert!(err.contains("what to do: check the permissions"), "{err}");
    assert_eq!(names(&path("his")), [".b.lacuna-data"]);
    assert_eq!(names(&path("hers")), [".a.lacuna-data", ".a.lacuna-partial", ".b.lacuna-data"]);

    allow(&path("secret"), 0o700);
    allow(&path("hers"), 0o777);
    allow(&path("his/.b.lacuna-data"), 0o600);
}

#[test]
fn a_removal_that_is_told_to_stop_goes_on_when_it_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let count = || std::fs::read_dir(directory.path()).unwrap().count();
    for _ in 0..10 {
        for number in 0..500 {
            put(&directory.path().join(format!(".{number}.lacuna-data")));
        }
        let mut remove = partials(directory.path(), &["--remove"]);
        let output = interrupt(&mut remove, Signal::TERM, |_| count() < 500);
        if output.status.success() {
            continue;
        }
        let (_, err) = expect(&output, 1);
        assert!(err.contains("was stopped by a signal"), "{err}");
        assert!(err.contains("run the same command again to go on"), "{err}");
        assert!((1..500).contains(&count()));
        expect(&partials(directory.path(), &["--remove"]).output().unwrap(), 0);
        assert_eq!(count(), 0);
        return;
    }
    panic!("the removal was always faster than the signal");
}

/// Makes a file that was last written some time ago.
fn make(path: &Path, size: u64, allocated: u64, age: Duration) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, allocated).unwrap();
    file.set_len(size).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn the_list_in_the_readme_is_what_is_printed() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let path = |name: &str| mount.path().join("images").join(name);
    let (minute, hour, day) = (60, 3600, 24 * 3600);
    let make = |name: &str, size, allocated, age| {
        make(&path(name), size, allocated, Duration::from_secs(age));
    };
    make(".b.img.lacuna-partial", 178, 178, 7 * day / 2);
    make(".b.img.lacuna-data", 1 << 30, 48 << 20, 7 * day / 2);
    make("vm7/.disk.img.lacuna-data", 2 << 30, 9 << 20, 5 * minute / 2);
    make("vm9/disk.img", 8192, 8192, day);
    make("vm9/.disk.img.lacuna-unfinished", 234, 234, 11 * hour / 2);
    let part = File::open(path("vm7/.disk.img.lacuna-data")).unwrap();
    rustix::fs::flock(&part, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let readme = include_str!("../../../../README.md");
    let (_, shown) = readme.split_once("$ lacuna partials images\n").expect("an example");
    let (shown, _) = shown.split_once("```").unwrap();
    let output = lacuna().args(["partials", "images"]).current_dir(mount.path()).output().unwrap();
    assert_eq!(expect(&output, 0).0, shown);
}

#[test]
fn a_sparse_image_takes_what_it_has_allocated() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let part = mount.path().join(".a.img.lacuna-data");
    sample().write(&part);
    let listed = in_json(mount.path(), &[]);
    assert_eq!(each(&listed, "size_bytes"), [("part", &sample().size.into())]);
    assert_eq!(each(&listed, "allocated_bytes"), [("part", &allocated(&part).into())]);
    assert!(allocated(&part) < sample().size);
}

/// A squash that was killed between two names.
#[test]
fn another_name_of_a_layer_goes_and_the_layer_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (layer, link) = (path("volume-snap-a.img"), path(".volume-snap-b.img.lacuna-draft"));
    Pattern::whole(vec![Block::Data(1); 8]).write(&layer);
    std::fs::hard_link(&layer, &link).unwrap();
    let listed = in_json(directory.path(), &[]);
    assert_eq!(each(&listed, "in_use"), [("link", &false.into())]);
    assert_eq!(each(&listed, "allocated_bytes"), [("link", &0.into())]);
    assert_eq!(each(&listed, "image")[0].1, path("volume-snap-b.img").to_str().unwrap());
    // As a squash locks the layer that it writes.
    let locked = File::open(&layer).unwrap();
    rustix::fs::flock(&locked, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(each(&in_json(directory.path(), &[]), "in_use"), [("link", &true.into())]);
    in_json(directory.path(), &["--remove"]);
    assert!(link.exists());
    drop(locked);
    let (out, _) = expect(&partials(directory.path(), &[]).output().unwrap(), 0);
    assert!(out.contains("\nlink   "), "{out}");
    let removed = in_json(directory.path(), &["--remove"]);
    assert_eq!(
        (each(&removed, "removed"), &removed["reclaimed_bytes"]),
        (vec![("link", &true.into())], &0.into())
    );
    assert_eq!(names(directory.path()), ["volume-snap-a.img"]);
    // Under its only name, it is no link.
    std::fs::rename(&layer, &link).unwrap();
    let (out, _) = expect(&partials(directory.path(), &["--remove"]).output().unwrap(), 0);
    assert!(out.contains("nothing is left"), "{out}");
    assert!(link.exists());
}
