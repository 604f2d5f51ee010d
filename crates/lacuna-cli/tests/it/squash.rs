//! `lacuna chain squash` as a process.

use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Kind, Pattern, kinds_of};
use lacuna_testing::replica::Replica;
use rustix::process::Signal;

use crate::common::{allocated, expect, interrupt, json, keys, lacuna, names};

const KEYS: [&str; 16] = [
    "data_bytes",
    "elapsed_seconds",
    "free",
    "grown_bytes",
    "hole_bytes",
    "newest",
    "oldest",
    "only_removed",
    "read_bytes",
    "reclaimed_bytes",
    "reflinked_bytes",
    "removed_files",
    "size_bytes",
    "written_bytes",
    "zero_bytes",
    "zeroed_bytes",
];

const PLAN_KEYS: [&str; 17] = [
    "copy_bytes",
    "data_bytes",
    "dry_run",
    "fits",
    "free",
    "free_bytes",
    "grown_bytes",
    "hole_bytes",
    "needed_bytes",
    "newest",
    "oldest",
    "only_removed",
    "reflink_bytes",
    "removed_files",
    "size_bytes",
    "zero_bytes",
    "zero_range_bytes",
];

const NEW: &str = "volume-snap-s3.img";

/// A directory whose layers `s1` to `s3` become one.
struct Place {
    directory: PathBuf,
    /// What that one is.
    expected: Vec<u8>,
}

