//! What is given up is given up last: the steps of an undisturbed operation, in their order.

use std::sync::{Arc, Mutex};

use lacuna_testing::mount::Fs;
use lacuna_testing::pattern::Block::{Data, Zero};

use crate::chain::{Chain, Operation, layers};
use crate::points::Points;

/// A point that was passed.
struct Step {
    name: &'static str,
    /// Of the child, which is the source.
    of_child: bool,
    /// Whether the parent was marked then.
    marked: bool,
}

impl Step {
    fn writes(&self) -> bool {
        self.name.starts_with("image.") && self.name != "image.sync"
    }
}

/// The steps of `operation`, those of the child told from those of the parent.
fn steps(fs: Fs, operation: Operation) -> Option<Vec<Step>> {
    let points = Points::take();
    let chain = Chain::new(fs, operation, &layers(Data(7), Zero))?;
    chain.prepare();
    let passed = Arc::new(Mutex::new(vec![]));
    let (seen, is_marked) = (passed.clone(), chain.is_marked());
    points.visit(move |name, _| seen.lock().unwrap().push((name, is_marked())));
    chain.run().unwrap();
    points.clear();
    let mut of_child = false;
    let mut steps = vec![];
    for (name, marked) in passed.lock().unwrap().drain(..) {
        let source = name.starts_with("source.");
        if !source {
            steps.push(Step { name, of_child, marked });
        }
        of_child = source;
    }
    Some(steps)
}

/// All changes come under the mark, and the mark goes when they are durable.
fn assert_marked(steps: &[Step]) {
    let last = steps.iter().rposition(|step| step.marked).expect("a mark");
    assert_eq!(steps[last].name, "beside.remove");
    let (mut dirty_parent, mut dirty_child) = (false, false);
    for step in &steps[..last] {
        let dirty = if step.of_child { &mut dirty_child } else { &mut dirty_parent };
        assert!(!step.writes() || step.marked, "{} without a mark", step.name);
        *dirty = step.writes() || (*dirty && step.name != "image.sync");
    }
    assert!(!dirty_parent && !dirty_child, "the mark went before all was synced");
    assert!(steps[last..].iter().all(|step| !step.writes()));
}

#[test]
fn a_child_gives_up_only_what_its_parent_has_durably() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(steps) = steps(fs, Operation::FoldFree) else { return };
        assert_marked(&steps);
        let (mut dirty, mut given_up) = (false, 0);
        for step in &steps {
            match step.of_child {
                false => dirty = step.writes() || (dirty && step.name != "image.sync"),
                true if step.writes() => {
                    assert!(!dirty, "{fs}: the parent was not synced");
                    given_up += 1;
                }
                true => {}
            }
        }
        assert!(given_up > 0, "{fs}");
    }
}

#[test]
fn a_parent_is_pruned_only_of_what_its_child_has_durably() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(steps) = steps(fs, Operation::Prune) else { return };
        assert_marked(&steps);
        let synced = steps.iter().position(|step| step.of_child && step.name == "image.sync");
        let written = steps.iter().position(|step| !step.of_child && step.writes());
        assert!(synced.expect("a sync of the child") < written.expect("a punch"), "{fs}");
        assert!(steps.iter().all(|step| !step.of_child || !step.writes()), "{fs}");
    }
}

#[test]
fn a_fold_writes_under_its_mark_alone() {
    for fs in [Fs::Ext4, Fs::Xfs] {
        let Some(steps) = steps(fs, Operation::Fold) else { return };
        assert_marked(&steps);
        assert!(steps.iter().all(|step| !step.of_child), "{fs}: the child was touched");
    }
}
