//! Sessions that write nothing tell what those that write do.

use std::fs::File;
use std::io::ErrorKind;
use std::mem::Discriminant;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use lacuna::copy::CopyPlan;
use lacuna::{Kept, KindBytes};
use lacuna_sync::Error;
use lacuna_sync::v2::Dry;
use lacuna_testing::mount::{Fs, LoopDevice, Mount, MountOptions};
use lacuna_testing::pattern::{BLOCK, Block, Kind, Pattern, kinds_of, strategy};
use proptest::prelude::*;

use crate::for_all;
use crate::pair::{Planned, Wiring, plan, session};
use crate::sessions::{Before, Case, Place, cases};

/// All that can be seen of a directory and the files in it.
pub(crate) fn seen(directory: &Path) -> Vec<(PathBuf, Vec<u8>, [i64; 5])> {
    let look = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).unwrap();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { vec![] };
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime()];
        let more = [metadata.ctime_nsec(), i64::from(metadata.mode())];
        (path, bytes, [times[0], times[1], times[2], more[0], more[1]])
    };
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut seen: Vec<_> = entries.chain([directory.to_owned()]).map(look).collect();
    seen.sort();
    seen
}

/// What both ends say, which is one thing.
#[track_caller]
fn agreed(planned: Planned) -> CopyPlan {
    let (by_source, by_target) = (planned.by_source.unwrap(), planned.by_target.unwrap());
    // The target knows the kinds of the source as agreed.
    assert_eq!(CopyPlan { kinds: by_target.kinds, ..by_source.clone() }, by_target);
    by_source
}

/// The strongest kinds that the target holds of the source's.
fn held(source: &[Kind], has_zero: bool) -> Vec<Kind> {
    let held = |kind: &Kind| if *kind == Kind::Zero && !has_zero { Kind::Data } else { *kind };
    source.iter().map(held).collect()
}

fn block_len(index: usize, size: u64) -> u64 {
    (size - index as u64 * BLOCK).min(BLOCK)
}

/// Bytes that become a hole or zeros, by the kinds of before and after.
fn cleared(wanted: &[Kind], have: &[Kind], size: u64) -> u64 {
    let have = have.iter().copied().chain(std::iter::repeat(Kind::Hole));
    let changes = wanted.iter().zip(have).enumerate();
    let cleared = changes.filter(|(_, (wanted, have))| **wanted != Kind::Data && *wanted != have);
    cleared.map(|(index, _)| block_len(index, size)).sum()
}

fn counted(kinds: &[Kind], size: u64) -> KindBytes {
    let mut bytes = KindBytes::default();
    for (index, kind) in kinds.iter().enumerate() {
        let kind = match kind {
            Kind::Hole => lacuna::Kind::Hole,
            Kind::Zero => lacuna::Kind::Zero,
            Kind::Data => lacuna::Kind::Data,
        };
        bytes.add(kind, block_len(index, size));
    }
    bytes
}

fn part_of(target: &Path) -> PathBuf {
    target.with_file_name(".target.img.lacuna-data")
}

impl Place {
    /// Plans, compares and then writes.
    fn check_plans(&self, case: &Case, has_zero: bool) {
        self.prepare(case);
        let mut wiring = case.wiring();
        wiring.target.verify = false;
        let directory = self.target.parent().unwrap();
        std::fs::write(self.target.with_file_name("target.img.checksum"), "{}").unwrap();
        let (kinds, size) = (kinds_of(&self.source), case.source.size);
        let (have, exists) = match &case.before {
            Before::Nothing => (vec![], false),
            Before::Image(_) => (kinds_of(&self.target), true),
            Before::Part(_) => (kinds_of(&part_of(&self.target)), false),
        };
        let before = seen(directory);
        let planned = |dry| agreed(plan(&self.source, &self.target, dry, &wiring));
        let (planned, compared) = (planned(Dry::Plan), planned(Dry::Compare));
        assert!(before == seen(directory), "the directory of the target");

        let ended = session(&self.source, &self.target, &wiring);
        let (sent, received) = (ended.sent.expect("sent"), ended.received.expect("received"));
        let cleared = cleared(&held(&kinds, has_zero), &have, size);
        for plan in [&planned, &compared] {
            assert_eq!((plan.size_bytes, plan.kinds), (size, counted(&kinds, size)));
            assert_eq!((plan.cleared_bytes, plan.rest_bytes), (cleared, None));
            assert_eq!(plan.target_exists, Some(exists));
            assert!(plan.free_bytes > Some(0));
        }
        assert_eq!(planned.written_bytes, None);
        assert!(planned.written_bytes_max >= received.written_bytes, "{planned:?} {received:?}");
        assert_eq!(compared.written_bytes, Some(received.written_bytes));
        assert_eq!(compared.written_bytes_max, sent.written_bytes);
        assert_eq!(compared.compared_bytes, received.compared_bytes);
        assert_eq!(compared.read_bytes, ended.read_bytes);
    }
}

