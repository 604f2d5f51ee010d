//! Layers that are not squashed, and stay what they are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lacuna::chain::ChainError;
use lacuna::chain::squash::{Span, SquashOptions};
use lacuna::{Error, Kept};
use lacuna_testing::mount::{Fs, Mount};

use super::squash::{files, line, planned, span, squashed, try_squash};
use super::{Untouched, assert_all, mark_of, try_fold};

/// A line of four layers and a head: `s1` to `s3` become one.
pub(super) struct Place {
    pub(super) mount: Mount,
    pub(super) directory: PathBuf,
    pub(super) paths: Vec<PathBuf>,
}

impl Place {
    pub(super) fn new() -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let directory = mount.path().join("replica");
        let paths = line(&directory, &[&[1, 1, 1, 1], &[2, 2, 0, 0], &[0, 3, 3, 0], &[0; 4], &[5]]);
        Some(Self { mount, directory, paths })
    }

    pub(super) fn span(&self) -> Span {
        span(&self.directory, "s1", "s3")
    }

    pub(super) fn put(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    fn head(&self, name: &str, rebuilding: bool) {
        let text = format!("{{\"Size\":16384,\"Head\":\"{name}\",\"Rebuilding\":{rebuilding}}}");
        self.put("volume.meta", &text);
    }

    #[track_caller]
    pub(super) fn refused(&self) -> Vec<Error> {
        refused(&self.span())
    }

    #[track_caller]
    pub(super) fn squash(&self) {
        let stats = squashed(&self.span(), &SquashOptions::default());
        assert_eq!(stats.fold.size_bytes, 16384);
        assert_eq!(stats.new, self.paths[3]);
    }
}

/// What all ways to squash say, all of which must refuse and leave everything alone.
#[track_caller]
pub(super) fn refused(span: &Span) -> Vec<Error> {
    let paths = files(span);
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let untouched = Untouched::of(&paths);
    let freeing = SquashOptions { free: true, ..SquashOptions::default() };
    let plan = planned(span, &SquashOptions::default()).expect_err("a plan");
    let applied =
        [SquashOptions::default(), freeing].map(|options| try_squash(span, &options).unwrap_err());
    untouched.check();
    applied.iter().for_each(|stopped| assert_eq!(stopped.kept, Kept::Nothing));
    let errors = [plan].into_iter().chain(applied).map(|stopped| stopped.cause);
    let errors: Vec<_> = errors.collect();
    errors.iter().for_each(|error| assert!(error.remedy().is_some(), "{error:?}"));
    errors
}

#[test]
fn a_layer_with_another_child_is_not_squashed() {
    let Some(place) = Place::new() else { return };
    for below in ["s1", "s2"] {
        let layer = format!("volume-snap-{below}.img");
        // Whether its image is there or not.
        place.put("volume-snap-other.img.meta", &format!("{{\"Parent\":\"{layer}\"}}"));
        assert_all!(
            place.refused(),
            Error::Chain(ChainError::OtherChild { layer: found, other })
                if *found == place.directory.join(&layer) && other == "volume-snap-other.img"
        );
    }
    for above in ["s3", "s0"] {
        let text = format!("{{\"Parent\":\"volume-snap-{above}.img\"}}");
        place.put("volume-snap-other.img.meta", &text);
        planned(&place.span(), &SquashOptions::default()).unwrap();
    }
    place.squash();
}

#[test]
fn the_head_of_the_volume_does_not_go() {
    let Some(place) = Place::new() else { return };
    for head in ["volume-snap-s1.img", "volume-snap-s2.img"] {
        place.head(head, false);
        assert_all!(
            place.refused(),
            Error::Chain(ChainError::IsHead { layer }) if *layer == place.directory.join(head)
        );
    }
    place.head("volume-snap-s3.img", false);
    place.squash();
}

