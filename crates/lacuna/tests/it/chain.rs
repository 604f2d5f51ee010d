//! Snapshot chains: what fold and prune make of them, what they refuse, and what they leave behind.

mod cancelled;
mod full;
mod metas;
pub(crate) mod oracle;
mod properties;
mod refused;
mod squash;
mod squash_left;
mod squash_refused;
mod traps;

use std::path::{Path, PathBuf};

use lacuna::fold::{self, FoldOptions, FoldStats};
use lacuna::prune::{self, PruneOptions, PruneStats};
use lacuna::{Cancel, Error, Kept, Progress, Reflink, Stopped, checksum_file};
use lacuna_testing::mount::Mount;
use lacuna_testing::pattern::Pattern;

use crate::content::Content;
use crate::patiently;
use oracle::Layer;

fn try_fold(child: &Path, parent: &Path, options: &FoldOptions) -> Result<FoldStats, Stopped> {
    let (progress, cancel) = (Progress::default(), Cancel::default());
    at_rest(&[child, parent], || fold::apply(child, parent, options, &progress, &cancel))
}

fn try_prune(parent: &Path, child: &Path) -> Result<PruneStats, Stopped> {
    let (options, progress, cancel) =
        (PruneOptions::default(), Progress::default(), Cancel::default());
    at_rest(&[child, parent], || prune::apply(parent, child, &options, &progress, &cancel))
}

/// Does `work` when nobody has the files open for writing any more: a program that another test is
/// starting has them open until it runs.
fn at_rest<T>(paths: &[&Path], work: impl Fn() -> Result<T, Stopped>) -> Result<T, Stopped> {
    for _ in 0..200 {
        match work() {
            Err(Stopped {
                cause: Error::OpenForWriting { .. } | Error::OpenElsewhere { .. },
                ..
            }) if !is_held(paths) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            result => return result,
        }
    }
    panic!("{paths:?} stay open for writing");
}

/// Whether this process has one of the files open.
fn is_held(paths: &[&Path]) -> bool {
    let own = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    own.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|open| paths.contains(&&*open))
}

/// Folds to the end, whatever it takes.
#[track_caller]
fn folded(child: &Path, parent: &Path, options: &FoldOptions) -> FoldStats {
    let run = || try_fold(child, parent, options).map_err(|stopped| stopped.cause);
    patiently(run).unwrap_or_else(|error| panic!("fold: {}", lacuna::describe(&error)))
}

#[track_caller]
fn pruned(parent: &Path, child: &Path) -> PruneStats {
    try_prune(parent, child).unwrap_or_else(|error| panic!("prune: {}", lacuna::describe(&error)))
}

fn copying() -> FoldOptions {
    FoldOptions { reflink: Reflink::Never, ..FoldOptions::default() }
}

fn freeing() -> FoldOptions {
    FoldOptions { free: true, ..FoldOptions::default() }
}

/// What every way to fold or prune two images says, all of which must refuse and leave them alone.
#[track_caller]
fn refused(child: &Path, parent: &Path) -> Vec<Error> {
    let mut errors = fold_refused(child, parent);
    errors.extend(prune_refused(child, parent));
    errors
}

#[track_caller]
fn fold_refused(child: &Path, parent: &Path) -> Vec<Error> {
    let untouched = Untouched::of(&[child, parent]);
    let options = FoldOptions::default();
    let planned = at_rest(&[child, parent], || Ok(fold::plan(child, parent, &options)?));
    let planned = planned.expect_err("a plan to fold").cause;
    let stopped = try_fold(child, parent, &options).expect_err("a fold");
    let freeing = try_fold(child, parent, &freeing()).expect_err("a fold that frees");
    untouched.check();
    assert_eq!((&stopped.kept, &freeing.kept), (&Kept::Nothing, &Kept::Nothing));
    vec![planned, stopped.cause, freeing.cause]
}