fn check_on(source: Fs, target: Fs, number: u32) {
    let (Some(source), Some(target)) = (Mount::new(source), Mount::new(target)) else { return };
    let place = Place {
        source: source.path().join("source.img"),
        target: target.path().join("target.img"),
    };
    let has_zero = target.fs().has_zero();
    for_all(number, cases(), |case| place.check_plans(&case, has_zero));
}

#[test]
fn what_is_told_is_what_is_done_on_ext4() {
    check_on(Fs::Ext4, Fs::Ext4, 60);
}

#[test]
fn what_is_told_is_what_is_done_on_xfs() {
    check_on(Fs::Ext4, Fs::Xfs, 40);
}

#[test]
fn what_is_told_is_what_is_done_on_tmpfs() {
    check_on(Fs::Xfs, Fs::Tmpfs, 40);
}

#[test]
fn what_is_told_is_what_is_done_from_tmpfs() {
    check_on(Fs::Tmpfs, Fs::Xfs, 20);
}

#[test]
fn what_is_told_is_what_is_done_on_a_device() {
    const SIZE: u64 = 1 << 20;
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(SIZE) else { return };
    let source = mount.path().join("source.img");
    for_all(20, (strategy(200), strategy(200), any::<bool>()), |(pattern, old, noise)| {
        pattern.write(&source);
        let file = File::options().write(true).open(device.path()).unwrap();
        file.write_all_at(&vec![u8::from(noise); SIZE as usize], 0).unwrap();
        file.sync_all().unwrap();
        old.write_over(device.path());
        let before = std::fs::read(device.path()).unwrap();
        let wiring = Wiring::default();
        let planned = |dry| agreed(plan(&source, device.path(), dry, &wiring));
        let (planned, compared) = (planned(Dry::Plan), planned(Dry::Compare));
        assert!(before == std::fs::read(device.path()).unwrap(), "the device");

        let ended = session(&source, device.path(), &wiring);
        let received = ended.received.expect("received");
        let kinds = kinds_of(&source);
        let without_data = |counts: fn(&[u8]) -> bool| {
            let blocks = before[..pattern.size as usize].chunks(BLOCK as usize).zip(&kinds);
            let blocks = blocks.filter(|(bytes, kind)| **kind != Kind::Data && counts(bytes));
            blocks.map(|(bytes, _)| bytes.len() as u64).sum::<u64>()
        };
        assert_eq!(planned.cleared_bytes, without_data(|_| true));
        let other_than_zero = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
        assert_eq!(compared.cleared_bytes, without_data(other_than_zero));
        assert!(planned.written_bytes_max >= received.written_bytes);
        assert_eq!(compared.written_bytes, Some(received.written_bytes));
        assert_eq!(compared.compared_bytes, received.compared_bytes);
        assert_eq!(planned.compared_bytes, pattern.size);
        assert_eq!(compared.read_bytes, ended.read_bytes);
        for plan in [planned, compared] {
            assert_eq!((plan.rest_bytes, plan.free_bytes), (Some(SIZE - pattern.size), None));
            assert_eq!((plan.needed_bytes, plan.target_exists), (0, Some(true)));
        }
    });
}

