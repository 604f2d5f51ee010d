//! Directories and lists that are no chain, or none that may be read.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lacuna::Error;
use lacuna::chain::{ChainError, ChainOptions};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};
use lacuna_testing::replica::Replica;

use super::{listed, opened};

fn pattern(blocks: usize) -> Pattern {
    Pattern::whole(vec![Block::Data(blocks as u8); blocks])
}

/// A replica of three layers that can be read, until something is done to it.
struct Place {
    _mount: Mount,
    directory: PathBuf,
    made: Replica,
}

impl Place {
    fn new() -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let directory = mount.path().join("replica");
        fs::create_dir(&directory).unwrap();
        let made = Replica::line(vec![pattern(2), pattern(3), pattern(4)]);
        made.write(&directory);
        Some(Self { _mount: mount, directory, made })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn error(&self) -> Error {
        opened(&self.directory, None, &ChainOptions::default()).err().expect("an error")
    }

    /// The words of the error name `file`, and there is something to do.
    #[track_caller]
    fn assert_refused(&self, file: &str, words: &str) {
        assert_names(&self.error(), &self.path(file), words);
        self.made.write(&self.directory);
        opened(&self.directory, None, &ChainOptions::default()).unwrap();
    }
}

#[track_caller]
fn assert_names(error: &Error, file: &Path, words: &str) {
    let said = lacuna::describe(error);
    assert!(said.contains(&*file.display().to_string()) && said.contains(words), "{said}");
    assert!(error.remedy().is_some(), "{said}");
}

#[test]
fn what_is_no_replica_directory_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| opened(path, None, &ChainOptions::default()).err().unwrap();
    let empty = error(directory.path());
    assert!(matches!(empty, Error::Chain(ChainError::NotAReplica { .. })), "{empty:?}");
    assert_names(&empty, directory.path(), "volume.meta");
    fs::write(directory.path().join("letter.txt"), "hello").unwrap();
    assert_names(&error(directory.path()), directory.path(), "volume.meta");
    let missing = directory.path().join("missing");
    assert_names(&error(&missing), &missing, "no such file");
}

#[test]
fn what_is_wrong_with_a_directory_is_named() {
    let Some(place) = Place::new() else { return };
    for text in
        ["", "{", "[]", "{\"Head\":\"volume-head-002.img\"}", "{\"Size\":-1,\"Head\":\"a\"}"]
    {
        place.put("volume.meta", text);
        place.assert_refused("volume.meta", "is malformed");
    }
    for head in ["", "/etc/passwd", "../a.img", "..", "a/b"] {
        place.put("volume.meta", &format!("{{\"Size\":16384,\"Head\":\"{head}\"}}"));
        place.assert_refused("volume.meta", "no name of a file beside it");
    }
    place.put("volume.meta", "{\"Size\":16384,\"Head\":\"volume-head-009.img\"}");
    place.assert_refused("volume-head-009.img", "volume.meta names");
    place.put("volume.meta", "{\"Size\":8192,\"Head\":\"volume-head-002.img\"}");
    place.assert_refused("volume-head-002.img", "more than the 8192 of its volume");

    let meta = "volume-snap-s1.img.meta";
    for text in ["", "{", "null", "{\"Parent\":1}", "{\"Parent\":\"../../a.img\"}"] {
        place.put(meta, text);
        place.assert_refused(meta, "is malformed");
    }
    place.put(meta, "{\"Parent\":\"volume-snap-gone.img\"}");
    place.assert_refused("volume-snap-gone.img", "volume-snap-s1.img.meta names");
    place.put(meta, "{\"Parent\":\"volume-head-002.img\"}");
    place.assert_refused("volume-head-002.img", "leads back to");
    place.put(meta, "{\"Parent\":\"volume-snap-s1.img\"}");
    place.assert_refused("volume-snap-s1.img", "leads back to");
    fs::remove_file(place.path(meta)).unwrap();
    place.assert_refused("volume-snap-s1.img", "missing");
}

#[test]
fn an_image_that_is_missing_or_elsewhere_or_too_large_is_named() {
    let Some(place) = Place::new() else { return };
    let image = "volume-snap-s0.img";
    fs::remove_file(place.path(image)).unwrap();
    // A file that its description alone is left of.
    place.assert_refused(image, "missing");
    let elsewhere = place.path("elsewhere");
    fs::rename(place.path(image), &elsewhere).unwrap();
    symlink(&elsewhere, place.path(image)).unwrap();
    let error = place.error();
    assert_names(&error, &place.path(image), "symbolic link");
    fs::remove_file(place.path(image)).unwrap();
    fs::remove_file(elsewhere).unwrap();
    place.made.write(&place.directory);
    File::options().write(true).open(place.path(image)).unwrap().set_len(1 << 20).unwrap();
    place.assert_refused(image, "more than");
    fs::hard_link(place.path("volume-snap-s1.img"), place.path("other.img")).unwrap();
    fs::remove_file(place.path(image)).unwrap();
    fs::rename(place.path("other.img"), place.path(image)).unwrap();
    let error = place.error();
    let is_it = matches!(&error, Error::Chain(ChainError::HalfSquashed { old, new })
        if *old == place.path(image) && *new == place.path("volume-snap-s1.img"));
    assert!(is_it, "{error:?}");
}

