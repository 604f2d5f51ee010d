//! What `lacuna serve --root` says of its sessions, and what happens when nobody listens.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::replica::Replica;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{PATIENCE, Server, aligned, expect, json, keys, lacuna, names, sample};

fn serve(root: &Path, more: &[&str]) -> Server {
    let words = ["serve", "--listen", "127.0.0.1:0", "--root"];
    Server::start(lacuna().args(words).arg(root).args(more))
}

/// What a client says first that has `source` and wants to be let in to `path`.
fn hello(source: &Path, path: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("lacuna://{}/{path}", listener.local_addr().unwrap());
    let mut client = lacuna();
    let mut client = client.arg("sync").arg(source).arg(url).stderr(Stdio::null()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = vec![0; 10];
    stream.read_exact(&mut hello).unwrap();
    let length = usize::from(u16::from_le_bytes([hello[8], hello[9]]));
    hello.resize(10 + length + 8, 0);
    stream.read_exact(&mut hello[10..]).unwrap();
    drop(stream);
    client.wait().unwrap();
    hello
}

/// Sessions that a server has refused, with a long report of each.
const REFUSED: usize = 300;

/// A server that has had more to say than a pipe and its memory hold, and does its work all the same.
fn stalled(directory: &Path) -> Server {
    let (root, source) = (directory.join("root"), directory.join("a.img"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&source);
    let server = serve(&root, &[]);
    let hello = hello(&source, &("no/".repeat(1200) + "b.img"));
    for _ in 0..REFUSED {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&hello).unwrap();
        stream.read_to_end(&mut vec![]).expect("an answer");
    }
    let there = format!("lacuna://{}/b.img", server.address);
    expect(&lacuna().arg("sync").arg(&source).arg(there).output().unwrap(), 0);
    server
}

#[test]
fn a_server_that_nobody_reads_serves_and_says_what_it_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = stalled(directory.path());
    server.signal(Signal::TERM);
    let mut said = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let (mut told, mut dropped) = (0, 0);
    for line in said.lines() {
        match line.strip_suffix(" messages were dropped here: nobody read them") {
            Some(number) => dropped += number.parse::<usize>().unwrap(),
            None => told += 1,
        }
    }
    assert!(dropped > 0, "{told}");
    // One session was none of these, and the signal was answered.
    assert_eq!(told + dropped, REFUSED + 2);
}

#[test]
fn a_server_that_nobody_reads_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = stalled(directory.path());
    server.signal(Signal::TERM);
    let begun = Instant::now();
    let status = loop {
        match server.child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begun.elapsed() < PATIENCE, "it goes on"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn programs_are_told_of_each_session_by_an_object() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&source);
    let server = serve(&root, &["--json"]);
    let url = |path: &str| format!("lacuna://{}/{path}", server.address);
    let (here, back) = (source.display().to_string(), directory.path().join("back.img"));
    for (words, code) in [
        (vec!["--dry-run", &here, &url("b.img")], 0),
        (vec![&here, &url("b.img")], 0),
        (vec![&url("b.img"), back.to_str().unwrap()], 0),
        (vec![&here, &url("none/b.img")], 1),
    ] {
        expect(&lacuna().arg("sync").args(words).output().unwrap(), code);
    }
    server.signal(Signal::TERM);
    let (_, out, said) = server.wait();
    assert!(!said.contains("b.img"), "{said}");
    let objects: Vec<Value> = out.lines().map(json).collect();
    let [planned, received, sent, failed] = &objects[..] else { panic!("{out}") };
    for object in &objects {
        let all = ["bytes", "direction", "error", "left", "ok", "path", "peer", "what"];
        assert_eq!(keys(object), all);
        assert!(object["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{object}");
    }
    let told = |object: &Value| {
        json!([object["what"], object["path"], object["direction"], object["ok"], object["left"]])
    };
    assert_eq!(told(planned), json!(["dry-run", "b.img", "received", true, null]));
    assert_eq!(told(received), json!(["sync", "b.img", "received", true, null]));
    assert_eq!(told(sent), json!(["sync", "b.img", "sent", true, null]));
    assert_eq!(told(failed), json!(["sync", "none/b.img", "received", false, null]));
    assert_eq!((&planned["bytes"], &failed["bytes"]), (&json!(0), &Value::Null));
    assert!(received["bytes"].as_u64() > Some(40 * 4096), "{received}");
    assert_eq!((&received["bytes"], &received["error"]), (&sent["bytes"], &Value::Null));
    assert!(failed["error"].as_str().unwrap().contains("no such file"), "{failed}");
}

