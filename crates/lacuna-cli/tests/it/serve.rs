use std::net::TcpListener;

use rustix::process::Signal;

use crate::common::{Receiver, aligned, expect, lacuna, names};

#[test]
fn an_address_beyond_this_machine_needs_insecure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let output =
        lacuna().args(["serve", "--listen", "0.0.0.0:0", "--once"]).arg(&file).output().unwrap();
    let (_, err) = expect(&output, 2);
    assert!(err.contains("--insecure") && err.contains("a.img"), "{err}");
    let receiver = Receiver::start(
        lacuna().args(["serve", "--insecure", "--listen", "0.0.0.0:0", "--once"]).arg(&file),
    );
    assert!(receiver.address.starts_with("0.0.0.0:"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        lacuna().args(["serve", "--listen", &address, "--once", "/tmp/x"]).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(
        err.contains(&address) && err.contains("in use") && err.contains("another port"),
        "{err}"
    );
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    let output = lacuna().args(["serve", "--listen", "nonsense", "--once", "x"]).output().unwrap();
    let (_, err) = expect(&output, 2);
    assert!(err.contains("HOST:PORT"), "{err}");
}

#[test]
fn a_receiver_without_a_client_gives_up_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let receiver = Receiver::start(
        lacuna()
            .args(["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "1", "--once"])
            .arg(&file),
    );
    let (status, _, err) = receiver.wait();
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("no request for 1 s"), "{err}");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_receiver_stops_on_sigterm_and_says_what_it_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let receiver = Receiver::serve(&file);
    receiver.signal(Signal::TERM);
    let (status, _, err) = receiver.wait();
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("cancelled"), "{err}");
}

#[test]
fn a_receiver_that_dies_fails_the_sync_and_the_next_one_completes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let mut receiver = Receiver::serve(&target);
    let url = receiver.url();
    receiver.kill();
    let output =
        lacuna().args(["sync", "--connect-timeout", "1"]).arg(&source).arg(&url).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(err.contains("cannot connect"), "{err}");
    assert!(!target.exists());
    let receiver = Receiver::serve(&target);
    expect(&lacuna().arg("sync").arg(&source).arg(receiver.url()).output().unwrap(), 0);
    assert!(receiver.wait().0.success());
    assert_eq!(std::fs::read(&target).unwrap(), aligned().bytes());
}

#[test]
fn a_receiver_reports_what_it_received_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let receiver = Receiver::start(
        lacuna().args(["serve", "--json", "--listen", "127.0.0.1:0", "--once"]).arg(&target),
    );
    expect(&lacuna().arg("sync").arg(&source).arg(receiver.url()).output().unwrap(), 0);
    let (_, out, _) = receiver.wait();
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["protocol"], "v1");
    assert!(report["written_bytes"].as_u64() > Some(0));
    assert!(report["wire_bytes"].as_u64() > report["written_bytes"].as_u64());
}