/// Many messages of digests, more than one of answers.
#[test]
fn large_images_are_compared_within_the_window_and_cheaply() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    let blocks = |other: u8| {
        let data = move |n: usize| match n % 7 {
            0 => Block::Data(other),
            1..5 => Block::Data((n % 250) as u8 + 1),
            _ => Block::Hole,
        };
        Pattern::whole((0..12_000).map(data).collect())
    };
    blocks(251).write(&source);
    blocks(252).write(&target);
    let wiring = Wiring::default();
    let compared = plan(&source, &target, Dry::Compare, &wiring);
    let wire_bytes = compared.wire_bytes;
    let compared = agreed(compared);
    let ended = session(&source, &target, &wiring);
    assert_eq!(compared.written_bytes, Some(12_000_u64.div_ceil(7) * BLOCK));
    assert_eq!(compared.written_bytes, Some(ended.received.unwrap().written_bytes));
    assert_eq!(compared.read_bytes, ended.read_bytes);
    assert!(wire_bytes < 12_000 * BLOCK / 64, "{wire_bytes}: of digests alone");
    let planned = plan(&source, &target, Dry::Plan, &wiring);
    assert!(planned.wire_bytes < 12_000, "{}: some bytes for each extent", planned.wire_bytes);
    assert_eq!(agreed(planned).written_bytes_max, compared.kinds.data_bytes);
    Pattern::whole(vec![Block::Data(1); 12_000]).write(&source);
    let planned = plan(&source, &target, Dry::Plan, &wiring);
    assert!(planned.wire_bytes < 500, "{}: no message for each MiB", planned.wire_bytes);
}

#[test]
fn what_is_in_use_is_not_looked_at_and_what_is_marked_is() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 64]).write(&source);
    Pattern::whole(vec![Block::Data(2); 64]).write(&target);
    let wiring = Wiring::default();
    let open = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    for dry in [Dry::Plan, Dry::Compare] {
        let planned = plan(&source, &target, dry, &wiring);
        assert!(matches!(planned.by_target, Err(Error::Image(lacuna::Error::Busy { .. }))));
        assert!(matches!(planned.by_source, Err(Error::Peer { code: 6, .. })));
    }
    drop(open);
    std::fs::write(mount.path().join(".b.img.lacuna-unfinished"), "").unwrap();
    let compared = agreed(plan(&source, &target, Dry::Compare, &wiring));
    assert_eq!(compared.written_bytes, Some(64 * BLOCK));
}

#[test]
fn a_target_that_is_being_read_is_looked_at_and_not_written() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 64]).write(&source);
    Pattern::whole(vec![Block::Data(2); 64]).write(&target);
    let wiring = Wiring::default();
    let reader = lacuna::Source::open(&target, &lacuna::ImageOptions::default()).unwrap();
    agreed(plan(&source, &target, Dry::Compare, &wiring));
    let failure = session(&source, &target, &wiring).received.unwrap_err();
    assert!(matches!(*failure.cause, Error::Image(lacuna::Error::Busy { .. })));
    assert!(matches!(failure.kept, Kept::Nothing));
    drop(reader);
    session(&source, &target, &wiring).received.unwrap();
}

/// Of what sort an error about an image is.
fn sort(error: &Error) -> (Discriminant<lacuna::Error>, Option<ErrorKind>) {
    let Error::Image(error) = error else { panic!("{error:?}") };
    (std::mem::discriminant(error), error.io_kind())
}

#[test]
fn what_a_session_would_refuse_is_refused() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let Some(device) = LoopDevice::new(BLOCK) else { return };
    let mkfs = ["-b", "size=16384"].map(str::to_owned).to_vec();
    let large = MountOptions { mkfs, ..MountOptions::default() };
    let Some(large) = Mount::with(Fs::Xfs, &large) else { return };
    let source = mount.path().join("a.img");
    Pattern::whole(vec![Block::Data(1); 2]).write(&source);
    std::os::unix::fs::symlink("nowhere", mount.path().join("link.img")).unwrap();
    let existing = large.path().join("b.img");
    std::fs::write(&existing, "image").unwrap();
    for target in [
        device.path(),
        &existing,
        &large.path().join("none.img"),
        &mount.path().join("link.img"),
        &mount.path().join("none/b.img"),
        &mount.path().join("lost+found"),
    ] {
        let wiring = Wiring::default();
        let told = *session(&source, target, &wiring).received.unwrap_err().cause;
        for dry in [Dry::Plan, Dry::Compare] {
            let planned = plan(&source, target, dry, &wiring);
            assert_eq!(sort(&planned.by_target.unwrap_err()), sort(&told), "{told:?}");
            assert!(matches!(planned.by_source, Err(Error::Peer { .. })));
        }
    }
}
