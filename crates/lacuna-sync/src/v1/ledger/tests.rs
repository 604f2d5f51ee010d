use proptest::prelude::*;

use super::*;

fn range(start: u64, end: u64) -> Range {
    Range::new(start, end).unwrap()
}

fn ledger(size: u64) -> Ledger {
    Ledger::new(size, Limits::default())
}

fn enter(ledger: &mut Ledger, range: Range, content: Content) {
    let ticket = ledger.begin(range, true);
    match content {
        Content::Failed => ledger.finish(ticket, Outcome::Failed),
        content => ledger.finish(ticket, Outcome::Done(content)),
    }
}

fn crc(bytes: &[u8]) -> Content {
    Content::Crc(Crc64::of(bytes))
}

#[test]
fn an_empty_image_is_complete_at_once() {
    assert_eq!(ledger(0).verdict(), Verdict::Complete(Some(Crc64::default())));
}

#[test]
fn a_gap_anywhere_is_missing() {
    let mut ledger = ledger(30);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(0, 30)));
    enter(&mut ledger, range(10, 20), Content::Hole);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(0, 10)));
    enter(&mut ledger, range(0, 10), Content::Hole);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(20, 30)));
    enter(&mut ledger, range(20, 30), Content::Hole);
    assert_eq!(ledger.verdict(), Verdict::Complete(Some(Crc64::zeros(30))));
}

#[test]
fn data_written_over_one_large_hole_counts_and_the_rest_stays_zeros() {
    let mut ledger = ledger(30);
    enter(&mut ledger, range(0, 30), Content::Hole);
    enter(&mut ledger, range(10, 13), crc(b"abc"));
    let expected = [&[0; 10][..], b"abc", &[0; 17]].concat();
    assert_eq!(ledger.verdict(), Verdict::Complete(Some(Crc64::of(&expected))));
    assert_eq!(ledger.holes().collect::<Vec<_>>(), [range(0, 10), range(13, 30)]);
}

#[test]
fn a_failed_range_is_missing_until_it_succeeds() {
    let mut ledger = ledger(3);
    enter(&mut ledger, range(0, 3), crc(b"abc"));
    enter(&mut ledger, range(1, 2), Content::Failed);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(1, 2)));
    enter(&mut ledger, range(0, 3), crc(b"abc"));
    assert_eq!(ledger.verdict(), Verdict::Complete(Some(Crc64::of(b"abc"))));
}

#[test]
fn a_range_overwritten_in_part_is_covered_without_a_crc() {
    let mut ledger = ledger(3);
    enter(&mut ledger, range(0, 3), crc(b"abc"));
    enter(&mut ledger, range(1, 2), crc(b"x"));
    assert_eq!(ledger.verdict(), Verdict::Complete(None));
}

#[test]
fn requests_that_cross_leave_no_crc() {
    let mut ledger = ledger(3);
    let first = ledger.begin(range(0, 3), true);
    let second = ledger.begin(range(0, 3), true);
    ledger.finish(second, Outcome::Done(crc(b"abc")));
    ledger.finish(first, Outcome::Done(crc(b"xyz")));
    assert_eq!(ledger.verdict(), Verdict::Complete(None));
}

#[test]
fn a_failure_spoils_the_requests_that_cross_it() {
    let mut ledger = ledger(30);
    enter(&mut ledger, range(0, 30), Content::Hole);
    let late = ledger.begin(range(0, 20), true);
    let failed = ledger.begin(range(0, 4), true);
    ledger.finish(failed, Outcome::Failed);
    ledger.finish(late, Outcome::Done(Content::Hole));
    assert_eq!(ledger.verdict(), Verdict::Missing(range(0, 20)));
}

#[test]
fn a_first_try_that_wrote_nothing_does_not_undo_the_second() {
    let mut ledger = ledger(3);
    let first = ledger.begin(range(0, 3), true);
    let second = ledger.begin(range(0, 2), true);
    ledger.finish(second, Outcome::Done(crc(b"ab")));
    ledger.finish(first, Outcome::Refused);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(2, 3)));
    enter(&mut ledger, range(2, 3), crc(b"c"));
    assert_eq!(ledger.verdict(), Verdict::Complete(None));
}

#[test]
fn a_request_that_wrote_nothing_undoes_what_was_there_before() {
    let mut ledger = ledger(3);
    enter(&mut ledger, range(0, 3), crc(b"abc"));
    let refused = ledger.begin(range(1, 2), true);
    ledger.finish(refused, Outcome::Refused);
    assert_eq!(ledger.verdict(), Verdict::Missing(range(1, 2)));
}

#[test]
fn a_read_that_is_crossed_leaves_what_the_write_left() {
    let mut ledger = ledger(3);
    let read = ledger.begin(range(0, 3), false);
    let write = ledger.begin(range(0, 3), true);
    ledger.finish(write, Outcome::Failed);
    ledger.finish(read, Outcome::Done(crc(b"abc")));
    assert_eq!(ledger.verdict(), Verdict::Missing(range(0, 3)));
}

#[test]
fn what_another_session_left_under_way_counts_for_nothing() {
    let mut ledger = ledger(3);
    let stale = ledger.begin(range(0, 3), true);
    ledger.restart();
    enter(&mut ledger, range(0, 3), crc(b"abc"));
    ledger.finish(stale, Outcome::Done(crc(b"xyz")));
    assert_eq!(ledger.verdict(), Verdict::Missing(range(0, 3)));
}

