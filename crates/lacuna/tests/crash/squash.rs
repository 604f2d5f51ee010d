//! A squash that is interrupted at any of its steps: what is read through every tip that remains is the same,
//! and the same squash ends as if nothing had happened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use lacuna::chain::ChainError;
use lacuna::chain::squash::{self, Span, SquashOptions, SquashStats};
use lacuna::{Cancel, Error, Kept, Progress, Stopped};
use lacuna_testing::Steps;
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::Replica;
use rustix::fs::syncfs;
use rustix::process::{Signal, getpid, kill_process};

use crate::chain::{differ, grow, overlay, partial, read};
use crate::content::Content;
use crate::fold::fill;
use crate::interrupted::{EIO, ENOSPC};
use crate::points::Points;
use crate::scenario::{check_checksum, names, write_checksum};

use Block::{Data, DataLastByte, Hole, Zero};

/// Where the process that dies finds what to do, and where to die.
const POINT: &str = "LACUNA_TEST_SQUASH_POINT";
const FREE: &str = "LACUNA_TEST_SQUASH_FREE";
const DIRECTORY: &str = "LACUNA_TEST_SQUASH_DIRECTORY";

/// Of six layers, the second to the fifth become one.
const OLD: &str = "volume-snap-s1.img";
const NEW: &str = "volume-snap-s4.img";

/// What is read through one of these is the same at every instant.
const TIPS: [&str; 3] = ["volume-snap-s0.img", NEW, "volume-head-005.img"];

fn run(directory: &Path, free: bool) -> Result<SquashStats, Stopped> {
    let (old, new) = (OLD.to_owned(), NEW.to_owned());
    let span = Span::Replica { directory: directory.to_owned(), old, new };
    // On one thread, so that the steps keep their order.
    let options = SquashOptions { threads: 1, free, ..SquashOptions::default() };
    squash::apply(&span, &options, &Progress::default(), &Cancel::default())
}

/// Each kind over each, runs that are shared, a volume that grows in the middle, and ends within a block.
fn layers() -> Vec<Pattern> {
    let each = |seed: u8| [Hole, Zero, Data(seed)];
    // Of 81 blocks, one for each way in which four layers can hold it.
    let row = |seed: u8, every: usize| (0..81).map(move |at| each(seed)[at / every % 3]);
    let base = vec![Data(1); 90];
    let old = row(2, 27).chain([Hole; 17]).collect();
    let low = row(3, 9).chain([Data(3); 17]).chain([DataLastByte]).collect();
    let mid = row(4, 3).chain([Hole; 17]).chain([Hole, Data(0), Zero, Data(4)]).collect();
    let new = row(5, 1).chain([Hole; 21]).chain([Data(5), Hole, Data(5)]).collect();
    let head = [[Hole; 40].as_slice(), &[Data(6); 70]].concat();
    [base, old, low, mid, new, head].map(partial).to_vec()
}

/// A directory on a filesystem of its own.
struct Scene {
    mount: Mount,
    free: bool,
    made: Replica,
    /// Through each tip.
    read: BTreeMap<&'static str, Vec<u8>>,
    expected: Content,
    /// What an undisturbed squash leaves.
    after: Vec<(String, Vec<u8>)>,
}

impl Scene {
    fn new(fs: Fs, free: bool, layers: Vec<Pattern>) -> Option<Self> {
        let options = MountOptions { size_mib: 16, ..MountOptions::default() };
        let mount = Mount::with(fs, &options)?;
        std::fs::create_dir(mount.path().join("chain")).unwrap();
        let content = |layer: &Pattern| Content { bytes: layer.bytes(), kinds: layer.kinds() };
        let contents: Vec<_> = layers.iter().map(content).collect();
        let read = [1, 5, 6].map(|count| read(&contents[..count]));
        let mut expected = contents[1].clone();
        for above in &contents[2..=4] {
            grow(&mut expected, above.bytes.len());
            overlay(&mut expected, above);
        }
        let (made, read) = (Replica::line(layers), TIPS.into_iter().zip(read).collect());
        Some(Self { mount, free, made, read, expected, after: vec![] })
    }