#[test]
fn layers_that_do_not_stand_on_each_other_are_not_squashed() {
    let Some(place) = Place::new() else { return };
    place.put("volume-snap-twig.img", "");
    place.put("volume-snap-twig.img.meta", "{\"Parent\":\"volume-snap-s0.img\"}");
    for (old, new) in [("s3", "s1"), ("s1", "s1"), ("twig", "s2"), ("s1", "twig"), ("twig", "twig")]
    {
        assert_all!(
            refused(&span(&place.directory, old, new)),
            Error::Chain(ChainError::NotAbove { .. })
        );
    }
    for (old, new) in [("s9", "s8"), ("s1", "s9")] {
        assert_all!(
            refused(&span(&place.directory, old, new)),
            Error::Chain(ChainError::NoLayer { layer, .. }) if layer == "s9"
        );
    }
    place.squash();
}

#[test]
fn a_directory_that_is_not_complete_or_not_described_is_left_alone() {
    let Some(place) = Place::new() else { return };
    place.head("volume-head-004.img", true);
    assert_all!(place.refused(), Error::Chain(ChainError::Rebuilding { .. }));
    place.head("volume-head-004.img", false);
    let metas = [1, 2, 3].map(|at| PathBuf::from(format!("{}.meta", place.paths[at].display())));
    for meta in &metas {
        let text = fs::read(meta).unwrap();
        for spoilt in ["", "{", "[]", "{}", "{\"Parent\":\"../a.img\"}"] {
            fs::write(meta, spoilt).unwrap();
            let is_it = |error: &Error| match error {
                Error::Malformed { path, .. } => path == meta,
                // Without its parent, a layer leads nowhere.
                error => matches!(error, Error::Chain(ChainError::NotAbove { .. })),
            };
            assert!(place.refused().iter().all(is_it), "{spoilt}");
        }
        fs::remove_file(meta).unwrap();
        assert_all!(
            place.refused(),
            Error::Chain(ChainError::NoMeta { .. } | ChainError::NoLayer { .. })
        );
        fs::write(meta, text).unwrap();
    }
    for image in &place.paths[1..4] {
        let away = place.mount.path().join("away");
        fs::rename(image, &away).unwrap();
        assert!(place.refused().iter().all(|error| lacuna::describe(error).contains(".img")));
        std::os::unix::fs::symlink(&away, image).unwrap();
        place.refused();
        fs::rename(&away, image).unwrap();
    }
    place.squash();
}

