//! What a client is told of the files of a server: what it calls them, and nothing more.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use lacuna_wire::{ClientHello, Role, ServerHello};

use crate::peer::{Server, hello, offer};

/// Why a client is sent away that asks for `name`.
fn told(server: &Server, role: Role, name: &str) -> String {
    let mut peer = server.connect();
    peer.send(&ClientHello { role, ..hello(name) }.encode().unwrap());
    if let ServerHello::Refusal { words, .. } = peer.answer() {
        return words;
    }
    if role == Role::Source {
        peer.send(&offer(1 << 20));
    }
    let words = peer.told();
    peer.rest();
    words
}

fn make(path: &Path) {
    File::create(path).unwrap().set_len(1 << 20).unwrap();
}

#[test]
fn files_are_called_what_the_client_calls_them() {
    let directory = tempfile::tempdir().unwrap();
    let (root, sub) = (directory.path().join("root"), directory.path().join("root/sub"));
    std::fs::create_dir_all(sub.join("a-directory")).unwrap();
    make(&sub.join("marked.img"));
    std::fs::write(sub.join(".marked.img.lacuna-unfinished"), "").unwrap();
    make(&sub.join("other.img"));
    std::fs::hard_link(sub.join("marked.img"), sub.join("again.img")).unwrap();
    std::fs::hard_link(sub.join("other.img"), sub.join(".foreign.img.lacuna-data")).unwrap();
    std::os::unix::fs::symlink("other.img", sub.join("link.img")).unwrap();
    make(&sub.join("busy.img"));
    let busy = File::open(sub.join("busy.img")).unwrap();
    busy.lock().unwrap();
    let long = format!("sub/{}", "x".repeat(250));
    // What is in use is waited for, a little.
    let server = Server::with(&root, |options| {
        (options.max_sessions, options.link.silence) = (16, Duration::from_secs(60));
    });
    for (role, name, expected) in [
        (Role::Target, "sub/marked.img", "sub/marked.img is unfinished"),
        (Role::Target, "sub/again.img", "sub/again.img is unfinished"),
        (Role::Target, "/sub/none.img", "cannot open sub/none.img: no such file"),
        (Role::Target, "sub/a-directory", "sub/a-directory is a directory"),
        (Role::Target, "sub/link.img", "sub/link.img is a symbolic link"),
        (Role::Target, "sub/busy.img", "sub/busy.img is in use"),
        (Role::Source, "sub/busy.img", "sub/busy.img is in use"),
        (Role::Source, "sub/link.img", "sub/link.img is a symbolic link"),
        (Role::Source, "sub/foreign.img", "sub/.foreign.img.lacuna-data is malformed"),
        (Role::Source, "sub/a-directory", "sub/a-directory is a directory"),
        (Role::Source, "none/a.img", "cannot open the directory of none/a.img: no such file"),
        (Role::Source, &long, "cannot open sub/xxx"),
        (Role::Source, "../a.img", "../a.img leads out"),
    ] {
        let words = told(&server, role, name);
        assert!(words.starts_with(expected), "{name}: {words}");
        assert_ours(&words, &root);
    }
}

/// That `words` say nothing of where `root` is.
fn assert_ours(words: &str, root: &Path) {
    let ours = [root.to_str().unwrap(), "/proc", "/self", "/root"];
    assert!(ours.iter().all(|ours| !words.contains(ours)), "{words}");
}