impl Place {
    /// Of runs of so many blocks.
    fn new(root: &Path, run: usize) -> Self {
        use Block::{Data, Hole, Zero};
        let directory = root.join("replica");
        std::fs::create_dir(&directory).unwrap();
        let pattern = |blocks: &[Block]| {
            Pattern::whole(blocks.iter().flat_map(|block| vec![*block; run]).collect())
        };
        let layers = [
            pattern(&[Data(9); 5]),
            pattern(&[Data(1), Data(1), Data(1), Hole, Hole]),
            pattern(&[Hole, Data(2), Data(2), Data(2), Hole]),
            pattern(&[Hole, Hole, Zero, Data(3), Hole]),
            pattern(&[Hole; 5]),
        ];
        Replica::line(layers.to_vec()).write(&directory);
        let expected = pattern(&[Data(1), Data(2), Zero, Data(3), Hole]).bytes();
        Self { directory, expected }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn squash(&self, more: &[&str]) -> Command {
        let mut squash = lacuna();
        squash.args(["chain", "squash", "--from", "s1", "--to", "s3"]).args(more);
        squash.arg(&self.directory);
        squash
    }

    /// Three layers are left.
    #[track_caller]
    fn assert_done(&self) {
        assert!(std::fs::read(self.path(NEW)).unwrap() == self.expected);
        let of = |at: usize| kinds_of(&self.path(NEW))[at * self.expected.len() / 5 / 4096];
        assert_eq!([0, 1, 2, 3, 4].map(of), {
            use Kind::{Data, Hole, Zero};
            [Data, Data, Zero, Data, Hole]
        });
        let left = [
            "revision.counter",
            "volume-head-004.img",
            "volume-head-004.img.meta",
            "volume-snap-s0.img",
            "volume-snap-s0.img.meta",
            NEW,
            "volume-snap-s3.img.meta",
            "volume.meta",
        ];
        assert_eq!(names(&self.directory), left);
        let meta = std::fs::read_to_string(self.path("volume-snap-s3.img.meta")).unwrap();
        assert_eq!(json(&meta)["Parent"], "volume-snap-s0.img");
    }

    /// By the command that completes it.
    #[track_caller]
    fn assert_all_tell_of_the_squash(&self, root: &Path) {
        let command = format!(
            "lacuna chain squash {} --from volume-snap-s1.img --to volume-snap-s3.img",
            self.directory.display()
        );
        let copy = root.join("copy");
        let (here, copy) = (self.directory.to_str().unwrap(), copy.to_str().unwrap());
        for (words, code) in [
            (&["export", here, copy][..], 1),
            (&["sync", here, copy], 1),
            (&["chain", "ls", here], 1),
            (&["chain", "diff", here, here], 2),
            (&["chain", "squash", here, "--from", "s0", "--to", "s1"], 1),
        ] {
            let (out, err) = expect(&lacuna().args(words).output().unwrap(), code);
            assert!(err.contains("a squash of the one to the other was interrupted"), "{err}");
            assert!(err.contains(&command) && out.is_empty(), "{words:?}: {out}{err}");
            assert!(!Path::new(copy).exists());
        }
        for more in [&[][..], &["--json"]] {
            let output = lacuna().args(["chain", "check", here]).args(more).output().unwrap();
            let (out, _) = expect(&output, 1);
            assert!(out.contains(&command) && out.contains("was interrupted"), "{out}");
            assert!(!out.contains("same-file") && !out.contains("back from"), "{out}");
        }
    }

    /// What is read through the newest of them: its own layers, as the `.meta` files say.
    fn read(&self) -> Vec<u8> {
        let mut chain = vec![];
        let mut name = NEW.to_owned();
        while !name.is_empty() && name != "volume-snap-s0.img" {
            let image = self.path(&name);
            chain.push((std::fs::read(&image).unwrap(), kinds_of(&image)));
            let meta = std::fs::read_to_string(self.path(&format!("{name}.meta"))).unwrap();
            name = json(&meta)["Parent"].as_str().unwrap().to_owned();
        }
        let mut bytes = vec![0; chain[0].0.len()];
        for (image, kinds) in chain.iter().rev() {
            for at in (0..kinds.len()).filter(|at| kinds[*at] != Kind::Hole) {
                let block = at * 4096..(at + 1) * 4096;
                bytes[block.clone()].copy_from_slice(&image[block]);
            }
        }
        bytes
    }
}

#[test]
fn many_layers_become_one_under_the_newest_name() {
    for fs in [Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        for more in [&[][..], &["--free", "--jobs", "1"], &["--buffered", "--reflink=never"]] {
            let Some(mount) = Mount::new(fs) else { return };
            let place = Place::new(mount.path(), 32);
            let output = place.squash(more).arg("--json").output().unwrap();
            let report = json(&expect(&output, 0).0);
            assert_eq!(keys(&report), KEYS);
            place.assert_done();
            let bytes = |key: &str| report[key].as_u64().unwrap();
            let shares = fs != Fs::Ext4 && !more.contains(&"--reflink=never");
            assert_eq!(bytes("reflinked_bytes"), if shares { 64 * 4096 } else { 0 });
            assert_eq!(bytes("written_bytes") + bytes("reflinked_bytes"), 64 * 4096);
            assert_eq!(report["removed_files"].as_array().unwrap().len(), 4);
            assert_eq!(report["newest"], place.path(NEW).display().to_string());
        }
    }
}

#[test]
fn people_read_what_moved_and_what_went() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let place = Place::new(mount.path(), 32);
    let before: Vec<_> = names(&place.directory);
    let (out, _) = expect(&place.squash(&["--dry-run"]).output().unwrap(), 0);
    let files = "volume-snap-s2.img, volume-snap-s2.img.meta, volume-snap-s1.img, volume-snap-s1.img.meta\n";
    assert!(
        out.contains("(256 KiB data, 128 KiB zero, 256 KiB hole) above the oldest, nothing done\n"),
        "{out}"
    );
    assert!(
        out.contains("copy 256 KiB, make zero 128 KiB\n") && out.contains("it fits\n"),
        "{out}"
    );
    assert!(out.contains(&format!("would remove {files}")), "{out}");
    let plan = place.squash(&["--dry-run", "--free", "--json"]).output().unwrap();
    assert_eq!(keys(&json(&expect(&plan, 0).0)), PLAN_KEYS);
    assert_eq!(names(&place.directory), before);
    assert!(place.read() == place.expected);
    let (out, _) = expect(&place.squash(&[]).output().unwrap(), 0);
    assert!(out.contains("reflinked 0 B, copied 256 KiB, made zero 128 KiB\n"), "{out}");
    assert!(
        out.contains(&format!("removed {files}")) && out.contains("is the one layer now"),
        "{out}"
    );
    place.assert_done();
    let (_, err) = expect(&place.squash(&[]).output().unwrap(), 1);
    for words in [
        "there is no ",
        "volume-snap-s3.img stands on volume-snap-s0.img",
        "nothing, if this squash was run before: it is complete",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
}

#[test]
fn layers_that_nothing_describes_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path(), 1);
    let path = |name: &str| place.path(&format!("volume-snap-{name}.img"));
    let mut squash = lacuna();
    squash.args(["chain", "squash"]).args(["s1", "s2", "s3"].map(path));
    let (_, err) = expect(&squash.output().unwrap(), 1);
    assert!(err.contains("is described by a .meta file"), "{err}");
    for name in names(&place.directory).iter().filter(|name| name.ends_with(".meta")) {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    assert_eq!(expect(&squash.arg("--quiet").output().unwrap(), 0), Default::default());
    assert!(std::fs::read(path("s3")).unwrap() == place.expected);
    assert!(!path("s1").exists() && !path("s2").exists() && path("s0").exists());
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    for (words, why) in [
        (&["a.img"][..], "at least two layers"),
        (&["."], "--from OLD --to NEW"),
        (&["--from", "a", "--to", "b", "c", "d"], "layers of one DIR"),
        (&["--from", "a", "."], "--to"),
        (&[], "required"),
    ] {
        let mut squash = lacuna();
        squash.current_dir(directory.path()).args(["chain", "squash"]).args(words);
        let (_, err) = expect(&squash.output().unwrap(), 2);
        assert!(err.contains(why), "{err}");
    }
}