#[track_caller]
fn prune_refused(child: &Path, parent: &Path) -> Vec<Error> {
    let untouched = Untouched::of(&[child, parent]);
    let options = PruneOptions::default();
    let planned = at_rest(&[child, parent], || Ok(prune::plan(parent, child, &options)?));
    let stopped = try_prune(parent, child).expect_err("a prune");
    untouched.check();
    assert_eq!(stopped.kept, Kept::Nothing);
    vec![planned.expect_err("a plan to prune").cause, stopped.cause]
}

/// Whether all the errors are what they should be; says which is not.
macro_rules! assert_all {
    ($errors:expr, $pattern:pat $(if $guard:expr)?) => {
        for error in $errors {
            assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        }
    };
}
use assert_all;

/// Files as they were, and the names beside them.
struct Untouched {
    names: Vec<(PathBuf, Vec<String>)>,
    files: Vec<(PathBuf, Content, std::time::SystemTime)>,
}

impl Untouched {
    /// Of those that are regular files.
    fn of(paths: &[&Path]) -> Self {
        let is_file = |path: &&&Path| std::fs::metadata(path).is_ok_and(|file| file.is_file());
        let files = paths
            .iter()
            .filter(is_file)
            .map(|path| (path.to_path_buf(), Content::of(path), modified(path)));
        let beside = paths.iter().filter_map(|path| path.parent());
        let beside =
            beside.filter(|directory| directory.is_dir() && !directory.starts_with("/dev"));
        let names = beside.map(|directory| (directory.to_owned(), names(directory)));
        Self { names: names.collect(), files: files.collect() }
    }

    #[track_caller]
    fn check(&self) {
        for (path, content, at) in &self.files {
            Content::of(path).assert_is(content, path.display());
            assert_eq!(modified(path), *at, "{}", path.display());
        }
        for (directory, before) in &self.names {
            assert_eq!(names(directory), *before);
        }
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_nothing_hidden(directory: &Path) {
    let names = names(directory);
    assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
}

/// The mark beside an image that is being written in place.
fn mark_of(image: &Path) -> PathBuf {
    let name = image.file_name().unwrap().to_str().unwrap();
    image.with_file_name(format!(".{name}.lacuna-unfinished"))
}

fn put_checksum(image: &Path) {
    std::fs::write(checksum_file::path_of(image), "{}").unwrap();
}

fn has_checksum(image: &Path) -> bool {
    checksum_file::path_of(image).exists()
}

/// A child over a parent, in files and in memory.
struct Two {
    child: PathBuf,
    parent: PathBuf,
    layers: [Layer; 2],
}

impl Two {
    fn on(mount: &Mount, child: &Pattern, parent: &Pattern) -> Self {
        let path = |name| mount.path().join(name);
        let two = Self {
            child: path("child.img"),
            parent: path("parent.img"),
            layers: [Layer::of(child), Layer::of(parent)],
        };
        child.write(&two.child);
        parent.write(&two.parent);
        two
    }

    /// Takes what the files hold for what they should hold: after a change by other means.
    fn look(&mut self) {
        self.layers = [Layer::seen(&self.child), Layer::seen(&self.parent)];
    }

    /// What is read through both, with `base` below them.
    fn read_over(&self, base: &Layer) -> Vec<u8> {
        let seen = [Layer::seen(&self.child), Layer::seen(&self.parent), base.clone()];
        oracle::read(&seen)
    }

    /// Folds, and compares both with what they must be then.
    #[track_caller]
    fn fold(&mut self, options: &FoldOptions) -> FoldStats {
        let stats = folded(&self.child, &self.parent, options);
        let [child, parent] = &mut self.layers;
        parent.fold(child);
        if options.free {
            child.clear();
        }
        self.check("folded");
        stats
    }

    #[track_caller]
    fn prune(&mut self) -> PruneStats {
        let stats = pruned(&self.parent, &self.child);
        let [child, parent] = &mut self.layers;
        parent.prune(child);
        self.check("pruned");
        stats
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let [child, parent] = &self.layers;
        Content::of(&self.parent).assert_is(&parent.content(), format!("the parent, {what}"));
        Content::of(&self.child).assert_is(&child.content(), format!("the child, {what}"));
        assert_nothing_hidden(self.parent.parent().unwrap());
    }
}
