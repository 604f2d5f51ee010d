//! What a checkpoint has saved is not lost, and not sent again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lacuna::{IoMode, Kept};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use crate::content::Content;
use crate::pair::{Ended, Wiring, session};
use crate::steps::Steps;

const MIB: u64 = 1 << 20;

/// Of the image, all of it data.
const SIZE: u64 = 12 * MIB;

fn image(block: Block) -> Pattern {
    Pattern::whole(vec![block; (SIZE / 4096) as usize])
}

/// A session that has had one checkpoint when the power goes, or the next one fails.
struct Checkpointed {
    mount: Mount,
    sources: Mount,
    target: PathBuf,
    /// Bytes of the image in each write.
    piece: u64,
}

impl Checkpointed {
    fn new(fs: Fs, is_new: bool) -> Option<Self> {
        let (sources, mount) = (Mount::new(Fs::Ext4)?, Mount::new(fs)?);
        let target = mount.path().join("target.img");
        image(Block::Data(1)).write(&sources.path().join("source.img"));
        if !is_new {
            image(Block::Data(2)).write(&target);
        }
        // All of a frame, or each chunk that differs.
        let piece = if is_new { MIB } else { MIB / 16 };
        Some(Self { mount, sources, target, piece })
    }

    fn source(&self) -> PathBuf {
        self.sources.path().join("source.img")
    }

    fn session(&self) -> Ended {
        let mut wiring = Wiring { io: IoMode::Buffered, ..Wiring::default() };
        (wiring.source.threads, wiring.target.threads) = (1, 1);
        wiring.source.zstd = None;
        session(&self.source(), &self.target, &wiring)
    }

    /// A session with writes that take so long that a checkpoint is due after each, of which the second
    /// is `disturbed` when it is about to be made. Returns how much was written, at the least, when the
    /// first one was.
    fn disturbed(&self, steps: &Steps, disturb: impl Fn() + Send + Sync + 'static) -> u64 {
        let (writes, saved) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (begun, at_first, piece) = (writes.clone(), saved.clone(), self.piece);
        let slow = [4, 8].map(|mib| mib * MIB / piece);
        steps.on("image.write", move || {
            if slow.contains(&begun.fetch_add(1, Ordering::SeqCst)) {
                std::thread::sleep(Duration::from_millis(1100));
            }
        });
        steps.on("image.sync", move || {
            // The last of them may be under way.
            let done = (writes.load(Ordering::SeqCst) - 1) * piece;
            match at_first.compare_exchange(0, done, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => {}
                Err(_) => disturb(),
            }
        });
        let ended = self.session();
        steps.clear();
        assert!(ended.received.is_err() && ended.sent.is_err());
        let saved = saved.load(Ordering::SeqCst);
        assert!(saved > 0, "no checkpoint was made");
        saved
    }

    #[track_caller]
    fn complete(&self, saved: u64) {
        let again = self.session();
        let received = again.received.unwrap();
        assert!(received.written_bytes <= SIZE - saved, "{} of {saved}", received.written_bytes);
        assert!(again.wire_bytes <= SIZE - saved + MIB / 4, "{} of {saved}", again.wire_bytes);
        assert_same(&self.source(), &self.target);
        let names = std::fs::read_dir(self.mount.path()).unwrap();
        let hidden = names
            .filter(|name| name.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b"."));
        assert_eq!(hidden.count(), 0);
    }
}

#[track_caller]
fn assert_same(source: &Path, target: &Path) {
    Content::of(target).assert_is(&Content::of(source), target.display());
}

/// The power goes when the second checkpoint is about to be made.
fn cut_at_the_second(fs: Fs, is_new: bool) {
    let steps = Steps::take();
    let Some(mut checkpointed) = Checkpointed::new(fs, is_new) else { return };
    let saved = checkpointed.disturbed(&steps, checkpointed.mount.power_cutter());
    checkpointed.mount.remount();
    checkpointed.complete(saved);
}

#[test]
fn what_a_checkpoint_saved_of_a_new_target_outlasts_a_power_cut_and_is_not_sent_again() {
    cut_at_the_second(Fs::Ext4, true);
}

#[test]
fn what_a_checkpoint_saved_of_an_existing_target_outlasts_a_power_cut_and_is_not_sent_again() {
    cut_at_the_second(Fs::Xfs, false);
}

/// The system says once that something could not be written.
#[test]
fn a_session_in_which_a_checkpoint_failed_never_completes() {
    let steps = Steps::take();
    let Some(checkpointed) = Checkpointed::new(Fs::Ext4, true) else { return };
    let writes = AtomicU64::new(0);
    steps.on("image.write", move || {
        if writes.fetch_add(1, Ordering::SeqCst) == 4 {
            std::thread::sleep(Duration::from_millis(1100));
        }
    });
    steps.fail("image.sync", 0, 5, true);
    let ended = checkpointed.session();
    steps.clear();
    let failure = ended.received.unwrap_err();
    let words = lacuna::describe(&failure.cause);
    assert!(words.contains("input/output error"), "{words}");
    assert!(matches!(failure.kept, Kept::Part { .. }), "{failure:?}");
    assert!(ended.sent.is_err());
    checkpointed.complete(0);
}