#[test]
fn layers_in_use_are_not_squashed() {
    let Some(place) = Place::new() else { return };
    for path in &place.paths[1..4] {
        let writer = File::options().write(true).open(path).unwrap();
        let freeing = SquashOptions { free: true, ..SquashOptions::default() };
        for options in [SquashOptions::default(), freeing] {
            let error = try_squash(&place.span(), &options).unwrap_err().cause;
            let is_open = matches!(&error, Error::OpenForWriting { path: open } | Error::OpenElsewhere { path: open } if open == path);
            assert!(is_open, "{error:?}");
        }
        drop(writer);
    }
    let reader = File::open(&place.paths[2]).unwrap();
    let freeing = SquashOptions { free: true, ..SquashOptions::default() };
    let error = try_squash(&place.span(), &freeing).unwrap_err().cause;
    assert!(matches!(error, Error::OpenElsewhere { .. }), "{error:?}");
    drop(reader);
    let locked = File::open(&place.paths[3]).unwrap();
    rustix::fs::flock(&locked, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = try_squash(&place.span(), &SquashOptions::default()).unwrap_err().cause;
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    drop(locked);
    // What does not become one may be in use.
    let _writer = File::options().write(true).open(&place.paths[4]).unwrap();
    place.squash();
}

#[test]
fn a_marked_layer_is_not_squashed() {
    let Some(place) = Place::new() else { return };
    for path in &place.paths[1..4] {
        fs::write(mark_of(path), "a sync").unwrap();
        assert_all!(place.refused(), Error::Unfinished { path: marked, .. } if marked == path);
        fs::remove_file(mark_of(path)).unwrap();
    }
    place.squash();
}

#[test]
fn a_layer_that_is_larger_than_its_child_is_not_squashed() {
    let Some(place) = Place::new() else { return };
    for (at, size) in [(1, 20480), (2, 20480), (2, 16385)] {
        let file = File::options().write(true).open(&place.paths[at]).unwrap();
        file.set_len(size).unwrap();
        drop(file);
        assert_all!(
            place.refused(),
            Error::LargerParent { parent, .. } if *parent == place.paths[at]
        );
        File::options().write(true).open(&place.paths[at]).unwrap().set_len(16384).unwrap();
    }
    place.squash();
}

#[test]
fn a_list_is_of_two_layers_at_least_each_once_on_one_filesystem_and_nowhere_described() {
    let (Some(place), Some(other)) = (Place::new(), Mount::new(Fs::Xfs)) else { return };
    let paths = place.paths[1..4].to_vec();
    assert_all!(
        refused(&Span::Files(paths.clone())),
        Error::Chain(ChainError::Described { layer }) if *layer == paths[0]
    );
    for name in super::names(&place.directory) {
        if name.ends_with(".meta") && !name.contains("head") {
            fs::remove_file(place.directory.join(name)).unwrap();
        }
    }
    place.put("volume-head-004.img.meta", "{\"Parent\":\"volume-snap-s2.img\"}");
    assert_all!(
        refused(&Span::Files(paths.clone())),
        Error::Chain(ChainError::OtherChild { layer, .. }) if *layer == paths[1]
    );
    place.put("volume-head-004.img.meta", "{\"Parent\":\"volume-snap-s3.img\"}");
    for few in [&[][..], &paths[..1]] {
        assert_all!(refused(&Span::Files(few.to_vec())), Error::Chain(ChainError::OneLayer));
    }
    let again = place.directory.join("../replica/volume-snap-s1.img");
    for twice in [&paths[0], &again] {
        let list = [&paths[..], std::slice::from_ref(twice)].concat();
        assert_all!(refused(&Span::Files(list)), Error::SameFile { .. });
    }
    let away = other.path().join("volume-snap-s1.img");
    fs::copy(&paths[0], &away).unwrap();
    let apart = [&[away][..], &paths[1..]].concat();
    assert_all!(refused(&Span::Files(apart)), Error::Chain(ChainError::Apart { .. }));
    squashed(&Span::Files(paths), &SquashOptions::default());
}

/// Somebody may have made one file of two for another reason: what the others hold is not lost.
#[test]
fn layers_between_two_names_of_one_file_stay_unless_all_they_have_is_hidden() {
    let Some(place) = Place::new() else { return };
    let replace_newest = |from: &Path| {
        fs::remove_file(&place.paths[3]).unwrap();
        fs::hard_link(from, &place.paths[3]).unwrap();
    };
    replace_newest(&place.paths[1]);
    let not_hidden = |errors: Vec<Error>| {
        assert_all!(
            errors,
            Error::Chain(ChainError::NotHidden { layer, new, range })
                if *layer == place.paths[2] && *new == place.paths[3] && range.start() == 8192
        );
    };
    not_hidden(place.refused());
    // Nor is anything folded into one of them: it would show in the other.
    let folded = try_fold(&place.paths[2], &place.paths[1], &super::copying()).unwrap_err().cause;
    assert!(matches!(folded, Error::Chain(ChainError::OneFile { .. })), "{folded:?}");
    let meta = place.directory.join("volume-snap-s3.img.meta");
    fs::write(&meta, "{\"Parent\":\"volume-snap-s0.img\"}").unwrap();
    not_hidden(place.refused());
    let missing = place.mount.path().join("away");
    fs::rename(&place.paths[1], &missing).unwrap();
    // Of what a squash has left, the oldest goes last.
    assert_all!(place.refused(), Error::Chain(ChainError::NotAbove { .. }));
    fs::rename(&missing, &place.paths[1]).unwrap();
    lacuna_testing::pattern::Pattern::whole(vec![lacuna_testing::pattern::Block::Data(9); 4])
        .write_over(&place.paths[1]);
    let planned = planned(&place.span(), &SquashOptions::default()).unwrap();
    assert!(planned.only_removed);
    let stats = squashed(&place.span(), &SquashOptions::default());
    assert!(stats.only_removed && stats.removed == planned.removed, "{stats:?}");
    assert_eq!(stats.removed.len(), 4, "two layers, each with its .meta file");
}
