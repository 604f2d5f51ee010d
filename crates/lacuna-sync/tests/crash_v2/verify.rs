//! What `verify` finds when a device loses bytes after they were written.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lacuna::{IoMode, Kept};
use lacuna_sync::Error;
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use crate::pair::{Ended, Wiring, session};
use crate::steps::Steps;

/// Blocks in a chunk.
const CHUNK: u64 = 16;

/// A chunk of data, one of data and holes, one of zeros, many that are holes, and one that ends early.
fn disk() -> Pattern {
    use Block::{Data, Hole, Zero};
    let mixed = [vec![Data(2); 5], vec![Hole; 6], vec![Data(3); 5]].concat();
    let blocks =
        [vec![Data(1); 16], mixed, vec![Zero; 16], vec![Hole; 16 * 40], vec![Data(4), Hole]];
    let whole = Pattern::whole(blocks.concat());
    Pattern { size: whole.size - 1000, ..whole }
}

/// Of the device, beyond the image.
const REST: u64 = CHUNK * BLOCK;

struct Place {
    device: LoopDevice,
    /// What the device stands on.
    medium: PathBuf,
    source: PathBuf,
    _mount: Mount,
}

impl Place {
    fn new() -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let size = disk().size.next_multiple_of(BLOCK) + REST;
        let device = LoopDevice::new(size)?;
        let source = mount.path().join("source.img");
        disk().write(&source);
        let name = device.path().file_name().unwrap().to_str().unwrap();
        let medium = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        Some(Self { device, medium: medium.unwrap().trim_end().into(), source, _mount: mount })
    }

    /// Bytes in the first half, zeros in the second.
    fn prepare(&self) {
        let size = self.medium.metadata().unwrap().len() as usize;
        let bytes = [vec![7; size / 2], vec![0; size - size / 2]].concat();
        let device = File::options().write(true).open(self.device.path()).unwrap();
        device.write_all_at(&bytes, 0).unwrap();
        device.sync_all().unwrap();
    }

    fn session(&self, io: IoMode) -> Ended {
        let mut wiring = Wiring { io, ..Wiring::default() };
        wiring.target.verify = true;
        session(&self.source, self.device.path(), &wiring)
    }

    fn has_image(&self) -> bool {
        std::fs::read(self.device.path()).unwrap().starts_with(&disk().bytes())
    }
}

/// The byte at `offset` becomes another one on the medium, which whoever has the device in memory does
/// not see.
fn spoil(device: &Path, medium: &Path, offset: u64) {
    File::open(device).unwrap().sync_all().unwrap();
    let right = disk().bytes().get(offset as usize).copied().unwrap_or(0);
    let medium = File::options().write(true).open(medium).unwrap();
    medium.write_all_at(&[right ^ 1], offset).unwrap();
}

/// A session whose device is spoiled at `offset` whenever all that was written is about to be synced.
fn spoiled(steps: &Steps, place: &Place, io: IoMode, offset: u64) -> Ended {
    place.prepare();
    let (device, medium) = (place.device.path().to_owned(), place.medium.clone());
    steps.on("image.sync", move || spoil(&device, &medium, offset));
    let ended = place.session(io);
    steps.clear();
    ended
}

#[test]
fn whatever_a_device_has_lost_is_found_before_it_counts_as_done() {
    let steps = Steps::take();
    let Some(place) = Place::new() else { return };
    let blocks = [0, CHUNK - 1, CHUNK + 7, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK, 20 * CHUNK + 3];
    let last = [43 * CHUNK - 1, 43 * CHUNK].map(|block| block * BLOCK);
    let offsets = blocks.map(|block| block * BLOCK + 99).into_iter().chain(last);
    for offset in offsets.chain([disk().size - 1]) {
        for io in [IoMode::Auto, IoMode::Buffered] {
            let what = format!("{io:?}, offset {offset}, block {}", offset / BLOCK);
            let ended = spoiled(&steps, &place, io, offset);
            let failure = ended.received.expect_err(&what);
            assert!(matches!(*failure.cause, Error::ReceiptsDiffer), "{what}: {failure:?}");
            assert!(matches!(failure.kept, Kept::HalfWrittenDevice(_)), "{what}: {failure:?}");
            let heard = ended.sent.expect_err(&what);
            assert!(matches!(heard, Error::Peer { code: 11, .. }), "{what}: {heard:?}");
            assert!(!place.has_image(), "{what}");
            let again = place.session(io);
            assert!(again.received.is_ok() && again.sent.is_ok(), "{what}: {:?}", again.received);
            assert!(place.has_image(), "{what}");
        }
    }
}

#[test]
fn what_a_device_has_beyond_the_image_is_not_looked_at() {
    let steps = Steps::take();
    let Some(place) = Place::new() else { return };
    for offset in [disk().size, disk().size + REST - 1] {
        let received = spoiled(&steps, &place, IoMode::Auto, offset).received.unwrap();
        assert_eq!(received.rest_bytes, place.medium.metadata().unwrap().len() - disk().size);
        assert!(place.has_image());
    }
}
