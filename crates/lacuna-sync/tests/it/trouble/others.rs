//! More than one client: whoever has the image open has it alone.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use lacuna_sync::Error;
use lacuna_sync::v1::SyncOptions;
use lacuna_testing::pattern::{BLOCK, Block, Pattern};

use super::place;
use crate::http::{Http, closing, ranged};
use crate::image::{Beside, bytes_of, crc64, data_of, mark_of, record, vouched};
use crate::options;
use crate::server::{Server, sync};

fn filled(byte: u8) -> Vec<u8> {
    vec![byte; 4 * BLOCK as usize]
}

#[test]
fn a_second_client_is_told_that_the_image_is_open_while_the_first_is_there() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let (mut first, mut second) = (server.dial(), server.dial());
    assert_eq!(first.open(4 * BLOCK, false).status, 200);
    let refused = second.open(4 * BLOCK, false);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("another client has the image open"), "{}", refused.text());
    assert_eq!(first.write(0, 4 * BLOCK, &filled(1)).status, 200);
    assert_eq!(first.close("").status, 200);
    server.ended().unwrap();
    assert_eq!(bytes_of(&target), filled(1));
}

/// Every connection counts, not only the one that opened the image.
#[test]
fn a_client_is_there_as_long_as_any_of_its_connections() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let (mut first, mut data) = (server.dial(), server.dial());
    first.open(4 * BLOCK, false);
    assert_eq!(data.write(0, BLOCK, &[1; BLOCK as usize]).status, 200);
    drop(first);
    let mut second = server.dial();
    assert_eq!(second.open(4 * BLOCK, false).status, 409);
    drop(data);
    assert_eq!(second.open(4 * BLOCK, false).text(), "true");
    assert_eq!(second.write(0, 4 * BLOCK, &filled(2)).status, 200);
    assert_eq!(second.close("").status, 200);
    assert_eq!(bytes_of(&target), filled(2));
}

/// What a client had written into its socket is read although the client is dead.
#[test]
fn what_a_dead_client_had_sent_does_not_reach_the_next_session() {
    let (_directory, target) = place();
    std::fs::write(&target, filled(1)).unwrap();
    for turn in 0..20 {
        let server = Server::of(&target);
        let mut first = server.dial();
        first.open(4 * BLOCK, false);
        for block in 0..4 {
            first.send_head("POST", &ranged("writeData", block * BLOCK, (block + 1) * BLOCK), 4096);
            first.send(&[7; BLOCK as usize]);
        }
        drop(first);
        let mut second = server.dial();
        assert_eq!(second.open(4 * BLOCK, false).text(), "true");
        assert_eq!(second.write(0, 4 * BLOCK, &filled(2)).status, 200);
        assert_eq!(second.close("").status, 200);
        server.ended().unwrap();
        assert!(bytes_of(&target) == filled(2), "turn {turn}");
    }
}

/// Sends a request of the session `session`.
fn ask_as(http: &mut Http, session: &str, target: &str, body: &[u8]) -> u16 {
    let gets = target.contains("getChecksum") || target.contains("open?");
    let method = if gets { "GET" } else { "POST" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nLacuna-Session: {session}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    http.send(head.as_bytes());
    http.send(body);
    http.answer().unwrap().status
}

#[test]
fn a_request_of_another_session_is_refused_and_changes_nothing() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let (mut ours, mut theirs) = (server.dial(), server.dial());
    let open = format!("/v1-ssync/open?begin=0&directIO=false&end={}", 4 * BLOCK);
    assert_eq!(ask_as(&mut ours, "a", &open, b""), 200);
    let whole = |name| ranged(name, 0, 4 * BLOCK);
    assert_eq!(ask_as(&mut ours, "a", &whole("writeData"), &filled(1)), 200);
    for target in [whole("sendHole"), whole("getChecksum"), closing("", "")] {
        assert_eq!(ask_as(&mut theirs, "b", &target, b""), 409, "{target}");
    }
    assert_eq!(theirs.punch(0, 4 * BLOCK).status, 409, "of no session");
    assert_eq!(ask_as(&mut theirs, "b", &whole("writeData"), &filled(9)), 409);
    assert_eq!(ask_as(&mut theirs, "b", &whole("writeData"), b""), 409);
    // The same client may open it again, on whatever connection.
    let mut again = server.dial();
    assert_eq!(ask_as(&mut again, "a", &open, b""), 200);
    assert_eq!(ask_as(&mut again, "a", &whole("writeData"), &filled(1)), 200);
    assert_eq!(ask_as(&mut again, "a", &closing("", ""), b""), 200);
    server.ended().unwrap();
    assert_eq!(bytes_of(&target), filled(1));
}