/// A squash that was stopped in the middle by `signal`, and what it said.
fn stopped(root: &Path, more: &[&str], signal: Signal) -> (Place, String) {
    for _ in 0..10 {
        let _ = std::fs::remove_dir_all(root.join("replica"));
        let place = Place::new(root, 8192);
        let old = place.path("volume-snap-s1.img");
        let before = allocated(&old);
        let begun = |_| allocated(&old) > before + (1 << 20);
        let mut squash = place.squash(&["--jobs", "1"]);
        let output = interrupt(squash.args(more), signal, begun);
        if !output.status.success() {
            assert!(output.status.code().is_none_or(|code| code == 1), "{output:?}");
            return (place, String::from_utf8(output.stderr).unwrap());
        }
    }
    panic!("the squash was always faster than the signal");
}

#[test]
fn a_squash_that_was_stopped_or_killed_is_completed_by_the_same_command() {
    for (more, signal) in
        [(&[][..], Signal::INT), (&["--free"], Signal::TERM), (&["--free"], Signal::KILL)]
    {
        let directory = tempfile::tempdir().unwrap();
        let (place, err) = stopped(directory.path(), more, signal);
        if signal != Signal::KILL {
            let what = format!("squash of s1 to s3 in {} was stopped", place.directory.display());
            for words in [&what, "run the same command again to go on", "is marked unfinished"] {
                assert!(err.contains(words), "{words}: {err}");
            }
            assert!(err.contains("completes the squash") && !err.contains("fold"), "{err}");
        }
        assert!(place.path(".volume-snap-s1.img.lacuna-unfinished").exists());
        assert!(place.read() == place.expected, "the chain reads as before");
        expect(&place.squash(more).output().unwrap(), 0);
        place.assert_done();
    }
}

#[test]
fn what_is_left_after_the_names_are_one_is_told_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path(), 32);
    // In the way of the new .meta file.
    let draft = place.path(".volume-snap-s3.img.meta.lacuna-draft");
    std::fs::create_dir(&draft).unwrap();
    let (_, err) = expect(&place.squash(&[]).output().unwrap(), 1);
    for words in ["volume-snap-s3.img is complete", "the same squash completes it"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(place.read() == place.expected);
    let mut fold = lacuna();
    fold.arg("fold").arg(place.path("volume-snap-s2.img"));
    fold.arg("--into").arg(place.path("volume-snap-s1.img"));
    let (_, err) = expect(&fold.output().unwrap(), 1);
    assert!(err.contains("are one file") && err.contains("run the squash again"), "{err}");
    place.assert_all_tell_of_the_squash(directory.path());
    std::fs::remove_dir(&draft).unwrap();
    let (out, _) = expect(&place.squash(&["--dry-run"]).output().unwrap(), 0);
    assert!(out.contains("an interrupted squash is left, nothing done\nwould remove vol"), "{out}");
    let (out, _) = expect(&place.squash(&[]).output().unwrap(), 0);
    assert!(
        out.contains("an interrupted squash is complete") && out.contains("removed vol"),
        "{out}"
    );
    place.assert_done();
}

#[test]
fn what_does_not_fit_is_told_in_the_words_of_a_squash() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    let place = Place::new(mount.path(), 1024);
    let filler = std::fs::File::create(mount.path().join("filler")).unwrap();
    let space = rustix::fs::statvfs(mount.path()).unwrap();
    let rest = space.f_bfree * space.f_frsize - (3 << 20);
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, rest).unwrap();
    let (_, err) = expect(&place.squash(&[]).output().unwrap(), 1);
    let words = "the layers above OLD give up each range that OLD has durably";
    assert!(err.contains(words), "{err}");
    for other in ["CHILD", "PARENT", "--force-layer"] {
        assert!(!err.contains(other), "{err}");
    }
}
