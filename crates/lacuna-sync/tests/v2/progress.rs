//! What is shown while a session runs: what is settled, at both ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lacuna::Progress;
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use crate::pair::{Ended, Wiring, session_shown};
use crate::wire::Line;

const BLOCKS: usize = 2048;

/// Data that cannot be compressed, and a hole in the middle.
fn source() -> Vec<Block> {
    let data = |n: usize| Block::Data((n % 250) as u8 + 1);
    (0..BLOCKS).map(|n| if n / 300 == 2 { Block::Hole } else { data(n) }).collect()
}

/// The same in its first half.
fn half() -> Vec<Block> {
    let other = |block: Block| if block == Block::Hole { block } else { Block::Data(251) };
    let blocks = source().into_iter().enumerate();
    blocks.map(|(n, block)| if n < BLOCKS / 2 { block } else { other(block) }).collect()
}

struct Place {
    _mount: Mount,
    source: PathBuf,
    target: PathBuf,
    shown: [Arc<Progress>; 2],
}

impl Place {
    /// `before` is what the target holds.
    fn new(before: Option<Vec<Block>>) -> Option<Self> {
        let mount = Mount::new(Fs::Ext4)?;
        let [source_path, target] = ["a.img", "b.img"].map(|name| mount.path().join(name));
        Pattern::whole(source()).write(&source_path);
        if let Some(blocks) = before {
            Pattern::whole(blocks).write(&target);
        }
        Some(Self { _mount: mount, source: source_path, target, shown: Default::default() })
    }

    fn session(&self, wiring: &Wiring) -> Ended {
        session_shown(&self.source, &self.target, wiring, &self.shown)
    }

    fn done(&self) -> [u64; 2] {
        self.shown.each_ref().map(|shown| shown.done_bytes.get())
    }

    /// Bytes of the blocks of data that both have.
    fn same(&self) -> u64 {
        let part = self.target.with_file_name(".b.img.lacuna-data");
        let target: &Path = if self.target.exists() { &self.target } else { &part };
        let bytes = std::fs::read(target).unwrap_or_default();
        let wanted = Pattern::whole(source()).bytes();
        let blocks = bytes.chunks(BLOCK as usize).zip(wanted.chunks(BLOCK as usize)).zip(source());
        let same =
            blocks.filter(|((found, wanted), block)| *block != Block::Hole && found == wanted);
        same.count() as u64 * BLOCK
    }
}

#[test]
fn what_counts_as_done_is_settled_whenever_the_session_ends() {
    for before in [None, Some(half())] {
        for cut_at in [20 << 10, 200 << 10, 2 << 20, 3 << 20] {
            let Some(place) = Place::new(before.clone()) else { return };
            let mut wiring = Wiring { cut_at: Some(cut_at), ..Wiring::default() };
            wiring.source.zstd = None;
            assert!(place.session(&wiring).sent.is_err());
            let [sent, received] = place.done();
            assert!(sent <= received, "{cut_at}: {sent} is shown, {received} are done");
            assert!(received <= place.same(), "{cut_at}: {received} is shown");
        }
    }
}

#[test]
fn progress_goes_from_nothing_to_the_whole_and_never_back() {
    for (before, verify) in [(None, false), (Some(half()), false), (Some(half()), true)] {
        let Some(place) = Place::new(before) else { return };
        let line = Line { rate: Some(8 << 20), room: 64 << 10, ..Line::default() };
        let mut wiring = Wiring { line, ..Wiring::default() };
        wiring.source.zstd = None;
        wiring.target.verify = verify;
        let is_over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut seen = vec![place.done()];
                while !is_over.load(Ordering::Relaxed) {
                    let done = place.done();
                    if seen.last() != Some(&done) {
                        seen.push(done);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                seen
            });
            place.session(&wiring).assert_done();
            is_over.store(true, Ordering::Relaxed);
            watching.join().unwrap()
        });
        for end in 0..2 {
            let total = place.shown[end].total_bytes.get();
            let seen: Vec<_> = seen.iter().map(|both| both[end]).collect();
            assert!(seen.is_sorted(), "{seen:?}");
            assert!(seen.iter().any(|done| (1..total).contains(done)), "{seen:?} of {total}");
            let last = place.done()[end];
            assert!(last <= total && last * 100 / total >= 99, "{last} of {total}");
        }
    }
}