    fn directory(&self) -> PathBuf {
        self.mount.path().join("chain")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn prepare(&self) {
        for name in names(&self.directory()) {
            std::fs::remove_file(self.path(&name)).unwrap();
        }
        self.made.write(&self.directory());
        for layer in &self.made.layers {
            write_checksum(&self.path(&layer.file));
        }
        syncfs(File::open(self.directory()).unwrap()).unwrap();
    }

    fn run(&self) -> Result<SquashStats, Stopped> {
        run(&self.directory(), self.free)
    }

    /// The points that an undisturbed squash passes; what it leaves is what others are compared with.
    fn undisturbed(&mut self, points: &Points) -> Vec<&'static str> {
        self.prepare();
        self.check("at first");
        let passed = points.passed_by(|| drop(self.run().unwrap()));
        self.check("undisturbed");
        Content::of(&self.path(NEW)).assert_is(&self.expected, "undisturbed");
        self.after = self.found();
        let gone = |name: &str| names(&self.directory()).iter().all(|left| !left.contains(name));
        assert!(
            [OLD, "s2", "s3", ".lacuna"].into_iter().all(gone),
            "{:?}",
            names(&self.directory())
        );
        passed
    }

    /// The files that are there, and what small ones hold; `.checksum` files speak of times.
    fn found(&self) -> Vec<(String, Vec<u8>)> {
        let text = |name: &String| match name.ends_with(".meta") {
            true => std::fs::read(self.path(name)).unwrap(),
            false => vec![],
        };
        names(&self.directory()).into_iter().map(|name| (name.clone(), text(&name))).collect()
    }

    /// The layers that `tip` reads through, the base first, as the `.meta` files say.
    fn chain(&self, tip: &str) -> Vec<Content> {
        let (mut chain, mut name) = (vec![], tip.to_owned());
        while !name.is_empty() {
            chain.insert(0, Content::of(&self.path(&name)));
            let meta = std::fs::read(self.path(&format!("{name}.meta"))).unwrap();
            let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
            name = meta["Parent"].as_str().unwrap().to_owned();
        }
        chain
    }

    /// Whatever happened: nothing is lost, and nothing vouches for what it is not.
    #[track_caller]
    fn check(&self, what: &str) {
        for (tip, expected) in &self.read {
            let mut chain = self.chain(tip);
            let newest = chain.pop().unwrap();
            // An older layer may be as large as the newest already.
            chain
                .iter_mut()
                .for_each(|layer| grow(layer, layer.bytes.len().min(newest.bytes.len())));
            chain.push(newest);
            if let Some(at) = differ(&read(&chain), expected) {
                panic!("{what}: {tip} reads differently in block {at}");
            }
        }
        for layer in &self.made.layers {
            let path = self.path(&layer.file);
            if path.exists() {
                check_checksum(&path, &Content::of(&path), what);
            }
        }
    }

    /// The same again ends as if nothing had happened.
    #[track_caller]
    fn complete(&self, what: &str) {
        let done = self.found() == self.after;
        match self.run() {
            Ok(_) => {}
            // It had come to its end.
            Err(Stopped { cause: Error::Chain(ChainError::NoOldest { .. }), .. }) if done => {}
            Err(error) => panic!("{what}: the second time: {error:?}"),
        }
        self.check(&format!("{what}: the second time"));
        Content::of(&self.path(NEW)).assert_is(&self.expected, what);
        let names = |found: &[(String, Vec<u8>)]| {
            found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&self.found()), names(&self.after), "{what}");
        assert!(self.found() == self.after, "{what}: the .meta files");
    }
}

/// Interrupts at these of the points, and squashes again.
fn everywhere(
    scene: Option<Scene>,
    points: &Points,
    steps: Steps,
    interrupt: impl Fn(&mut Scene, &[&'static str], usize),
) {
    let Some(mut scene) = scene else { return };
    let passed = scene.undisturbed(points);
    for number in steps.of(&passed) {
        scene.prepare();
        interrupt(&mut scene, &passed, number);
        let what = format!("at {number} of {}, {}", passed.len(), passed[number]);
        scene.check(&what);
        scene.complete(&what);
    }
}

fn cut_everywhere(scene: Option<Scene>, steps: Steps) {
    let points = Points::take();
    everywhere(scene, &points, steps, |scene, _, number| {
        points.at(number, scene.mount.power_cutter());
        // Whether it was done by then shows on the disk.
        drop(scene.run());
        points.clear();
        scene.mount.remount();
    });
}

#[test]
fn a_squash_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scene::new(Fs::Ext4, false, layers()), Steps::Sampled);
}

