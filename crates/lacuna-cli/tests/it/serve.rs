use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Instant;

use lacuna_testing::pattern::{Block, Pattern};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use crate::common::{PATIENCE, Server, aligned, expect, lacuna, names};

#[test]
fn an_address_beyond_this_machine_needs_insecure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let output =
        lacuna().args(["serve", "--listen", "0.0.0.0:0", "--once"]).arg(&file).output().unwrap();
    let (_, err) = expect(&output, 2);
    assert!(err.contains("--insecure") && err.contains("a.img"), "{err}");
    let server = Server::start(
        lacuna().args(["serve", "--insecure", "--listen", "0.0.0.0:0", "--once"]).arg(&file),
    );
    assert!(server.address.starts_with("0.0.0.0:"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (directory, mut serve) = (tempfile::tempdir().unwrap(), lacuna());
    serve.current_dir(&directory).args(["serve", "--listen", &address, "--once", "a.img"]);
    let output = serve.output().unwrap();
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
fn a_server_without_a_client_gives_up_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let server = Server::start(
        lacuna()
            .args(["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "1", "--once"])
            .arg(&file),
    );
    let (status, _, err) = server.wait();
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("no request for 1 s"), "{err}");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_server_stops_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.img");
    let server = Server::serve(&file);
    server.signal(Signal::TERM);
    let (status, _, err) = server.wait();
    assert_eq!(status.code(), Some(1));
    assert!(
        err.contains(&format!("receiving {} was stopped by a signal", file.display())),
        "{err}"
    );
    assert!(err.contains("start the server again"), "{err}");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn what_cannot_be_a_target_is_told_before_anybody_connects() {
    let directory = tempfile::tempdir().unwrap();
    for (file, words) in [
        (directory.path().to_owned(), "is a directory"),
        (directory.path().join("none/a.img"), "no such file or directory"),
    ] {
        let output =
            lacuna().args(["serve", "--listen", "127.0.0.1:0", "--once"]).arg(&file).output();
        let (_, err) = expect(&output.unwrap(), 1);
        assert!(err.contains(words) && !err.contains("listening"), "{err}");
    }
}

#[test]
fn a_server_that_dies_amid_a_sync_fails_it_and_the_next_one_completes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    let pattern = Pattern::whole(vec![Block::Data(5); 64 << 8]);
    pattern.write(&source);
    let mut server = Server::serve(&target);
    let client = lacuna()
        .args(["sync", "--jobs", "1"])
        .arg(&source)
        .arg(server.url())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let data = directory.path().join(".b.img.lacuna-data");
    let start = Instant::now();
    while !data.metadata().is_ok_and(|data| data.blocks() > 0) {
        assert!(start.elapsed() < PATIENCE, "nothing is written");
    }
    server.kill();
    let (_, err) = expect(&client.wait_with_output().unwrap(), 1);
    assert!(err.contains("did not answer") && err.contains("what to do"), "{err}");
    assert!(!target.exists());
    let server = Server::serve(&target);
    expect(&lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap(), 0);
    assert!(server.wait().0.success());
    assert!(std::fs::read(&target).unwrap() == pattern.bytes());
    assert_eq!(names(directory.path()), ["a.img", "b.img"]);
}

#[test]
fn a_server_reports_what_it_received_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let server = Server::start(
        lacuna().args(["serve", "--json", "--listen", "127.0.0.1:0", "--once"]).arg(&target),
    );
    let address = server.address.clone();
    expect(&lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap(), 0);
    let (_, out, _) = server.wait();
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["protocol"], "v1");
    assert_eq!(report["address"], address);
    assert!(report["written_bytes"].as_u64() > Some(0));
    assert!(report["wire_bytes"].as_u64() > report["written_bytes"].as_u64());
}

#[test]
fn the_one_image_is_where_its_name_led_when_the_server_began() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    aligned().write(&path("a.img"));
    std::fs::create_dir(path("kept")).unwrap();
    for name in ["kept/one.img", "kept/other.img"] {
        std::fs::write(path(name), "old").unwrap();
    }
    symlink(path("kept/one.img"), path("link.img")).unwrap();
    let server = Server::serve(&path("link.img"));
    std::fs::remove_file(path("link.img")).unwrap();
    symlink(path("kept/other.img"), path("link.img")).unwrap();
    let there = format!("lacuna://{}/link.img", server.address);
    let push = || lacuna().arg("sync").arg(path("a.img")).arg(&there).output().unwrap();

    let taken = File::open(path("kept/one.img")).unwrap();
    flock(&taken, FlockOperation::LockExclusive).unwrap();
    let (_, err) = expect(&push(), 1);
    assert!(err.contains("one.img") && !err.contains("kept"), "{err}");
    drop(taken);

    expect(&push(), 0);
    assert!(server.wait().0.success());
    assert_eq!(std::fs::read(path("kept/one.img")).unwrap(), aligned().bytes());
    assert_eq!(std::fs::read(path("kept/other.img")).unwrap(), b"old");
}
