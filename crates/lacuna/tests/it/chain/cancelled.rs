//! How far a fold or a prune says it is, and what is left of one that is cancelled.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use lacuna::fold::{self, FoldOptions};
use lacuna::prune::{self, PruneOptions};
use lacuna::{Cancel, Error, Kept, Progress, Stopped};
use lacuna_testing::mount::{Fs, Mount};
use lacuna_testing::pattern::{Block, Pattern};

use super::oracle::Layer;
use super::traps::set_extent_size;
use super::{Two, Untouched, at_rest, copying, mark_of};
type Run<'a> = &'a dyn Fn(&Progress, &Cancel) -> Result<(), Stopped>;

fn folding<'a>(
    two: &'a Two,
    options: FoldOptions,
) -> impl Fn(&Progress, &Cancel) -> Result<(), Stopped> + 'a {
    move |progress, cancel| {
        let fold = || fold::apply(&two.child, &two.parent, &options, progress, cancel);
        at_rest(&[&two.child, &two.parent], fold).map(drop)
    }
}

fn pruning(two: &Two) -> impl Fn(&Progress, &Cancel) -> Result<(), Stopped> {
    move |progress, cancel| {
        let options = PruneOptions::default();
        let prune = || prune::apply(&two.parent, &two.child, &options, progress, cancel);
        at_rest(&[&two.child, &two.parent], prune).map(drop)
    }
}

/// Runs to the end, and returns what was said of how far it is, each change of it once.
fn percents(run: Run<'_>) -> Vec<u8> {
    let (progress, done) = (Progress::default(), AtomicBool::new(false));
    let mut said = vec![progress.percent()];
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut said = vec![];
            while !done.load(Ordering::Acquire) {
                said.push(progress.percent());
                std::thread::yield_now();
            }
            said
        });
        run(&progress, &Cancel::default()).unwrap_or_else(|stopped| panic!("{stopped:?}"));
        done.store(true, Ordering::Release);
        said.extend(watch.join().unwrap());
    });
    said.push(progress.percent());
    said.dedup();
    said
}

#[track_caller]
fn assert_from_0_to_100(said: &[u8]) {
    assert!(said.is_sorted(), "{said:?}");
    assert_eq!((said.first(), said.last()), (Some(&0), Some(&100)), "{said:?}");
}

const BLOCKS: usize = 4000;

/// Much to do in many pieces.
fn large() -> (Pattern, Pattern) {
    let block = |index: usize| match index % 4 {
        0 => Block::Data(1 + (index % 250) as u8),
        1 => Block::Zero,
        _ => Block::Hole,
    };
    let child = Pattern::whole((0..BLOCKS).map(block).collect());
    let below = |index: usize| [Block::Data(3), Block::Data(4), Block::Hole][index % 3];
    (child, Pattern::whole((0..BLOCKS - 300).map(below).collect()))
}

#[test]
fn percents_rise_from_0_to_100() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (child, parent) = large();
    for free in [false, true] {
        let two = Two::on(&mount, &child, &parent);
        let options = FoldOptions { free, ..copying() };
        assert_from_0_to_100(&percents(&folding(&two, options)));
        assert_from_0_to_100(&percents(&pruning(&two)));
    }
}

#[test]
fn where_there_is_nothing_to_do_it_is_done() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let empty = Pattern::whole(vec![Block::Hole; 9]);
    for parent in [Pattern::whole(vec![Block::Data(1); 9]), Pattern::whole(vec![])] {
        for free in [false, true] {
            let two = Two::on(&mount, &empty, &parent);
            let options = FoldOptions { free, ..FoldOptions::default() };
            assert_eq!(percents(&folding(&two, options)), [0, 100]);
            assert_eq!(percents(&pruning(&two)), [0, 100]);
        }
    }
}

#[track_caller]
fn assert_cancelled(result: Result<(), Stopped>) -> Kept {
    match result {
        Err(Stopped { cause: Error::Cancelled, kept }) => kept,
        result => panic!("{result:?}"),
    }
}

#[test]
fn what_is_cancelled_beforehand_changes_nothing() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (child, parent) = large();
    let two = Two::on(&mount, &child, &parent);
    let untouched = Untouched::of(&[&two.child, &two.parent]);
    let cancel = Cancel::default();
    cancel.cancel();
    for free in [false, true] {
        let run = folding(&two, FoldOptions { free, ..FoldOptions::default() });
        assert_eq!(assert_cancelled(run(&Progress::default(), &cancel)), Kept::Nothing);
        untouched.check();
    }
    assert_eq!(assert_cancelled(pruning(&two)(&Progress::default(), &cancel)), Kept::Nothing);
    untouched.check();
}

/// Cancels `run` when it has done something. `None` when it was through before that was noticed.
fn cancelled_amid(run: Run<'_>) -> Option<Kept> {
    let (progress, cancel, done) = (Progress::default(), Cancel::default(), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while progress.done_bytes.get() == 0 && !done.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            cancel.cancel();
        });
        let result = run(&progress, &cancel);
        done.store(true, Ordering::Release);
        result
    });
    match result {
        Ok(()) => None,
        stopped => Some(assert_cancelled(stopped)),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Fold { free: bool },
    Prune,
}

const WORKS: [Work; 3] = [Work::Fold { free: false }, Work::Fold { free: true }, Work::Prune];