#[test]
fn a_squash_that_frees_on_ext4_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scene::new(Fs::Ext4, true, layers()), Steps::Every);
}

#[test]
fn a_squash_that_frees_on_xfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scene::new(Fs::Xfs, true, layers()), Steps::Sampled);
}

#[test]
fn a_squash_on_btrfs_survives_a_power_cut_at_every_step() {
    cut_everywhere(Scene::new(Fs::Btrfs, false, layers()), Steps::Sampled);
}

#[test]
fn an_error_at_any_step_of_a_squash_is_reported_and_repairable() {
    let points = Points::take();
    for (fs, free, errno, steps) in
        [(Fs::Ext4, true, EIO, Steps::Every), (Fs::Xfs, false, ENOSPC, Steps::Sampled)]
    {
        everywhere(Scene::new(fs, free, layers()), &points, steps, |scene, passed, number| {
            let inode =
                |name: &str| std::fs::metadata(scene.path(name)).ok().map(|file| file.ino());
            let old = inode(OLD);
            points.fail_at(passed, number, errno);
            let result = scene.run();
            points.clear();
            let error = result.expect_err("an error that nobody noticed");
            assert_eq!(errno, rustix_number(&error), "{error:?}");
            let is_replaced = inode(NEW) == old;
            let squashed = Kept::HalfSquashed(scene.path(NEW));
            let is_squashed = error.kept == squashed;
            assert!(!is_replaced || is_squashed, "at {number}: {:?}", error.kept);
        });
    }
}

fn rustix_number(error: &Stopped) -> i32 {
    match &error.cause {
        Error::Io { source, .. } => source.raw_os_error().unwrap(),
        _ => panic!("{error:?}"),
    }
}

#[test]
fn a_squash_survives_being_killed_at_every_step_and_once_more() {
    let points = Points::take();
    for (fs, free) in [(Fs::Ext4, true), (Fs::Xfs, false)] {
        everywhere(
            Scene::new(fs, free, layers()),
            &points,
            Steps::Sampled,
            |scene, passed, number| {
                kill_at(number, &scene.directory(), scene.free);
                scene.check(&format!("killed at {number}"));
                if names(&scene.directory()).contains(&format!("{OLD}.meta")) {
                    kill_at((passed.len() - 1 - number) / 2, &scene.directory(), scene.free);
                }
            },
        );
    }
}

fn kill_at(number: usize, directory: &Path, free: bool) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "squash::dies", "--ignored", "--nocapture"])
        .env(POINT, number.to_string())
        .env(FREE, free.to_string())
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed || status.success(), "at {number}: {status}");
}

#[test]
#[ignore = "other tests run it, as a process of its own"]
fn dies() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let free = std::env::var(FREE).unwrap().parse().unwrap();
    let number: usize = std::env::var(POINT).unwrap().parse().unwrap();
    let points = Points::take();
    points.at(number, || kill_process(getpid(), Signal::KILL).unwrap());
    run(Path::new(&directory), free).unwrap();
}

#[test]
fn a_disk_that_fills_up_amid_a_squash_leaves_a_whole_chain_that_is_squashed_once_there_is_room() {
    let points = Points::take();
    let rows = |seed: u8| Pattern::whole([[Data(seed), Hole].repeat(300), vec![Zero; 9]].concat());
    let empty = || Pattern::whole(vec![Hole; 609]);
    let layers =
        || vec![Pattern::whole(vec![Data(1); 609]), empty(), rows(3), rows(4), rows(5), empty()];
    for (fs, free) in [(Fs::Ext4, false), (Fs::Ext4, true), (Fs::Xfs, false)] {
        let Some(mut scene) = Scene::new(fs, free, layers()) else { continue };
        scene.undisturbed(&points);
        scene.prepare();
        let filler = scene.mount.path().join("filler");
        let (path, writes) = (filler.clone(), AtomicUsize::new(0));
        points.visit(move |name, _| {
            if name == "image.write" && writes.fetch_add(1, Ordering::SeqCst) == 20 {
                fill(&path);
            }
        });
        let stopped = scene.run().unwrap_err();
        points.clear();
        assert_eq!(stopped.cause.io_kind(), Some(ErrorKind::StorageFull), "{fs:?}: {stopped:?}");
        assert!(matches!(stopped.kept, Kept::HalfFolded { .. }), "{stopped:?}");
        scene.check("on a full disk");
        // At once: XFS does that later for a file that is only removed.
        File::create(&filler).unwrap();
        scene.complete("on a full disk");
    }
}

