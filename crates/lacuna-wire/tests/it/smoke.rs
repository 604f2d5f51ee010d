//! A short run of the fuzz targets, from the corpus, with a fixed seed.

use crate::fuzzed;

use std::path::Path;

use lacuna_wire::{ClientHello, HEADER, Header, Message, ServerHello};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// The files of a corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Tries the corpus as it is, and with bytes changed, left out and added. The type of `target` is the one
/// that the fuzzer asks for.
fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty());
    corpus.iter().for_each(|bytes| target(bytes));
    let change = (any::<Index>(), any::<u8>(), 0..3);
    let changes = prop::collection::vec(change, 1..6);
    let config = Config { failure_persistence: None, ..Config::with_cases(4000) };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let input = (prop::sample::select(corpus), changes);
    let tried = runner.run(&input, |(mut bytes, changes)| {
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                _ if at == bytes.len() => bytes.truncate(at / 2),
                1 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
        }
        target(&bytes);
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn any_hello_is_read_or_refused() {
    run("hello", fuzzed::hello);
}

#[test]
fn any_frame_is_read_or_refused() {
    run("frame", fuzzed::frame);
}

#[test]
fn any_session_is_read_or_refused() {
    run("session", fuzzed::session);
}

#[test]
fn the_corpus_is_of_this_format() {
    for bytes in corpus("frame") {
        let (header, payload) = bytes.split_first_chunk::<HEADER>().unwrap();
        let header = Header::decode(header).unwrap();
        header.check(payload).unwrap();
        let message = Message::decode(header.kind, payload).unwrap();
        // No entry of it would be tried.
        assert_ne!(message, Message::Want(vec![]));
    }
    for bytes in corpus("hello") {
        assert!(ClientHello::decode(&bytes).is_ok() || ServerHello::decode(&bytes).is_ok());
    }
}
