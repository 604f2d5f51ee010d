//! What a check finds: nothing in a sound replica, and each fault by its code.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use lacuna::chain::ChainError;
use lacuna::chain::check::{CheckOptions, Checked, Code, Severity, check};
use lacuna::checksum_file::{self, ChecksumFile};
use lacuna::hash::{self, HashOptions};
use lacuna::{Cancel, Error, Progress};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::{self, Replica};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{changed_at, for_all, mount_with, open_for_reading};

const HEAD: &str = "volume-head-002.img";
const S0: &str = "volume-snap-s0.img";
const S1: &str = "volume-snap-s1.img";

fn run(directory: &Path, verify: Option<HashOptions>) -> Result<Checked, Error> {
    check(directory, &CheckOptions { verify }, &Progress::default(), &Cancel::default())
}

/// What is found when nobody has a file open any more: a program that another test is starting has them open
/// until it runs.
#[track_caller]
fn found(directory: &Path, verify: bool) -> Checked {
    let verify = verify.then(HashOptions::default);
    let at_rest = super::at_rest(|| {
        let checked = run(directory, verify)?;
        match checked.findings.iter().any(|finding| finding.code == Code::InUse) {
            true => Err(Error::OpenForWriting { path: directory.to_owned() }),
            false => Ok(checked),
        }
    });
    let checked = at_rest.unwrap();
    assert!(checked.errors.is_empty(), "{checked:?}");
    checked
}

/// Codes and files of what was found, but that the volume is dirty, as every made one is.
fn codes(checked: &Checked) -> Vec<(Code, &str)> {
    let findings = checked.findings.iter().filter(|finding| finding.code != Code::Dirty);
    findings.map(|finding| (finding.code, &*finding.file)).collect()
}

/// A replica of three layers that is sound, until something is done to it.
struct Place {
    _mount: Mount,
    directory: PathBuf,
    made: Replica,
}

impl Place {
    fn new() -> Option<Self> {
        Some(Self::on(Mount::new(Fs::Ext4)?))
    }

    fn on(mount: Mount) -> Self {
        let directory = mount.path().join("replica");
        let pattern = |blocks: usize| Pattern::whole(vec![Block::Data(blocks as u8); blocks]);
        let made = Replica::line(vec![pattern(2), pattern(3), pattern(4)]);
        let place = Self { _mount: mount, directory, made };
        place.make();
        place
    }