#[test]
fn a_directory_in_use_or_not_complete_is_refused_unless_that_is_overridden() {
    let Some(mut place) = Place::new() else { return };
    let forced = ChainOptions { force: true, ..ChainOptions::default() };
    let writer = File::options().write(true).open(place.path("volume-head-002.img")).unwrap();
    let in_use = lacuna::chain::Replica::open(&place.directory).unwrap().source(
        None,
        &ChainOptions::default(),
        &lacuna::Cancel::default(),
    );
    assert!(matches!(in_use, Err(Error::OpenForWriting { .. })));
    opened(&place.directory, None, &forced).unwrap();
    // A snapshot is not written to.
    opened(&place.directory, Some("s1"), &ChainOptions::default()).unwrap();
    drop(writer);

    place.made.rebuilding = true;
    place.made.write(&place.directory);
    let rebuilding = place.error();
    assert!(matches!(rebuilding, Error::Chain(ChainError::Rebuilding { .. })), "{rebuilding:?}");
    assert_names(&rebuilding, &place.directory, "not complete");
    opened(&place.directory, None, &forced).unwrap();
}

#[test]
fn a_backing_image_is_asked_for_and_must_be_raw() {
    let Some(mut place) = Place::new() else { return };
    place.made.backing = "/var/lib/longhorn/backing-images/b/backing".to_owned();
    for older in [false, true] {
        place.made.older = older;
        place.made.write(&place.directory);
        assert_names(
            &place.error(),
            &place.directory,
            "/var/lib/longhorn/backing-images/b/backing",
        );
    }
    let backing = place.path("backing");
    Pattern::whole(vec![Block::Data(9); 4]).write(&backing);
    let options = ChainOptions { backing: Some(backing.clone()), ..ChainOptions::default() };
    let source = opened(&place.directory, None, &options).unwrap();
    let mut byte = [0];
    source.read_at(&mut byte, 3 * 4096).unwrap();
    assert_eq!(byte, [4], "the head's");
    drop(source);
    fs::write(&backing, b"QFI\xfb and so on").unwrap();
    let error = opened(&place.directory, None, &options).err().unwrap();
    assert_names(&error, &backing, "qcow2");
    assert!(error.remedy().unwrap().contains("qemu-img convert"));
}

#[test]
fn a_snapshot_is_found_by_either_of_its_names_or_named_beside_those_that_are_there() {
    let Some(place) = Place::new() else { return };
    for name in ["s1", "volume-snap-s1.img"] {
        let source = opened(&place.directory, Some(name), &ChainOptions::default()).unwrap();
        assert_eq!(source.size(), 3 * 4096);
    }
    let error = opened(&place.directory, Some("s7"), &ChainOptions::default()).err().unwrap();
    assert_names(&error, &place.directory, "no layer s7");
    assert!(error.remedy().unwrap().contains("volume-snap-s1.img"));
}

#[test]
fn a_list_of_layers_must_go_from_the_oldest_to_the_newest() {
    let Some(place) = Place::new() else { return };
    let paths: Vec<_> = place.made.layers.iter().map(|layer| place.path(&layer.file)).collect();
    let refused = |paths: &[PathBuf]| listed(paths, &ChainOptions::default()).err().unwrap();
    let reversed: Vec<_> = paths.iter().rev().cloned().collect();
    assert!(matches!(refused(&reversed), Error::LargerParent { .. }));
    assert!(matches!(refused(&[]), Error::Chain(ChainError::NoLayers)));
    assert!(matches!(refused(&[paths[0].clone(), paths[0].clone()]), Error::SameFile { .. }));
    assert!(listed(&paths, &ChainOptions::default()).is_ok());
}

/// Somebody merges layers after what describes them was read, and before they are held.
#[test]
fn a_replica_that_is_another_by_the_time_its_layers_are_open_is_refused() {
    let Some(place) = Place::new() else { return };
    let meta = "volume-snap-s1.img.meta";
    for (name, text) in [
        (meta, "{\"Parent\":\"\"}".to_owned()),
        ("volume.meta", format!("{{\"Size\":65536,\"Head\":\"{}\"}}", place.made.head)),
    ] {
        let replica = lacuna::chain::Replica::open(&place.directory).unwrap();
        let open = || replica.source(None, &ChainOptions::default(), &lacuna::Cancel::default());
        super::at_rest(open).unwrap();
        place.put(name, &text);
        let error = super::at_rest(open).err().expect("an error");
        assert!(matches!(error, Error::Changed { .. }), "{name}: {error:?}");
        place.made.write(&place.directory);
    }
}
