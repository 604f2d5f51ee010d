//! Disks that are full, and images that others have.

use std::fs::{DirEntry, File};
use std::path::Path;
use std::time::Duration;

use lacuna::Kept;
use lacuna_sync::Error;
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern, kinds_of};

use crate::pair::{Wiring, session};
use crate::peer::{Server, offer};

#[test]
fn an_image_larger_than_any_disk_is_refused_with_the_systems_words() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let server = Server::start(mount.path());
    let mut peer = server.admitted("a.img");
    peer.send(&offer(i64::MAX as u64));
    peer.rest();
    let failure = server.failure();
    assert!(failure.starts_with("cannot resize .a.img.lacuna-data"), "{failure}");
    assert_eq!(names(mount.path()), ["lost+found"]);
}

/// What is in `directory`.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn what_a_session_leaves_that_cannot_begin_is_told() {
    let (Some(from), Some(to)) = (Mount::new(Fs::Xfs), Mount::new(Fs::Ext4)) else { return };
    let (source, target) = (from.path().join("a.img"), to.path().join("b.img"));
    // More than a file on ext4 can have.
    File::create(&source).unwrap().set_len(17 << 40).unwrap();
    let failure = session(&source, &target, &Wiring::default()).received.unwrap_err();
    assert!(lacuna::describe(&*failure.cause).starts_with("cannot resize"), "{failure:?}");
    assert_eq!(failure.kept, Kept::Nothing);
    assert_eq!(names(to.path()), ["lost+found"]);

    let image = Pattern::whole(vec![Block::Data(1); 3]);
    image.write(&target);
    let failure = session(&source, &target, &Wiring::default()).received.unwrap_err();
    assert_eq!(failure.kept, Kept::Nothing);
    assert_eq!(names(to.path()), ["b.img", "lost+found"]);
    assert_eq!(std::fs::read(&target).unwrap(), image.bytes());

    // What was half written before still is.
    let mark = to.path().join(".b.img.lacuna-unfinished");
    std::fs::write(&mark, "").unwrap();
    let failure = session(&source, &target, &Wiring::default()).received.unwrap_err();
    assert_eq!(failure.kept, Kept::HalfWritten(target));
    assert!(mark.exists());
}

#[test]
fn a_source_that_changes_fails_the_session() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 4096]).write(&source);
    let writer = File::options().append(true).open(&source).unwrap();
    let changing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        writer.set_len(4095 * 4096).unwrap();
    });
    let rate = std::num::NonZeroU64::new(16 << 20);
    let mut wiring = Wiring::default();
    wiring.link.rate = rate;
    wiring.source.zstd = None;
    let ended = session(&source, &target, &wiring);
    changing.join().unwrap();
    assert!(matches!(ended.sent.unwrap_err(), Error::Image(_)));
    assert!(ended.received.is_err());
    assert!(!target.exists());
}

#[test]
fn two_sessions_do_not_write_to_one_target() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (source, target) = (mount.path().join("a.img"), mount.path().join("b.img"));
    Pattern::whole(vec![Block::Data(1); 64]).write(&source);
    Pattern::whole(vec![Block::Data(2); 64]).write(&target);
    let open = lacuna::Target::open(&target, &lacuna::TargetOptions::default()).unwrap();
    let ended = session(&source, &target, &Wiring::default());
    assert!(matches!(*ended.received.unwrap_err().cause, Error::Image(lacuna::Error::Busy { .. })));
    assert!(matches!(ended.sent.unwrap_err(), Error::Peer { code: 6, .. }));
    drop(open);
}

#[test]
fn a_filesystem_of_larger_blocks_is_read_from_and_not_written_to() {
    let options =
        MountOptions { mkfs: vec!["-b".into(), "size=16384".into()], ..MountOptions::default() };
    let (Some(small), Some(large)) = (Mount::new(Fs::Ext4), Mount::with(Fs::Xfs, &options)) else {
        return;
    };
    let (source, target) = (large.path().join("a.img"), small.path().join("b.img"));
    let blocks: Vec<_> =
        (0..64).map(|n| if n / 4 % 3 == 0 { Block::Hole } else { Block::Data(n as u8) }).collect();
    Pattern::whole(blocks.clone()).write(&source);
    session(&source, &target, &Wiring::default()).assert_done();
    assert_eq!(kinds_of(&source), kinds_of(&target));
    assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(&target).unwrap());

    // What is new there, and what is old.
    for (target, left) in [("c.img", vec!["a.img"]), ("a.img", vec!["a.img"])] {
        let source = small.path().join("b.img");
        let ended = session(&source, &large.path().join(target), &Wiring::default());
        let failure = ended.received.unwrap_err();
        assert!(
            matches!(&*failure.cause, Error::Image(lacuna::Error::LargeBlocks { unit: 16384, .. })),
            "{failure:?}"
        );
        assert_eq!(failure.kept, Kept::Nothing);
        assert_eq!(names(large.path()), left);
    }
    assert_eq!(std::fs::read(&source).unwrap(), Pattern::whole(blocks).bytes());
}
