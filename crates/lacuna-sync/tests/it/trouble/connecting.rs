//! Nobody there, not yet there, or already taken.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::Cancel;
use lacuna_sync::v1::{self, SyncOptions};
use lacuna_sync::{Error, Unreached};

use super::{assert_soon, place, put_source, words};
use crate::http::Http;
use crate::image::{assert_same, assert_tidy, bytes_of, put};
use crate::options;
use crate::original::Original;
use crate::server::{Server, opened, quiet_port, sync};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_port_where_nobody_listens_is_an_error_within_the_time_out() {
    let (_directory, source) = put_source();
    let (_held, address) = quiet_port();
    let options = SyncOptions { connect_timeout: Duration::from_millis(1500), ..options() };
    let begun = Instant::now();
    let error = sync(&source, &address, &options).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(words(&error).contains("connection refused"), "{}", words(&error));
    assert!(words(&error).contains(&address));
    assert!(begun.elapsed() >= Duration::from_millis(500), "it gave up too soon");
    assert_soon(begun);
}

#[test]
fn a_name_that_does_not_exist_is_an_error() {
    let (_directory, source) = put_source();
    let options = SyncOptions { connect_timeout: Duration::ZERO, ..options() };
    for address in ["nowhere.invalid:5000", "127.0.0.1", "127.0.0.1:port", ""] {
        let begun = Instant::now();
        let error = sync(&source, address, &options).unwrap_err();
        assert!(
            matches!(error, Error::Unreached(Unreached::Unresolved { .. })),
            "{address}: {error:?}"
        );
        assert_soon(begun);
    }
}

#[test]
fn a_server_that_starts_after_its_client_is_waited_for() {
    let (_source_directory, source) = put_source();
    let runtime = runtime();
    let _context = runtime.enter();
    let (socket, address) = quiet_port();
    let (_directory, target) = place();
    let options = SyncOptions { connect_timeout: Duration::from_secs(60), ..options() };
    let client = {
        let source = source.clone();
        std::thread::spawn(move || sync(&source, &address, &options))
    };
    std::thread::sleep(Duration::from_millis(300));
    let listener = socket.listen(128).unwrap().into_std().unwrap();
    let server = Server::on(listener, &target, &Default::default());
    client.join().unwrap().unwrap();
    server.ended().unwrap();
    assert_same(&source, &target);
    assert_tidy(&target);
}

/// It may be there for another client.
#[test]
fn a_server_that_starts_when_its_client_has_given_up_hears_nothing() {
    let (_source_directory, source) = put_source();
    let runtime = runtime();
    let _context = runtime.enter();
    let (socket, address) = quiet_port();
    let options = SyncOptions { connect_timeout: Duration::from_secs(60), ..options() };
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let source = opened(&source).unwrap();
    let client =
        std::thread::spawn(move || v1::sync(source, &address, &options, &Arc::default(), &stop));
    std::thread::sleep(Duration::from_millis(300));
    cancel.cancel();
    let listener = socket.listen(128).unwrap().into_std().unwrap();
    assert!(client.join().unwrap().unwrap_err().is_cancelled());
    let called = listener.accept();
    assert_eq!(called.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = lacuna_sync::listen(&[address]).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert!(words(&error).contains(&address.to_string()), "{}", words(&error));
    assert!(words(&error).to_lowercase().contains("address already in use"), "{}", words(&error));
    assert!(error.remedy().unwrap().contains("port"));
}

#[test]
fn a_target_in_use_is_refused_and_the_server_waits_for_another_client() {
    let (_source_directory, source) = put_source();
    let (_directory, target) = place();
    put(&target, b"what is there");
    let other = std::fs::File::open(&target).unwrap();
    other.lock().unwrap();
    let server = Server::of(&target);
    let mut http = server.dial();
    let answer = http.open(4096, false);
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("is in use by another process"), "{}", answer.text());
    assert_eq!(bytes_of(&target), b"what is there");
    assert_tidy(&target);
    other.unlock().unwrap();
    sync(&source, &server.address, &options()).unwrap();
    server.ended().unwrap();
    assert_same(&source, &target);
}

#[test]
fn a_client_says_that_the_target_is_in_use() {
    let (_source_directory, source) = put_source();
    let (_directory, target) = place();
    put(&target, b"what is there");
    let other = std::fs::File::open(&target).unwrap();
    other.lock_shared().unwrap();
    let server = Server::of(&target);
    let error = sync(&source, &server.address, &options()).unwrap_err();
    assert!(words(&error).contains("is in use by another process"), "{}", words(&error));
    assert_eq!(bytes_of(&target), b"what is there");
    assert_tidy(&target);
}

#[test]
fn a_client_that_comes_too_late_does_not_disturb_the_session_of_another() {
    let (_source_directory, source) = put_source();
    let (_directory, target) = place();
    let server = Server::of(&target);
    let mut first = Http::dial(&server.address);
    first.open(8192, false);
    assert_eq!(first.write(0, 8192, &[7; 8192]).status, 200);
    let error = sync(&source, &server.address, &options()).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 409, .. }), "{error:?}");
    let answer = first.close("");
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.ended().unwrap();
    assert_eq!(bytes_of(&target), [7; 8192]);
}

#[test]
fn a_source_in_use_is_refused_before_anybody_is_called() {
    let (_directory, source) = put_source();
    let writer = std::fs::File::open(&source).unwrap();
    writer.lock().unwrap();
    let original = Original::of(None);
    let error = sync(&source, &original.address, &options()).unwrap_err();
    assert!(matches!(error, Error::Image(lacuna::Error::Busy { .. })), "{error:?}");
    assert_eq!(original.targets(), [""; 0]);
}
