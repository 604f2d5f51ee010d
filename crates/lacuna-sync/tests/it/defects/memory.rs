//! Every body is whole in memory before it is written, so there must not be many.

use std::io::ErrorKind;
use std::time::Duration;

use super::place;
use crate::http::{Http, ranged};
use crate::server::Server;

/// Bodies that are taken at the same time.
const BODIES: usize = 8;

const LENGTH: u64 = 4 << 20;

/// For one look at a connection. There are many looks.
const SHORT: Duration = Duration::from_millis(2);

/// Whether the server wants the body that was announced, as far as it says within `patience`.
fn is_wanted(http: &mut Http, patience: Duration) -> bool {
    http.stream().set_read_timeout(Some(patience)).unwrap();
    match http.answer() {
        Ok(answer) => {
            assert_eq!(answer.status, 100, "{}", answer.text());
            true
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            false
        }
    }
}

#[test]
fn eight_bodies_are_taken_at_a_time_and_the_others_wait_for_their_turn() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    server.dial().open(30 * LENGTH, false);
    let mut waiting: Vec<_> = (0..30).map(|_| server.dial()).collect();
    for (number, http) in (0..).zip(&mut waiting) {
        let range = ranged("writeData", number * LENGTH, (number + 1) * LENGTH);
        http.announce("POST", &range, LENGTH as usize);
    }
    let mut taken = vec![];
    while taken.len() < BODIES {
        let wanted = |http: &mut Http| is_wanted(http, SHORT);
        taken.extend(waiting.extract_if(.., wanted));
    }
    for http in &mut waiting {
        assert!(!is_wanted(http, 5 * SHORT), "a ninth body is wanted");
    }
    assert_eq!(taken.len(), BODIES);
    // All but the last byte: nothing is given up before it is whole.
    for http in &mut taken {
        http.send(&vec![7; LENGTH as usize - 1]);
    }
    assert!(!is_wanted(&mut waiting[0], SHORT));
    // As each is completed, another has its turn.
    while let Some(mut http) = taken.pop() {
        http.send(&[7]);
        http.stream().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(http.answer().unwrap().status, 200);
        while taken.len() < BODIES && !waiting.is_empty() {
            let wanted = |http: &mut Http| is_wanted(http, SHORT);
            for mut http in waiting.extract_if(.., wanted) {
                http.send(&vec![7; LENGTH as usize - 1]);
                taken.push(http);
            }
        }
    }
    assert!(waiting.is_empty());
}