#[test]
fn of_two_syncs_at_once_one_fails_and_the_other_is_whole() {
    let source = |seed: u8| {
        let (directory, path) = place();
        Pattern::whole(vec![Block::Data(seed); 4096]).write(&path);
        (directory, path)
    };
    let ((_one, one), (_two, two)) = (source(1), source(2));
    for turn in 0..6 {
        let (_directory, target) = place();
        std::fs::write(&target, vec![3; 4096 * BLOCK as usize]).unwrap();
        let server = Server::of(&target);
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| sync(&one, &server.address, &options()));
            std::thread::sleep(Duration::from_millis(5 * turn));
            let second = sync(&two, &server.address, &SyncOptions { in_flight: 64, ..options() });
            (first.join().unwrap(), second)
        });
        server.ended().unwrap();
        let winner = match (first, second) {
            (Ok(_), Err(_)) => &one,
            (Err(_), Ok(_)) => &two,
            ends => panic!("{ends:?}"),
        };
        assert!(bytes_of(&target) == bytes_of(winner), "turn {turn}");
    }
}

/// Whatever of that client still arrives after it said so.
#[test]
fn a_client_that_gave_up_does_not_complete_the_image() {
    let (_directory, target) = place();
    std::fs::write(&target, filled(1)).unwrap();
    let server = Server::of(&target);
    let (mut http, mut late) = (server.dial(), server.dial());
    http.open(4 * BLOCK, false);
    assert_eq!(http.write(BLOCK, 2 * BLOCK, &[5; BLOCK as usize]).status, 200);
    http.hash(2 * BLOCK, 4 * BLOCK);
    assert_eq!(http.write(0, BLOCK, b"").status, 400);
    assert_eq!(late.write(0, BLOCK, &[6; BLOCK as usize]).status, 200);
    assert_eq!(http.close("").status, 500);
    assert!(matches!(server.failed(), Error::GivenUp { .. }));
    assert!(mark_of(&target).exists());
}

/// What was written and cannot be read is not complete, though it was written well.
#[test]
fn a_range_that_cannot_be_read_again_is_missing() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut http = server.dial();
    http.open(4 * BLOCK, false);
    assert_eq!(http.write(0, 4 * BLOCK, &filled(1)).status, 200);
    let data = File::options().write(true).open(data_of(&target)).unwrap();
    // Lost, and then found as zeros.
    data.set_len(0).unwrap();
    assert_eq!(http.hash(0, 4 * BLOCK).status, 200, "a hole");
    data.set_len(1).and_then(|()| data.set_len(BLOCK - 1)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&data, &[1], 0).unwrap();
    assert_eq!(http.hash(0, BLOCK).status, 500);
    data.set_len(4 * BLOCK).unwrap();
    assert_eq!(http.close("").status, 500);
    server.failed();
    assert!(!target.exists());
}

/// Somebody waits for the name and writes at once.
#[test]
fn a_change_right_after_the_commit_is_not_vouched_for() {
    for turn in 0..10 {
        let (_directory, target) = place();
        let server = Server::of(&target);
        let mut http = server.dial();
        http.open(4 * BLOCK, false);
        http.write(0, 4 * BLOCK, &filled(1));
        let path = target.clone();
        let writer = std::thread::spawn(move || {
            let mut file = loop {
                match File::options().write(true).open(&path) {
                    Ok(file) => break file,
                    Err(_) => std::thread::yield_now(),
                }
            };
            std::thread::sleep(Duration::from_millis(turn));
            file.write_all(b"changed").unwrap();
        });
        assert_eq!(http.close(&crc64(&filled(1))).status, 200);
        writer.join().unwrap();
        server.ended().unwrap();
        assert_eq!(vouched(&target), None, "turn {turn}");
    }
}

/// The record is replaced between being read and being judged.
#[test]
fn a_record_is_judged_by_itself_and_not_by_its_successor() {
    let (_source_directory, source) = place();
    std::fs::write(&source, filled(1)).unwrap();
    record(&source);
    for turn in 0..10 {
        let (_directory, target) = place();
        std::fs::write(&target, filled(1)).unwrap();
        record(&target);
        std::thread::sleep(Duration::from_millis(30));
        let server = Server::of(&target);
        std::fs::write(&target, filled(2)).unwrap();
        let synced = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(2 + turn));
                record(&target);
            });
            sync(&source, &server.address, &SyncOptions { fast: true, ..options() })
        });
        // It may as well find that the image changes under its hands.
        assert!(synced.is_err() || bytes_of(&target) == filled(1), "turn {turn}");
    }
}

#[test]
fn a_close_without_an_image_is_no_success() {
    let (_directory, target) = place();
    let server = Server::of(&target);
    assert_eq!(server.dial().close("").status, 200);
    assert!(matches!(server.failed(), Error::NothingReceived));
    let nothing = Beside { data: false, unfinished: false, others: vec![] };
    assert_eq!(Beside::of(&target), nothing);
}

/// The server knows what failed; it is not only the client that is told.
#[test]
fn a_server_says_what_failed_first() {
    let (_directory, target) = place();
    std::fs::create_dir(data_of(&target)).unwrap();
    let server = Server::of(&target);
    let mut http = server.dial();
    let refused = http.open(4 * BLOCK, false);
    assert_eq!(refused.status, 500);
    http.close("");
    let failed = server.failed();
    let said = lacuna::describe(&failed);
    assert!(said.contains("lacuna-data"), "{said}");
}
