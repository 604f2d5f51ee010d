//! How often a session waits for the other end of the line, and what a slow line makes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern, kinds_of};

use crate::pair::{Ended, Wiring, session};
use crate::wire::Line;

/// What the target has of the image before.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    All,
    /// All but for something in every chunk.
    Most,
}

const BEFORE: [Before; 3] = [Before::Nothing, Before::All, Before::Most];

/// So many extents of a block or two, each in a chunk of its own.
fn scattered(extents: usize) -> Pattern {
    let chunk = |n: usize| {
        let mut chunk = [Block::Hole; 16];
        chunk[n % 14] = Block::Data((n % 250) as u8 + 1);
        chunk[n % 14 + 1] = if n.is_multiple_of(3) { Block::Zero } else { Block::Hole };
        chunk
    };
    Pattern::whole((0..extents).flat_map(chunk).collect())
}

fn changed(pattern: &Pattern) -> Pattern {
    let change = |(n, block): (usize, &Block)| match (block, n % 5) {
        (Block::Data(_), 0) => Block::Hole,
        (Block::Data(seed), _) => Block::Data(251 - seed % 2),
        (block, _) => *block,
    };
    Pattern::whole(pattern.blocks.iter().enumerate().map(change).collect())
}

struct Place {
    _mount: Mount,
    source: PathBuf,
    target: PathBuf,
}

impl Place {
    fn new() -> Option<Self> {
        let options = MountOptions { size_mib: 2048, ..MountOptions::default() };
        let mount = Mount::with(Fs::Ext4, &options)?;
        let [source, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
        Some(Self { _mount: mount, source, target })
    }

    /// A session of `pattern`, which becomes what the target has.
    fn sync(&self, pattern: &Pattern, before: Before, wiring: &Wiring) -> Ended {
        pattern.write(&self.source);
        match before {
            Before::Nothing => drop(std::fs::remove_file(&self.target)),
            Before::All => pattern.write(&self.target),
            Before::Most => changed(pattern).write(&self.target),
        }
        let ended = session(&self.source, &self.target, wiring);
        ended.assert_done();
        assert_same(&self.source, &self.target);
        ended
    }
}

#[track_caller]
fn assert_same(source: &Path, target: &Path) {
    assert!(std::fs::read(source).unwrap() == std::fs::read(target).unwrap(), "other bytes");
    assert_eq!(kinds_of(source), kinds_of(target));
}

/// A line that counts how often both ends wait for what is under way: it is as if every crossing took
/// longer than all work.
fn counting() -> Wiring {
    let mut wiring = Wiring {
        line: Line { room: usize::MAX, in_steps: true, ..Line::default() },
        ..Wiring::default()
    };
    // Nothing that a clock makes them say.
    wiring.link.alive = Duration::from_secs(3600);
    wiring
}

#[test]
fn the_crossings_of_a_session_are_few_whatever_the_image() {
    let Some(place) = Place::new() else { return };
    let mut wiring = counting();
    // There and back for the offer, for all of the image, and for each question that is left then.
    for (before, verify, fewest) in [
        (Before::Nothing, false, 4),
        (Before::All, false, 6),
        (Before::Most, false, 6),
        (Before::Most, true, 8),
    ] {
        wiring.target.verify = verify;
        for extents in [200, 6000] {
            let ended = place.sync(&scattered(extents), before, &wiring);
            // Now and then a loaded machine takes longer than what counts as a crossing.
            let few = fewest..=fewest + 4;
            assert!(few.contains(&ended.steps), "{}: {before:?} {extents}", ended.steps);
            let frames = ended.said[0].frames.len() as u64;
            assert!(extents == 200 || frames > 2 * (fewest + 4), "{frames} show nothing");
        }
    }
}

#[test]
fn a_delay_is_not_waited_for_at_every_extent() {
    let Some(place) = Place::new() else { return };
    let mut wiring = Wiring::default();
    wiring.line.delay = Duration::from_millis(10);
    for before in BEFORE {
        let took = place.sync(&scattered(4000), before, &wiring).took;
        assert!(took < 4000 * wiring.line.delay / 4, "{before:?} {took:?}");
    }
}

#[test]
fn a_narrow_line_and_one_that_holds_little_do_not_stop_a_session() {
    let Some(place) = Place::new() else { return };
    let mut wiring = Wiring::default();
    wiring.link.alive = Duration::from_millis(20);
    for line in [
        Line { rate: Some(2 << 20), room: 4 << 10, ..Line::default() },
        Line { rate: Some(4 << 20), delay: Duration::from_millis(5), ..Line::default() },
        Line { room: 100, ..Line::default() },
    ] {
        wiring.line = line;
        for before in BEFORE {
            place.sync(&scattered(500), before, &wiring);
        }
    }
}
