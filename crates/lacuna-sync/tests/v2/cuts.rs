//! Sessions that break in the middle, and what the next one finds.

use std::path::Path;

use lacuna_sync::v2::SourceOptions;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern, kinds_of};

use crate::for_all;
use crate::pair::{Wiring, session};

/// Some MiB of everything.
fn source() -> Pattern {
    let blocks = (0..1500_usize).map(|n| match n % 23 {
        0..4 => Block::Hole,
        4..7 => Block::Zero,
        _ => Block::Data((n % 250) as u8 + 1),
    });
    Pattern::whole(blocks.collect())
}

/// The same, but for some blocks.
fn relative(source: &Pattern) -> Pattern {
    let mut blocks = source.blocks.clone();
    for (n, block) in blocks.iter_mut().enumerate() {
        match n % 97 {
            3 => *block = Block::Data(251),
            50 => *block = Block::Hole,
            70..75 => *block = Block::Zero,
            _ => {}
        }
    }
    Pattern::whole(blocks)
}

#[track_caller]
fn assert_same(source: &Path, target: &Path) {
    assert!(std::fs::read(source).unwrap() == std::fs::read(target).unwrap(), "other bytes");
    assert_eq!(kinds_of(source), kinds_of(target));
}

/// Cut at every so many bytes: whatever came, the next session completes.
fn cut_anywhere(fs: Fs, existing: bool) {
    let (Some(sources), Some(mount)) = (Mount::new(Fs::Ext4), Mount::new(fs)) else { return };
    let (from, to) = (sources.path().join("source.img"), mount.path().join("target.img"));
    let pattern = source();
    pattern.write(&from);
    let wiring = Wiring {
        source: SourceOptions { zstd: None, ..SourceOptions::default() },
        ..Wiring::default()
    };
    let prepare = || {
        let _ = std::fs::remove_file(&to);
        if existing {
            relative(&pattern).write(&to);
        }
    };
    prepare();
    let whole = session(&from, &to, &wiring).wire_bytes;
    for_all(60, 1..whole, |cut_at| {
        prepare();
        let cut = session(&from, &to, &Wiring { cut_at: Some(cut_at), ..wiring.clone() });
        assert!(cut.sent.is_err(), "the source has not heard that all is well");
        if cut.received.is_err() && !existing {
            assert!(!to.exists(), "what is not complete has no name");
        }
        let ended = session(&from, &to, &wiring);
        ended.received.unwrap();
        ended.sent.unwrap();
        assert_same(&from, &to);
    });
}

#[test]
fn a_new_target_is_completed_wherever_the_session_before_was_cut_on_ext4() {
    cut_anywhere(Fs::Ext4, false);
}

#[test]
fn an_existing_target_is_completed_wherever_the_session_before_was_cut_on_xfs() {
    cut_anywhere(Fs::Xfs, true);
}

/// What arrived before the cut is not sent again.
#[test]
fn what_had_arrived_is_not_sent_again() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (from, to) = (mount.path().join("source.img"), mount.path().join("target.img"));
    let blocks = (0..8192).map(|n| Block::Data((n % 250) as u8 + 1)).collect();
    Pattern::whole(blocks).write(&from);
    let wiring = Wiring {
        source: SourceOptions { zstd: None, ..SourceOptions::default() },
        ..Wiring::default()
    };
    let half = 4096 * BLOCK;
    let cut = session(&from, &to, &Wiring { cut_at: Some(half), ..wiring.clone() });
    assert!(cut.received.is_err());
    let rest = session(&from, &to, &wiring);
    rest.received.unwrap();
    // Frames that were under way are lost.
    assert!(rest.wire_bytes < half + (12 << 20), "{}", rest.wire_bytes);
    assert_same(&from, &to);
}

#[test]
fn what_had_arrived_is_thrown_away_when_that_is_asked_for() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (from, to) = (mount.path().join("source.img"), mount.path().join("target.img"));
    let blocks: Vec<_> = (0..2048).map(|n| Block::Data((n % 250) as u8 + 1)).collect();
    Pattern::whole(blocks).write(&from);
    let mut wiring = Wiring::default();
    wiring.source.zstd = None;
    let cut = session(&from, &to, &Wiring { cut_at: Some(1024 * BLOCK), ..wiring.clone() });
    assert!(cut.received.is_err());
    wiring.target.no_resume = true;
    for (compared, written) in [(0, 2048 * BLOCK), (2048 * BLOCK, 0)] {
        let ended = session(&from, &to, &wiring);
        let synced = ended.assert_done();
        assert_eq!((synced.compared_bytes, synced.written_bytes), (compared, written));
        assert_same(&from, &to);
    }
}