/// The images of a replica have sessions of their own, and so has what is beside them.
#[test]
fn programs_are_told_of_sessions_that_are_of_a_directory() {
    let Some(mount) = Mount::new(Fs::Ext4) else { return };
    let (root, replica) = (mount.path().join("root"), mount.path().join("replica"));
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&replica).unwrap();
    Replica::line(vec![aligned(), aligned()]).write(&replica);
    let server = serve(&root, &["--json"]);
    let there = format!("lacuna://{}/copy", server.address);
    let mut sync = lacuna();
    // Another test may be starting a program, which has the files of this one open for a moment.
    sync.args(["sync", "--force"]).arg(&replica).arg(there);
    expect(&sync.output().unwrap(), 0);
    server.signal(Signal::TERM);
    let (_, out, _) = server.wait();
    let objects: Vec<Value> = out.lines().map(json).collect();
    let (directory, images): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object["path"] == "copy");
    assert_eq!(images.len(), 2, "{out}");
    for image in images {
        assert_eq!((&image["what"], &image["direction"]), (&json!("sync"), &json!("received")));
    }
    assert!(directory.iter().any(|session| session["bytes"] == 0), "{out}");
    assert!(directory.iter().any(|session| session["bytes"].as_u64() > Some(0)), "{out}");
    for session in directory {
        assert_eq!((&session["what"], &session["direction"]), (&json!("directory"), &Value::Null));
    }
}

#[test]
fn what_a_client_without_the_token_asks_for_is_not_said() {
    let directory = tempfile::tempdir().unwrap();
    let (token, source) = (directory.path().join("token"), directory.path().join("a.img"));
    std::fs::write(&token, "open sesame\n").unwrap();
    sample().write(&source);
    for (json, refusal) in [(&["--json"][..], "\"path\":null"), (&[], "session with 127.0.0.1:")] {
        let more = [&["--token-file", token.to_str().unwrap()], json].concat();
        let server = serve(directory.path(), &more);
        let there = format!("lacuna://{}/of-a-stranger.img", server.address);
        expect(&lacuna().arg("sync").arg(&source).arg(there).output().unwrap(), 1);
        server.signal(Signal::TERM);
        let (_, out, said) = server.wait();
        let all = out + &said;
        assert!(all.contains(refusal) && all.contains("token is missing or wrong"), "{all}");
        assert!(!all.contains("of-a-stranger"), "{all}");
    }
}

#[test]
fn a_server_reads_and_writes_and_compresses_as_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    let size = 2 << 20;
    std::fs::write(&source, "lacunas".repeat(size).split_at(size).0).unwrap();
    let sync = |server: &Server, json: &[&str], push: bool, code: i32| {
        let (here, there) =
            (source.display().to_string(), format!("lacuna://{}/b.img", server.address));
        let back = directory.path().join("back.img").display().to_string();
        let ends = if push { [&here, &there] } else { [&there, &back] };
        expect(&lacuna().arg("sync").args(json).args(ends).output().unwrap(), code)
    };
    let options = MountOptions { mount: vec!["data=journal".into()], ..MountOptions::default() };
    let Some(mount) = Mount::with(Fs::Ext4, &options) else { return };
    // There is no direct I/O with all data in the journal.
    let (_, err) = sync(&serve(mount.path(), &["--direct"]), &[], true, 1);
    assert!(err.contains("direct I/O"), "{err}");
    assert!(!names(mount.path()).iter().any(|name| name.contains("b.img")));

    for (how, is_packed) in
        [(&["--buffered", "--jobs", "1"][..], true), (&["--compress", "none"], false)]
    {
        let server = serve(mount.path(), how);
        for push in [true, false] {
            for name in [mount.path().join("b.img"), directory.path().join("back.img")] {
                let is_target = name.ends_with("b.img") == push;
                if is_target && name.exists() {
                    std::fs::remove_file(name).unwrap();
                }
            }
            let (out, _) = sync(&server, &["--json"], push, 0);
            let wire_bytes = json(&out)["wire_bytes"].as_u64().unwrap() as usize;
            assert_eq!(wire_bytes < size / 2, is_packed, "{how:?}: {wire_bytes} of {size}");
        }
    }
    let once = ["serve", "--once", "x", "--jobs", "2"];
    assert!(expect(&lacuna().args(once).output().unwrap(), 2).1.contains("cannot be used with"));
}