    fn make(&self) {
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir(&self.directory).unwrap();
        self.made.write(&self.directory);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn resize(&self, name: &str, size: u64) {
        File::options().write(true).open(self.path(name)).unwrap().set_len(size).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Records a digest for a layer, which is not that of its content, by its change time.
    fn record(&self, image: &str, digest: &str, silently_corrupted: bool) {
        let path = self.path(image);
        let stamp = open_for_reading(&path).stamp().unwrap();
        let file = ChecksumFile {
            method: "crc64".to_owned(),
            checksum: digest.to_owned(),
            change_time: checksum_file::change_time(&stamp, &TimeZone::UTC).unwrap(),
            last_hashed_at: String::new(),
            silently_corrupted,
        };
        file.write(&path).unwrap();
    }

    /// Does it to a sound replica, and finds that alone.
    #[track_caller]
    fn assert_found(&self, plant: impl Fn(&Self), expected: &[(Code, &str)]) {
        self.make();
        assert_eq!(codes(&found(&self.directory, true)), []);
        plant(self);
        let checked = found(&self.directory, true);
        assert_eq!(codes(&checked), expected, "{checked:#?}");
        let is_unsound = expected.iter().any(|(code, _)| code.severity() == Severity::Unsound);
        assert_eq!(checked.is_sound(), !is_unsound);
        for finding in &checked.findings {
            assert!(!finding.what.is_empty() && !finding.code.remedy().is_empty(), "{finding:?}");
        }
    }
}

fn check_sound(fs: Fs) {
    let Some(mount) = Mount::new(fs) else { return };
    let directory = mount.path().join("replica");
    let hashed = proptest::collection::vec(any::<Index>(), 0..3);
    for_all(12, (replica::sound(7, 30), hashed), |(made, hashed)| {
        fs::create_dir(&directory).unwrap();
        made.write(&directory);
        for index in &hashed {
            let image = directory.join(&made.layers[index.index(made.layers.len())].file);
            let (options, progress) = (HashOptions::default(), Progress::default());
            hash::write(&image, &options, &TimeZone::UTC, "", &progress, &Cancel::default())
                .unwrap();
        }
        for verify in [false, true] {
            let checked = found(&directory, verify);
            assert_eq!(codes(&checked), [], "{made:?}");
            assert_eq!(checked.layers, made.layers.len() as u64);
            assert_eq!(checked.verified > 0, verify && !hashed.is_empty());
        }
        fs::remove_dir_all(&directory).unwrap();
    });
}

#[test]
fn a_sound_replica_on_ext4_has_no_fault() {
    check_sound(Fs::Ext4);
}

#[test]
fn a_sound_replica_on_xfs_has_no_fault() {
    check_sound(Fs::Xfs);
}

#[test]
fn a_sound_replica_on_btrfs_has_no_fault() {
    check_sound(Fs::Btrfs);
}

#[test]
fn what_is_wrong_with_volume_meta_is_found() {
    let Some(place) = Place::new() else { return };
    place.assert_found(|it| it.remove("volume.meta"), &[(Code::VolumeMetaMissing, "volume.meta")]);
    place.assert_found(|it| it.put("volume.meta", ""), &[(Code::VolumeMetaEmpty, "volume.meta")]);
    for text in ["{", "{}", "{\"Size\":16384,\"Head\":\"../a.img\"}"] {
        let plant = |it: &Place| it.put("volume.meta", text);
        place.assert_found(plant, &[(Code::VolumeMetaMalformed, "volume.meta")]);
    }
    for (more, code) in [
        ("\"Rebuilding\":true", Code::Rebuilding),
        ("\"Error\":\"input/output error\"", Code::EngineError),
        ("\"BackingFileName\":\"/b/backing\"", Code::BackingFile),
    ] {
        let text = format!("{{\"Size\":16384,\"Head\":\"{HEAD}\",{more}}}");
        place.assert_found(|it| it.put("volume.meta", &text), &[(code, "volume.meta")]);
    }
    let text = format!("{{\"Size\":16000,\"Head\":\"{HEAD}\"}}");
    let expected = [(Code::HeadSize, HEAD), (Code::SizeUnaligned, "volume.meta")];
    place.assert_found(|it| it.put("volume.meta", &text), &expected);
}

#[test]
fn what_is_wrong_with_a_layer_is_found() {
    let Some(place) = Place::new() else { return };
    let meta = "volume-snap-s1.img.meta";
    place.assert_found(|it| it.remove(meta), &[(Code::LayerMetaMissing, meta)]);
    for text in ["", "{", "{\"Parent\":7}", "{\"Parent\":\"a/b\"}"] {
        place.assert_found(|it| it.put(meta, text), &[(Code::LayerMetaMalformed, meta)]);
    }
    for image in [S0, S1, HEAD] {
        place.assert_found(|it| it.remove(image), &[(Code::ImageMissing, image)]);
    }
    place.assert_found(
        |it| {
            it.rename(S1, "elsewhere");
            symlink(it.path("elsewhere"), it.path(S1)).unwrap();
        },
        &[(Code::NotRegular, S1), (Code::StrayFile, "elsewhere")],
    );
    place.assert_found(
        |it| {
            it.remove(S1);
            fs::create_dir(it.path(S1)).unwrap();
        },
        &[(Code::NotRegular, S1)],
    );
    place.assert_found(
        |it| {
            it.remove(S0);
            fs::hard_link(it.path(S1), it.path(S0)).unwrap();
        },
        &[(Code::HalfSquashed, S1)],
    );
    let mark = |it: &Place| it.put(".volume-snap-s1.img.lacuna-unfinished", "repeat it");
    place.assert_found(mark, &[(Code::Unfinished, S1)]);
}

#[test]
fn layers_that_make_no_chain_are_found() {
    let Some(place) = Place::new() else { return };
    let (head_meta, s0, s1) = (format!("{HEAD}.meta"), format!("{S0}.meta"), format!("{S1}.meta"));
    let parent = |name: &str| format!("{{\"Parent\":\"{name}\"}}");
    let gone = parent("volume-snap-gone.img");
    place.assert_found(|it| it.put(&s1, &gone), &[(Code::ParentMissing, S1)]);
    place.assert_found(
        |it| it.put(&s0, &parent(S1)),
        &[(Code::Cycle, S0), (Code::LargerThanChild, S1)],
    );
    place.assert_found(|it| it.put(&s1, &parent(S1)), &[(Code::Cycle, S1)]);
    place.assert_found(|it| it.put(&s1, &parent("")), &[(Code::SecondBase, S0)]);
    let both = |it: &Place| {
        it.remove(S0);
        it.remove(&s0);
    };
    place.assert_found(both, &[(Code::ParentMissing, S1)]);
    let head_again = |it: &Place| {
        fs::copy(it.path(HEAD), it.path("volume-head-001.img")).unwrap();
        fs::copy(it.path(&head_meta), it.path("volume-head-001.img.meta")).unwrap();
    };
    place.assert_found(head_again, &[(Code::TwoHeads, "volume-head-001.img")]);
    let other_head = |it: &Place| {
        it.rename(HEAD, "volume-head-003.img");
        it.rename(&head_meta, "volume-head-003.img.meta");
    };
    let expected =
        [(Code::HeadNotNamed, "volume-head-003.img"), (Code::HeadMissing, "volume.meta")];
    place.assert_found(other_head, &expected);
    let on_head = |it: &Place| {
        fs::copy(it.path(HEAD), it.path("volume-snap-x.img")).unwrap();
        it.put("volume-snap-x.img.meta", &parent(HEAD));
    };
    place.assert_found(on_head, &[(Code::HeadHasChild, "volume-snap-x.img")]);
}

#[test]
fn sizes_that_do_not_fit_are_found() {
    let Some(place) = Place::new() else { return };
    place.assert_found(|it| it.resize(S1, 5 * 4096), &[(Code::LargerThanChild, S1)]);
    place.assert_found(|it| it.resize(HEAD, 5 * 4096), &[(Code::HeadSize, HEAD)]);
    place.assert_found(|it| it.resize(HEAD, 3 * 4096), &[(Code::HeadSize, HEAD)]);
}

#[test]
fn checksums_that_do_not_hold_are_found() {
    let Some(place) = Place::new() else { return };
    let checksum = "volume-snap-s1.img.checksum";
    place.assert_found(|it| it.record(S1, "0123456789abcdef", false), &[(Code::ChecksumWrong, S1)]);
    assert_eq!(codes(&found(&place.directory, false)), [], "nothing was read");
    place.assert_found(|it| it.record(S1, "0", true), &[(Code::SilentlyCorrupted, S1)]);
    place.assert_found(|it| it.put(checksum, "{"), &[(Code::ChecksumMalformed, checksum)]);
    let stale = |it: &Place| {
        it.record(S1, "0123456789abcdef", false);
        let later = std::time::SystemTime::now();
        File::options().write(true).open(it.path(S1)).unwrap().set_modified(later).unwrap();
    };
    place.assert_found(stale, &[(Code::ChecksumStale, checksum)]);
}

#[test]
fn what_does_not_belong_to_the_chain_is_a_note() {
    let Some(place) = Place::new() else { return };
    let plant = |it: &Place| {
        replica::leave_leftovers(&it.directory);
        for name in [
            "notes.txt",
            "copy.img",
            "volume-delta-b.img",
            "volume-snap-old.img.checksum",
            "a\u{fffd}",
        ] {
            it.put(name, "");
        }
        for suffix in ["data", "partial", "draft"] {
            it.put(&format!(".volume-snap-s2.img.lacuna-{suffix}"), "");
        }
        it.put(".volume-snap-gone.img.lacuna-unfinished", "");
        fs::create_dir(it.path("lost+found")).unwrap();
    };
    place.assert_found(
        plant,
        &[
            (Code::Partial, ".volume-snap-gone.img.lacuna-unfinished"),
            (Code::Partial, ".volume-snap-s2.img.lacuna-data"),
            (Code::Partial, ".volume-snap-s2.img.lacuna-draft"),
            (Code::Partial, ".volume-snap-s2.img.lacuna-partial"),
            (Code::StrayFile, "a\u{fffd}"),
            (Code::StrayFile, "copy.img"),
            (Code::StrayFile, "lost+found"),
            (Code::StrayFile, "notes.txt"),
            (Code::Leftover, "volume-delta-b.img"),
            (Code::StrayFile, "volume-snap-old.img.checksum"),
            (Code::Leftover, "volume-snap-s0.img.meta.tmp"),
            (Code::Leftover, "volume-snap-s9.img.snap_tmp"),
            (Code::Leftover, "volume.meta.tmp"),
        ],
    );
}

#[test]
fn one_fault_hides_no_other_and_nothing_is_touched() {
    let Some(place) = Place::new() else { return };
    place.put("volume.meta", "{");
    place.put("volume-snap-s1.img.meta", "");
    place.remove(S0);
    place.put("volume-head-007.img", "");
    place.put("volume-head-007.img.meta", "{\"Parent\":\"volume-snap-gone.img\"}");
    let expected = [
        (Code::TwoHeads, HEAD),
        (Code::ParentMissing, "volume-head-007.img"),
        (Code::TwoHeads, "volume-head-007.img"),
        (Code::ImageMissing, S0),
        (Code::LayerMetaMalformed, "volume-snap-s1.img.meta"),
        (Code::VolumeMetaMalformed, "volume.meta"),
    ];
    let state = || {
        let entries = fs::read_dir(&place.directory).unwrap();
        let mut state: Vec<_> =
            entries.map(|entry| entry.unwrap().path()).map(|it| (changed_at(&it), it)).collect();
        state.sort();
        (changed_at(&place.directory), state)
    };
    let before = state();
    assert_eq!(codes(&found(&place.directory, true)), expected);
    assert_eq!(state(), before);
}

#[test]
fn a_replica_in_use_is_sound() {
    let Some(place) = Place::new() else { return };
    let writer = File::options().write(true).open(place.path(HEAD)).unwrap();
    place.record(HEAD, "0123456789abcdef", false);
    let checked = run(&place.directory, None).unwrap();
    assert!(codes(&checked).contains(&(Code::InUse, HEAD)) && checked.is_sound(), "{checked:?}");
    drop(writer);
}

#[test]
fn a_filesystem_that_cannot_tell_blocks_apart_is_found_once() {
    if let Some(mount) = Mount::new(Fs::Tmpfs) {
        let place = Place::on(mount);
        assert_eq!(codes(&found(&place.directory, true)), [(Code::NoFiemap, ".")]);
    }
    if let Some(mount) = mount_with(Fs::Xfs, &["-b", "size=16384"]) {
        let directory = mount.path().join("replica");
        fs::create_dir(&directory).unwrap();
        // Of blocks of its own size: what is smaller would come out otherwise.
        Replica::line(vec![Pattern::whole(vec![Block::Data(1); 4])]).write(&directory);
        assert_eq!(codes(&found(&directory, true)), [(Code::LargeBlocks, ".")]);
    }
}

#[test]
fn what_is_no_replica_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| run(path, None).unwrap_err();
    for name in [None, Some("letter.txt"), Some("disk.img"), Some("revision.counter")] {
        name.iter().for_each(|name| fs::write(directory.path().join(name), "").unwrap());
        let error = refused(directory.path());
        assert!(matches!(error, Error::Chain(ChainError::NotAReplica { .. })), "{error:?}");
    }
    let file = refused(&directory.path().join("letter.txt"));
    assert_eq!(file.io_kind(), Some(std::io::ErrorKind::NotADirectory));
    let cancel = Cancel::default();
    cancel.cancel();
    fs::write(directory.path().join(S0), "").unwrap();
    let stopped = check(directory.path(), &CheckOptions::default(), &Progress::default(), &cancel);
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
}
