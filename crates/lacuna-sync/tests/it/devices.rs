//! Block devices, as target and as source: nothing beside them lasts, and no time tells of a change.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use lacuna::IoMode;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::mount::LoopDevice;
use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::image::{bytes_of, checksum_of, checksum_text, crc64, record};
use crate::options;
use crate::server::{Server, session};

const SIZE: usize = 1 << 20;

/// A device of 1 MiB full of sevens, and a directory with a name for it and for an image.
struct Place {
    /// By another name.
    held: LoopDevice,
    device: PathBuf,
    image: PathBuf,
    directory: TempDir,
}

impl Place {
    fn new() -> Option<Self> {
        let device = LoopDevice::new(SIZE as u64)?;
        let directory = tempfile::tempdir().expect("make a directory");
        let number = device.path().metadata().expect("stat").rdev();
        // A name of its own, beside which there is room for files.
        let path = directory.path().join("device.img");
        mknodat(CWD, &path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, number).expect("mknod");
        fill(&path, 7);
        let image = directory.path().join("disk.img");
        Some(Self { held: device, device: path, image, directory })
    }

    /// Two names, and at most the record of the image.
    #[track_caller]
    fn assert_tidy(&self) {
        let names = std::fs::read_dir(self.directory.path()).expect("list the directory");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").path()).collect();
        let expected = [&self.device, &self.image, &checksum_of(&self.image)];
        assert!(names.iter().all(|name| expected.contains(&name)), "{names:?}");
    }
}

fn fill(device: &Path, byte: u8) {
    let file = File::options().write(true).open(device).expect("open the device");
    file.write_all_at(&vec![byte; SIZE], 0).expect("write to the device");
    file.sync_all().expect("sync the device");
}

fn disk() -> Pattern {
    let [a, b, hole, zero] = [Block::Data(1), Block::Data(2), Block::Hole, Block::Zero];
    Pattern::whole([vec![a; 20], vec![hole; 30], vec![b; 9], vec![zero; 9], vec![hole; 4]].concat())
}

#[test]
fn a_device_gets_the_bytes_and_keeps_the_rest() {
    let Some(place) = Place::new() else { return };
    disk().write(&place.image);
    let (bytes, size) = (disk().bytes(), disk().size as usize);
    for target_io in [IoMode::Direct, IoMode::Buffered] {
        fill(&place.device, 7);
        let options = SyncOptions { target_io, ..options() };
        let (synced, served) = session(&place.image, &place.device, &options);
        synced.unwrap();
        served.unwrap();
        let held = bytes_of(&place.device);
        assert!(held[..size] == bytes, "the image");
        assert!(held[size..] == vec![7; SIZE - size], "the rest");
        let (synced, served) = session(&place.image, &place.device, &options);
        assert_eq!((synced.unwrap().sent_bytes, served.unwrap().written_bytes), (0, 0));
        assert!(bytes_of(&place.device) == held);
        place.assert_tidy();
    }
}

#[test]
fn nothing_vouches_for_a_device() {
    let Some(place) = Place::new() else { return };
    disk().write(&place.image);
    record(&place.image);
    for byte in [7, 8] {
        // Of which the time of the device's other name says nothing.
        fill(place.held.path(), byte);
        let (synced, served) = session(&place.image, &place.device, &options());
        assert!(!synced.unwrap().skipped);
        served.unwrap();
        assert!(bytes_of(&place.device)[..disk().size as usize] == disk().bytes());
        place.assert_tidy();
    }
}

#[test]
fn a_record_beside_a_device_is_not_believed() {
    let Some(place) = Place::new() else { return };
    std::fs::write(&place.image, vec![8; SIZE]).unwrap();
    record(&place.image);
    let text = checksum_text(&place.device, &crc64(&vec![8; SIZE]), "UTC0");
    std::fs::write(checksum_of(&place.device), &text).unwrap();
    // As the source, and as the target.
    for (source, target) in [(&place.device, &place.image), (&place.image, &place.device)] {
        fill(place.held.path(), 7);
        std::fs::write(&place.image, vec![8; SIZE]).unwrap();
        record(&place.image);
        let (synced, served) = session(source, target, &options());
        assert!(!synced.unwrap().skipped);
        served.unwrap();
        assert!(bytes_of(source) == bytes_of(target));
    }
}

#[test]
fn a_device_arrives_as_an_image_without_holes() {
    let Some(place) = Place::new() else { return };
    let (synced, served) = session(&place.device, &place.image, &options());
    assert_eq!(synced.unwrap().sent_bytes, SIZE as u64);
    served.unwrap();
    assert!(bytes_of(&place.image) == vec![7; SIZE]);
    assert!(place.image.metadata().unwrap().blocks() >= SIZE as u64 / 512);
    place.assert_tidy();
}

#[test]
fn a_device_that_is_too_small_is_refused_and_left_alone() {
    let Some(place) = Place::new() else { return };
    Pattern::whole(vec![Block::Data(1); SIZE / 4096 + 1]).write(&place.image);
    let (synced, _) = session(&place.image, &place.device, &options());
    let error = lacuna::describe(&synced.unwrap_err());
    assert!(error.contains("has 1048576 bytes, 1052672 are needed"), "{error}");
    assert!(bytes_of(&place.device) == vec![7; SIZE]);
    place.assert_tidy();
}

#[test]
fn a_device_of_which_a_part_was_written_is_called_that() {
    let Some(place) = Place::new() else { return };
    let server = Server::of(&place.device);
    let mut http = server.dial();
    http.open(2 * 4096, true);
    http.write(0, 4096, &[8; 4096]);
    let answer = http.close("");
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("device.img is half old and half new"), "{}", answer.text());
    server.failed();
    place.assert_tidy();
}