#[test]
fn reads_that_cross_keep_their_crc() {
    let mut ledger = ledger(3);
    let first = ledger.begin(range(0, 3), false);
    let second = ledger.begin(range(0, 3), false);
    ledger.finish(second, Outcome::Done(crc(b"abc")));
    ledger.finish(first, Outcome::Done(crc(b"abc")));
    assert_eq!(ledger.verdict(), Verdict::Complete(Some(Crc64::of(b"abc"))));
}

#[test]
fn more_ranges_than_are_kept_say_nothing() {
    let limits = Limits { ranges: 4, combine_from: usize::MAX, settled_after: 0 };
    let mut ledger = Ledger::new(100, limits);
    for n in 0..5 {
        enter(&mut ledger, range(n * 10, n * 10 + 1), Content::Hole);
    }
    assert_eq!(ledger.verdict(), Verdict::Overflowed);
    enter(&mut ledger, range(0, 100), Content::Hole);
    assert_eq!(ledger.verdict(), Verdict::Overflowed);
}

#[test]
fn an_image_of_a_million_extents_fits_when_neighbours_are_combined() {
    let limits = Limits { ranges: 2000, combine_from: 500, settled_after: 64 };
    let blocks = 100_000_u64;
    let mut ledger = Ledger::new(blocks * 2, limits);
    enter(&mut ledger, range(0, blocks * 2), Content::Hole);
    let mut whole = Crc64::default();
    for n in 0..blocks {
        let byte = [n as u8];
        enter(&mut ledger, range(n * 2, n * 2 + 1), crc(&byte));
        whole = whole.then(Crc64::of(&byte)).then(Crc64::zeros(1));
        if ledger.is_long() {
            let forgotten = ledger.combine();
            assert!(forgotten.iter().all(|hole| hole.start() % 2 == 1 && hole.len() == 1));
        }
    }
    assert_eq!(ledger.verdict(), Verdict::Complete(Some(whole)));
}

#[test]
fn a_hole_that_is_being_written_into_is_not_settled() {
    let limits = Limits { ranges: 1000, combine_from: 0, settled_after: 0 };
    let mut ledger = Ledger::new(30, limits);
    enter(&mut ledger, range(0, 30), Content::Hole);
    enter(&mut ledger, range(0, 10), crc(&[1; 10]));
    enter(&mut ledger, range(20, 30), crc(&[2; 10]));
    let late = ledger.begin(range(12, 14), true);
    assert_eq!(ledger.combine(), []);
    ledger.finish(late, Outcome::Done(crc(b"ab")));
    assert_eq!(ledger.combine(), [range(10, 12), range(14, 20)]);
}

#[derive(Clone, Debug)]
struct Step {
    range: Range,
    fill: Option<u8>,
    fails: bool,
    combine: bool,
}

const SIZE: u64 = 60;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..SIZE, 0..=SIZE, prop::option::of(any::<u8>()), 0..8_u8, 0..6_u8);
    let step = step.prop_map(|(a, b, fill, fails, combine)| Step {
        range: range(a.min(b), a.max(b)),
        fill,
        fails: fails == 0,
        combine: combine == 0,
    });
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// The oracle is a byte array with a flag for each byte: covered or not.
    #[test]
    fn a_verdict_never_claims_more_than_is_true(steps in steps()) {
        let limits = Limits { ranges: 1000, combine_from: 0, settled_after: 0 };
        let mut ledger = Ledger::new(SIZE, limits);
        let mut bytes = vec![0; SIZE as usize];
        let mut covered = vec![false; SIZE as usize];
        let mut holes = vec![false; SIZE as usize];
        for step in steps {
            let at = step.range.start() as usize..step.range.end() as usize;
            let content = match (step.fails, step.fill) {
                (true, _) => Content::Failed,
                (false, None) => Content::Hole,
                (false, Some(byte)) => {
                    crc(&vec![byte; at.len()])
                }
            };
            bytes[at.clone()].fill(step.fill.unwrap_or(0));
            covered[at.clone()].fill(!step.fails);
            holes[at.clone()].fill(content == Content::Hole);
            enter(&mut ledger, step.range, content);
            if step.combine {
                for hole in ledger.combine() {
                    for at in hole.start()..hole.end() {
                        prop_assert!(holes[at as usize]);
                    }
                }
            }
            for hole in ledger.holes() {
                prop_assert!((hole.start()..hole.end()).all(|at| holes[at as usize]));
            }
        }
        match ledger.verdict() {
            Verdict::Complete(crc) => {
                prop_assert!(covered.iter().all(|covered| *covered));
                prop_assert!(crc.is_none_or(|crc| crc == Crc64::of(&bytes)));
            }
            Verdict::Missing(range) => {
                prop_assert!(!range.is_empty());
                prop_assert!((range.start()..range.end()).all(|at| !covered[at as usize]));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn an_image_sent_in_any_order_over_one_hole_has_its_crc(
        order in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut ledger = ledger(SIZE);
        enter(&mut ledger, range(0, SIZE), Content::Hole);
        let mut bytes = vec![0; SIZE as usize];
        for n in order.into_iter().take(20) {
            bytes[n as usize * 2] = n as u8 + 1;
            enter(&mut ledger, range(n * 2, n * 2 + 1), crc(&[n as u8 + 1]));
        }
        prop_assert_eq!(ledger.verdict(), Verdict::Complete(Some(Crc64::of(&bytes))));
    }
}
