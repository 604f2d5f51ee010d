//! What the `.img.meta` files of a chain say of the layers that are folded or pruned.

use std::path::PathBuf;

use lacuna::Error;
use lacuna::fold::{self, FoldOptions};
use lacuna::prune::{self, PruneOptions};
use lacuna::{Cancel, Progress};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{Two, assert_all, at_rest, folded, pruned, refused};

const PARENT: &str = "parent.img";

/// Two layers, and what to do to the files that describe them.
struct Described {
    two: Two,
    mount: Mount,
}

impl Described {
    fn new() -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let child = Pattern::whole(vec![Block::Data(1), Block::Hole, Block::Zero, Block::Hole]);
        let parent = Pattern::whole(vec![Block::Hole, Block::Data(2), Block::Data(3)]);
        Some(Self { two: Two::on(&mount, &child, &parent), mount })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    fn meta(&self, name: &str, parent: &str) {
        let text = format!("{{\"Name\":\"x\",\"Parent\":\"{parent}\",\"Removed\":false}}\n");
        std::fs::write(self.path(&format!("{name}.meta")), text).unwrap();
    }

    #[track_caller]
    fn refused(&self) -> Vec<Error> {
        refused(&self.two.child, &self.two.parent)
    }

    #[track_caller]
    fn works(&self) {
        folded(&self.two.child, &self.two.parent, &FoldOptions::default());
        pruned(&self.two.parent, &self.two.child);
    }

    #[track_caller]
    fn works_when_forced(&self) {
        let (child, parent) = (&self.two.child, &self.two.parent);
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let forced = FoldOptions { force_layer: true, ..FoldOptions::default() };
        let fold = || {
            fold::plan(child, parent, &forced)?;
            fold::apply(child, parent, &forced, &progress, &cancel)
        };
        at_rest(&[child, parent], fold).unwrap();
        let forced = PruneOptions { force_layer: true };
        let prune = || {
            prune::plan(parent, child, &forced)?;
            prune::apply(parent, child, &forced, &progress, &cancel)
        };
        at_rest(&[child, parent], prune).unwrap();
    }
}

#[test]
fn a_child_whose_parent_it_is_is_folded_and_others_may_stand_beside() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", PARENT);
    chain.meta(PARENT, "base.img");
    chain.meta("base.img", "");
    chain.meta("other.img", "child.img");
    // Not the description of a layer.
    std::fs::write(chain.path("volume.meta"), r#"{"Head":"child.img","Parent":"parent.img"}"#)
        .unwrap();
    chain.works();
}

#[test]
fn a_child_of_another_parent_is_refused_with_the_name_of_that() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", "base.img");
    let (child, parent) = (chain.two.child.clone(), chain.two.parent.clone());
    assert_all!(
        chain.refused(),
        Error::NotItsParent { child: c, parent: p, recorded: Some(recorded) }
            if *c == child && *p == parent && recorded == "base.img"
    );
    chain.works_when_forced();
}

#[test]
fn a_child_that_names_no_parent_is_refused() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", "");
    assert_all!(chain.refused(), Error::NotItsParent { recorded: None, .. });
    std::fs::write(chain.path("child.img.meta"), "{}").unwrap();
    assert_all!(chain.refused(), Error::NotItsParent { recorded: None, .. });
    chain.works_when_forced();
}

#[test]
fn a_parent_that_is_described_and_a_child_that_is_not_are_refused() {
    let Some(chain) = Described::new() else { return };
    chain.meta(PARENT, "base.img");
    assert_all!(chain.refused(), Error::NotItsParent { recorded: None, .. });
    chain.works_when_forced();
}

#[test]
fn a_parent_and_its_child_in_the_wrong_order_are_refused() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", "");
    chain.meta(PARENT, "child.img");
    assert_all!(chain.refused(), Error::NotItsParent { recorded: None, .. });
}

#[test]
fn a_parent_of_two_children_is_refused_with_the_name_of_the_other() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", PARENT);
    chain.meta("other.img", PARENT);
    let (parent, meta) = (chain.two.parent.clone(), chain.path("other.img.meta"));
    assert_all!(
        chain.refused(),
        Error::SharedParent { parent: p, other } if *p == parent && *other == meta
    );
    std::fs::remove_file(&meta).unwrap();
    chain.works();
    chain.meta("other.img", PARENT);
    chain.works_when_forced();
}

#[test]
fn a_parent_of_the_right_name_in_another_directory_is_refused() {
    let Some(chain) = Described::new() else { return };
    chain.meta("child.img", PARENT);
    let directory = chain.path("elsewhere");
    std::fs::create_dir(&directory).unwrap();
    let other = directory.join(PARENT);
    std::fs::rename(&chain.two.parent, &other).unwrap();
    assert_all!(refused(&chain.two.child, &other), Error::NotItsParent { .. });
    // A link leads to where the layers are.
    std::fs::rename(&other, &chain.two.parent).unwrap();
    let link = directory.join("link");
    std::os::unix::fs::symlink(&chain.two.parent, &link).unwrap();
    folded(&chain.two.child, &link, &FoldOptions::default());
}

#[test]
fn a_description_that_is_none_is_refused_by_its_name() {
    let Some(chain) = Described::new() else { return };
    let meta = chain.path("child.img.meta");
    for text in ["", "{", "[1]", r#"{"Parent":3}"#] {
        std::fs::write(&meta, text).unwrap();
        assert_all!(chain.refused(), Error::Malformed { path, .. } if *path == meta);
    }
    std::fs::write(&meta, vec![b' '; 2 << 20]).unwrap();
    assert_all!(chain.refused(), Error::Io { path, .. } if *path == meta);
    chain.works_when_forced();
}