/// Cancels work on fresh layers in the middle, as many times as that takes: the chain reads the same.
fn cancel(work: Work, make: impl Fn() -> Two) -> Two {
    let base = Layer::of(&Pattern::whole(vec![Block::Data(77); BLOCKS]));
    for _ in 0..20 {
        let two = make();
        let read = two.read_over(&base);
        let kept = match work {
            Work::Fold { free } => {
                cancelled_amid(&folding(&two, FoldOptions { free, ..copying() }))
            }
            Work::Prune => cancelled_amid(&pruning(&two)),
        };
        let Some(kept) = kept else { continue };
        assert!(matches!(kept, Kept::HalfFolded { .. } | Kept::HalfPruned(_)), "{kept:?}");
        assert!(mark_of(&two.parent).exists());
        assert!(two.read_over(&base) == read, "the chain, cancelled");
        return two;
    }
    panic!("it was through each time before it could be cancelled");
}

/// The same again. The child is less than it was when it has given up something already.
fn complete(mut two: Two, work: Work) {
    let options = FoldOptions { free: work == Work::Fold { free: true }, ..copying() };
    let [child, parent] = &mut two.layers;
    match work {
        Work::Fold { .. } => {
            super::folded(&two.child, &two.parent, &options);
            parent.fold(child);
        }
        Work::Prune => {
            super::pruned(&two.parent, &two.child);
            parent.prune(child);
        }
    }
    if options.free {
        child.clear();
    }
    two.check("completed");
}

#[test]
fn what_is_cancelled_in_the_middle_leaves_a_whole_chain_and_is_completed_by_the_same() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(mount) = Mount::new(fs) else { continue };
        let (child, parent) = large();
        for work in WORKS {
            complete(cancel(work, || Two::on(&mount, &child, &parent)), work);
        }
    }
}

/// The filesystem allocates around what is written, and so hides what lies below.
#[test]
fn what_is_cancelled_over_an_extent_size_hint_leaves_a_whole_chain() {
    let Some(mount) = Mount::new(Fs::Xfs) else { return };
    let (child, _) = large();
    for work in &WORKS[..2] {
        let make = || {
            let two = Two::on(&mount, &child, &Pattern::whole(vec![]));
            set_extent_size(&two.parent, 1 << 20);
            two
        };
        complete(cancel(*work, make), *work);
    }
}

/// The machine that uses the chain goes on when a fold was interrupted: the child may have more by
/// the time that the fold is repeated.
#[test]
fn what_the_child_has_got_since_a_fold_was_cancelled_is_folded_too() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (child, parent) = large();
    // Where neither had anything, and past the end of both.
    let new = [2, 11, BLOCKS - 297, BLOCKS + 30];
    let mut blocks = [child.blocks.clone(), vec![Block::Hole; 40]].concat();
    for index in new {
        assert_eq!(blocks[index], Block::Hole);
        blocks[index] = Block::Data(200);
    }
    let grown = Pattern::whole(blocks);
    for free in [false, true] {
        let work = Work::Fold { free };
        let mut two = cancel(work, || Two::on(&mount, &child, &parent));
        let file = File::options().write(true).open(&two.child).unwrap();
        file.set_len(grown.size).unwrap();
        for start in new.map(|index| index * 4096) {
            file.write_all_at(&grown.bytes()[start..start + 4096], start as u64).unwrap();
        }
        drop(file);
        two.layers[0] = Layer::of(&grown);
        complete(two, work);
    }
}

/// What takes the name of the parent, or of the child, meanwhile is not what the record speaks of.
#[test]
fn a_record_is_not_for_another_parent_nor_for_another_child() {
    let (child, parent) = large();
    for replaces_parent in [true, false] {
        let Some(mount) = Mount::new(Fs::Ext4) else { return };
        let two = cancel(Work::Fold { free: false }, || Two::on(&mount, &child, &parent));
        let replaced = if replaces_parent { &two.parent } else { &two.child };
        // ext4 gives the same inode again.
        std::fs::remove_file(replaced).unwrap();
        Pattern::whole(vec![Block::Data(9); BLOCKS]).write(replaced);
        let untouched = Untouched::of(&[&two.child, &two.parent]);
        let error = fold::plan(&two.child, &two.parent, &copying()).unwrap_err();
        assert!(matches!(error, Error::Unfinished { .. }), "{error:?}");
        let stopped = folding(&two, copying())(&Progress::default(), &Cancel::default());
        assert!(matches!(stopped.unwrap_err().cause, Error::Unfinished { .. }));
        untouched.check();
    }
}

/// Somebody wrote to the parent where it had nothing: that is not taken for what filesystems add.
#[test]
fn other_bytes_than_zeros_are_never_punched_out_of_a_parent() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (child, parent) = large();
    let two = cancel(Work::Fold { free: false }, || Two::on(&mount, &child, &parent));
    let hole = (BLOCKS as u64 - 2) * 4096;
    let file = File::options().write(true).open(&two.parent).unwrap();
    file.write_all_at(&[9; 4096], hole).unwrap();
    drop(file);
    let stopped = folding(&two, copying())(&Progress::default(), &Cancel::default());
    assert!(matches!(stopped.unwrap_err().cause, Error::KindsDiffer { .. }));
    let mut found = [0; 4096];
    File::open(&two.parent).unwrap().read_exact_at(&mut found, hole).unwrap();
    assert_eq!(found, [9; 4096]);
}
