//! A `.checksum` is the old one or the new one, whatever happens while it is written.

use std::fs::File;
use std::path::Path;

use lacuna::checksum_file::ChecksumFile;
use lacuna_testing::mount::{Fs, Mount};
use rustix::fs::syncfs;

use crate::points::Points;
use crate::scenario::{checksum_of, names};

/// The one that is there before, and the one that is written.
fn checksums(image: &Path) -> (ChecksumFile, ChecksumFile) {
    std::fs::write(image, "what the image was").unwrap();
    let old = checksum_of(image);
    std::fs::write(image, "what the image is").unwrap();
    (old, checksum_of(image))
}

/// Interrupts the writing of a `.checksum` at each of its steps.
fn interrupt_everywhere(
    mut mount: Mount,
    had_one: bool,
    interrupt: impl Fn(&Points, &Mount, usize),
) {
    let points = Points::take();
    let image = mount.path().join("image");
    let (old, new) = checksums(&image);
    let passed = points.passed_by(|| new.write(&image).unwrap());
    assert_eq!(passed, ["beside.write", "beside.sync", "beside.rename", "beside.sync-directory"]);
    for number in 0..passed.len() {
        ChecksumFile::remove(&image).unwrap();
        if had_one {
            old.write(&image).unwrap();
        }
        syncfs(File::open(mount.path()).unwrap()).unwrap();
        interrupt(&points, &mount, number);
        let written = new.write(&image);
        points.clear();
        mount.remount();
        assert!(written.is_err(), "{number}");
        let found = ChecksumFile::read(&image).unwrap();
        let before = had_one.then(|| old.clone());
        assert!(found == before || found.as_ref() == Some(&new), "{number}: {found:?}");
        new.write(&image).unwrap();
        assert_eq!(ChecksumFile::read(&image).unwrap().as_ref(), Some(&new));
        let names: Vec<_> =
            names(mount.path()).into_iter().filter(|name| name != "lost+found").collect();
        assert_eq!(names, ["image", "image.checksum"]);
    }
}

#[test]
fn a_checksum_survives_a_power_cut_at_every_step() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        for had_one in [false, true] {
            let Some(mount) = Mount::new(fs) else { return };
            interrupt_everywhere(mount, had_one, |points, mount, number| {
                points.at(number, mount.power_cutter());
            });
        }
    }
}

#[test]
fn a_checksum_survives_an_error_at_every_step() {
    let steps = ["beside.write", "beside.sync", "beside.rename", "beside.sync-directory"];
    for errno in [28, 5] {
        let Some(mount) = Mount::new(Fs::Ext4) else { return };
        interrupt_everywhere(mount, true, |points, _, number| {
            points.fail_at(&steps, number, errno);
        });
    }
}

#[test]
fn a_removed_checksum_stays_removed() {
    let _points = Points::take();
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(mut mount) = Mount::new(fs) else { return };
        let image = mount.path().join("image");
        let (_, new) = checksums(&image);
        new.write(&image).unwrap();
        ChecksumFile::remove(&image).unwrap();
        mount.cut_power();
        mount.remount();
        assert_eq!(ChecksumFile::read(&image).unwrap(), None, "{fs}");
    }
}