/// When the oldest layer gets the other name, it holds all durably and is marked no more; the directory is made
/// durable between any two steps of the end.
#[test]
fn the_steps_of_the_end_come_one_after_the_other() {
    let points = Points::take();
    let Some(mut scene) = Scene::new(Fs::Ext4, false, layers()) else { return };
    let passed = scene.undisturbed(&points);
    let link = passed.iter().position(|name| *name == "beside.link").unwrap();
    assert!(passed[link..].iter().all(|name| !name.starts_with("image.")), "{passed:?}");
    let last_write = passed.iter().rposition(|name| *name == "image.write").unwrap();
    assert!(passed[last_write..link].contains(&"image.sync"), "{passed:?}");
    for pair in passed[link..].windows(2) {
        let changes = |name: &str| ["beside.rename", "beside.remove"].contains(&name);
        assert!(!changes(pair[0]) || pair[1] == "beside.sync-directory", "{passed:?}");
    }
    let renames = passed[link..].iter().filter(|name| **name == "beside.rename").count();
    assert_eq!(renames, 2, "the image, and its .meta file");
}

/// A layer that `volume.meta` names as the parent of its head is there at every instant, and in the end it is the
/// one that the head names.
#[test]
fn a_squash_up_to_the_head_leaves_a_volume_that_names_a_layer_which_is_there() {
    let points = Points::take();
    let options = MountOptions { size_mib: 16, ..MountOptions::default() };
    let Some(mut mount) = Mount::with(Fs::Ext4, &options) else { return };
    let directory = mount.path().join("chain");
    std::fs::create_dir(&directory).unwrap();
    let layer = |seed| Pattern::whole(vec![Data(seed)]);
    let made = Replica::line(vec![layer(1), layer(2), Pattern::whole(vec![Hole])]);
    let (old, head, under) = ("volume-snap-s1.img", "volume-head-002.img", "volume-snap-s0.img");
    let prepare = || {
        names(&directory).iter().for_each(|name| drop(std::fs::remove_file(directory.join(name))));
        made.write(&directory);
        let text = made.text().replace("\"Parent\":\"\"", &format!("\"Parent\":\"{old}\""));
        std::fs::write(directory.join("volume.meta"), text).unwrap();
        syncfs(File::open(&directory).unwrap()).unwrap();
    };
    let squash = || {
        let (directory, old, new) = (directory.clone(), old.to_owned(), head.to_owned());
        let span = Span::Replica { directory, old, new };
        squash::apply(&span, &SquashOptions::default(), &Progress::default(), &Cancel::default())
    };
    let parent = |name: &str| {
        let text = std::fs::read(directory.join(name)).unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&text).unwrap();
        meta["Parent"].as_str().unwrap().to_owned()
    };
    let head_meta = format!("{head}.meta");
    prepare();
    let passed = points.passed_by(|| drop(squash().unwrap()));
    let link = passed.iter().position(|name| *name == "beside.link").unwrap();
    for number in link..passed.len() {
        prepare();
        points.at(number, mount.power_cutter());
        drop(squash());
        points.clear();
        mount.remount();
        for named in [parent("volume.meta"), parent(&head_meta)] {
            assert!(directory.join(&named).exists(), "at {number}: {named}");
        }
        match squash().map_err(|stopped| stopped.cause) {
            Ok(_) | Err(Error::Chain(ChainError::NoOldest { .. })) => {}
            Err(error) => panic!("at {number}: {error:?}"),
        }
        assert_eq!([parent("volume.meta"), parent(&head_meta)], [under, under], "at {number}");
        assert_eq!(std::fs::read(directory.join(head)).unwrap(), layer(2).bytes());
        assert!(!directory.join(old).exists());
    }
}
