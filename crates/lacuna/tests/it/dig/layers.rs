//! A layer of a chain is not dug: its zeros hide what its parent has.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lacuna::Error;
use lacuna::dig::DigOptions;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::{dug, planned};
use crate::changed_at;
use crate::content::Content;

/// A directory with one image of zeros, `name`.
fn image(name: &str) -> Option<(Mount, PathBuf)> {
    let mount = Mount::new(Fs::Ext4)?;
    let directory = mount.path().join("replica");
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join(name);
    Pattern::whole(vec![Block::Data(0), Block::Zero, Block::Data(1)]).write(&path);
    Some((mount, path))
}

/// Neither plan nor apply touches what `path` leads to, and both name what tells.
#[track_caller]
fn assert_is_layer(path: &Path, tells: &Path) {
    let before = (Content::of(path), changed_at(path));
    let options = DigOptions::default();
    for error in [planned(path, &options).unwrap_err(), dug(path, &options).unwrap_err()] {
        assert!(
            matches!(&error, Error::IsLayer { evidence, .. } if evidence == tells),
            "{error:?}"
        );
        assert!(error.remedy().unwrap().contains("overridden"));
    }
    Content::of(path).assert_is(&before.0, "untouched");
    assert_eq!(changed_at(path), before.1);
}

/// It stands alone, or is said to.
#[track_caller]
fn assert_dug(path: &Path, force_layer: bool) {
    let options = DigOptions { force_layer, ..DigOptions::default() };
    planned(path, &options).unwrap();
    assert_eq!(dug(path, &options).unwrap().dug_bytes, 8192);
}

fn meta_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{}.meta", path.file_name().unwrap().to_str().unwrap()))
}

#[test]
fn the_names_of_layers_tell() {
    for name in ["volume-snap-a.img", "volume-head-000.img", "volume-delta-b.img"] {
        let Some((_mount, path)) = image(name) else { return };
        assert_is_layer(&path, &path);
        assert_dug(&path, true);
    }
    for name in ["volume.img", "snap-a.img", "my-volume-snap-a.img", "disk.meta"] {
        let Some((_mount, path)) = image(name) else { return };
        assert_dug(&path, false);
    }
}

#[test]
fn a_meta_file_beside_the_image_tells() {
    let Some((_mount, path)) = image("disk.img") else { return };
    std::fs::write(meta_of(&path), "{\"Parent\":\"\"}").unwrap();
    assert_is_layer(&path, &meta_of(&path));
    assert_dug(&path, true);
}

#[test]
fn the_meta_file_of_a_child_tells() {
    let Some((_mount, path)) = image("disk.img") else { return };
    let child = path.with_file_name("other.img.meta");
    std::fs::write(&child, "{\"Parent\":\"disk.imgs\"}").unwrap();
    let unrelated = path.with_file_name("disk.img.json");
    std::fs::write(unrelated, "{\"Parent\":\"disk.img\"}").unwrap();
    assert_dug(&path, false);

    Pattern::whole(vec![Block::Data(0), Block::Zero, Block::Data(1)]).write(&path);
    std::fs::write(&child, "{\"Parent\":\"disk.img\"}").unwrap();
    assert_is_layer(&path, &child);
    assert_dug(&path, true);
}

#[test]
fn a_meta_file_that_cannot_be_read_may_be_that_of_a_child() {
    let Some((_mount, path)) = image("disk.img") else { return };
    std::fs::write(path.with_file_name("other.img.meta"), "not JSON").unwrap();
    for error in [
        planned(&path, &DigOptions::default()).unwrap_err(),
        dug(&path, &DigOptions::default()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
    assert_dug(&path, true);
}

#[test]
fn a_link_to_a_layer_leads_to_a_layer() {
    let Some((mount, path)) = image("volume-snap-a.img") else { return };
    let link = mount.path().join("disk.img");
    symlink(&path, &link).unwrap();
    assert_is_layer(&link, &path);
    assert_dug(&link, true);
}

/// The file is elsewhere, but where the chain looks for it there is a link.
#[test]
fn a_link_with_the_name_of_a_layer_is_a_layer() {
    let Some((mount, path)) = image("disk.img") else { return };
    let link = mount.path().join("volume-head-001.img");
    symlink(&path, &link).unwrap();
    assert_is_layer(&link, &link);
    let link = mount.path().join("base.img");
    let child = mount.path().join("child.img.meta");
    symlink(&path, &link).unwrap();
    std::fs::write(&child, "{\"Parent\":\"base.img\"}").unwrap();
    assert_is_layer(&link, &child);
    std::fs::write(meta_of(&link), "{}").unwrap();
    assert_is_layer(&link, &meta_of(&link));
    assert_dug(&link, true);
}

#[test]
fn another_name_of_a_layer_leads_to_a_layer() {
    let Some((mount, path)) = image("disk.img") else { return };
    let other = path.with_file_name("volume-snap-a.img");
    std::fs::hard_link(&path, &other).unwrap();
    assert_is_layer(&path, &other);
    std::fs::rename(&other, path.with_file_name("base.img")).unwrap();
    let child = path.with_file_name("child.img.meta");
    std::fs::write(&child, "{\"Parent\":\"base.img\"}").unwrap();
    assert_is_layer(&path, &child);
    let link = mount.path().join("link");
    symlink(&path, &link).unwrap();
    assert_is_layer(&link, &child);
    assert_dug(&link, true);
}
