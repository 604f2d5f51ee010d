//! `lacuna sync` to and from `lacuna serve --root`.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use lacuna_testing::pattern::{BLOCK, Block, Pattern, kinds_of};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Signal, geteuid};

use crate::common::{Server, expect, json, keys, lacuna, names, sample, ssync};

fn serve(root: &Path, more: &[&str]) -> Server {
    let words = ["serve", "--listen", "127.0.0.1:0", "--root"];
    Server::start(lacuna().args(words).arg(root).args(more))
}

fn url(server: &Server, path: &str) -> String {
    format!("lacuna://{}/{path}", server.address)
}

#[test]
fn an_image_goes_there_and_back_with_one_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir_all(root.join("sub")).unwrap();
    sample().write(&source);
    let server = serve(&root, &[]);
    let there = url(&server, "sub/b.img");
    let pushed = lacuna().args(["sync", "--json"]).arg(&source).arg(&there).output().unwrap();
    let pushed = json(&expect(&pushed, 0).0);
    assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(root.join("sub/b.img")).unwrap());
    assert_eq!(kinds_of(&source), kinds_of(&root.join("sub/b.img")));
    let back = directory.path().join("back.img");
    let pulled = lacuna()
        .args(["sync", "--json", "--verify", "--compress", "none"])
        .arg(&there)
        .arg(&back)
        .output();
    let pulled = json(&expect(&pulled.unwrap(), 0).0);
    assert_eq!(kinds_of(&source), kinds_of(&back));
    let hashed = lacuna().args(["hash", "--layout", "--json"]).arg(&source).output().unwrap();
    let hashed = json(&expect(&hashed, 0).0);
    assert_eq!(pushed["receipt"], hashed["digest"]);
    assert_eq!(pulled["receipt"], hashed["digest"]);
    assert_eq!(pulled["data_bytes"], pushed["data_bytes"]);
    assert_eq!(names(&root.join("sub")), ["b.img"]);
    server.signal(Signal::TERM);
    let (status, _, said) = server.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("sub/b.img") && said.contains("written, from 127.0.0.1:"), "{said}");
}

/// What a report says, but for names, times and the words on the wire.
fn figures(report: &serde_json::Value) -> serde_json::Value {
    let mut figures = report.clone();
    for other in ["source", "target", "elapsed_seconds", "wire_bytes"] {
        figures.as_object_mut().unwrap().remove(other).unwrap();
    }
    figures
}

#[test]
fn a_push_and_a_pull_of_the_same_two_images_report_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (root, here) = (directory.path().join("root"), directory.path().join("here"));
    let mut changed = sample();
    changed.blocks[3] = Block::Data(9);
    changed.blocks[60] = Block::Data(9);
    for place in [&root, &here] {
        std::fs::create_dir(place).unwrap();
        sample().write(&place.join("a.img"));
        changed.write(&place.join("old.img"));
        changed.write(&place.join("verified.img"));
    }
    let server = serve(&root, &[]);
    for (target, more) in
        [("new.img", &[][..]), ("old.img", &[]), ("old.img", &[]), ("verified.img", &["--verify"])]
    {
        let sync = |source: String, target: String| {
            let mut sync = lacuna();
            sync.args(["sync", "--json"]).args(more).args([source, target]);
            json(&expect(&sync.output().unwrap(), 0).0)
        };
        let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
        let pushed = sync(path("a.img"), url(&server, target));
        let pulled = sync(url(&server, "a.img"), path(target));
        assert_eq!(figures(&pushed), figures(&pulled), "{target} {more:?}");
        let compared = if target == "new.img" { 0 } else { 16 * 4 * BLOCK };
        assert!(pushed["compared_bytes"].as_u64().unwrap() <= compared, "{pushed}");
        assert!(pushed["read_bytes"].as_u64() >= pushed["data_bytes"].as_u64(), "{pushed}");
        assert_eq!(pushed["sent_bytes"], pushed["written_bytes"]);
    }
}

/// Words in no order, which a higher level finds more in.
fn prose() -> Vec<u8> {
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as usize
    };
    let words: Vec<_> = (0..4000).map(|_| format!("{:x} ", next() % 0xf_ffff)).collect();
    (0..400_000).flat_map(|_| words[next() % words.len()].bytes()).take(2 << 20).collect()
}

#[test]
fn a_pull_is_compressed_at_the_level_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("root/a.img"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(&source, prose()).unwrap();
    let server = serve(&root, &[]);
    let wire_bytes = |how: &str, source: &str, target: &str| {
        let mut sync = lacuna();
        sync.args(["sync", "--json", "--compress", how, source, target]);
        json(&expect(&sync.output().unwrap(), 0).0)["wire_bytes"].as_u64().unwrap()
    };
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pulled = ["none", "zstd:1", "zstd:19"]
        .map(|how| wire_bytes(how, &url(&server, "a.img"), &path(how)));
    let pushed = ["none", "zstd:1", "zstd:19"]
        .map(|how| wire_bytes(how, &path("root/a.img"), &url(&server, how)));
    for [none, low, high] in [pulled, pushed] {
        assert!(none > low && low > high + high / 20, "{none} {low} {high}");
    }
}

/// Both ways, and both kinds of dry run.
#[test]
fn a_dry_run_tells_what_a_sync_does_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (root, here) = (directory.path().join("root"), directory.path().join("here"));
    for directory in [&root, &here] {
        std::fs::create_dir(directory).unwrap();
        sample().write(&directory.join("a.img"));
    }
    let mut changed = sample();
    changed.blocks[3] = Block::Data(9);
    changed.write(&here.join("changed.img"));
    let server = serve(&root, &[]);
    let sync = |more: &[&str], source: &str, target: &str| {
        let output = lacuna().args(["sync", "--json"]).args(more).args([source, target]).output();
        json(&expect(&output.unwrap(), 0).0)
    };
    let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
    for (source, target, exists, written) in [
        (path("changed.img"), url(&server, "new.img"), false, 43),
        (path("changed.img"), url(&server, "a.img"), true, 1),
        (url(&server, "a.img"), path("pulled.img"), false, 43),
        (url(&server, "a.img"), path("a.img"), true, 1),
    ] {
        let before = [names(&root), names(&here)];
        let planned = sync(&["--dry-run"], &source, &target);
        let compared = sync(&["--dry-run", "--compare"], &source, &target);
        let local = sync(&["--dry-run"], &path("a.img"), &path("local.img"));
        assert_eq!(keys(&planned), keys(&local));
        assert_eq!(before, [names(&root), names(&here)]);
        assert_eq!(
            (&planned["protocol"], &planned["target_exists"]),
            (&"v2".into(), &exists.into())
        );
        assert_eq!(planned["written_bytes_max"], planned["data_bytes"]);
        assert_eq!(compared["written_bytes"], compared["written_bytes_max"]);
        let synced = sync(&[], &source, &target);
        assert_eq!(synced["written_bytes"], compared["written_bytes"]);
        assert_eq!(synced["compared_bytes"], compared["compared_bytes"]);
        let written = written * lacuna_testing::pattern::BLOCK;
        assert!(synced["written_bytes"].as_u64().unwrap().abs_diff(written) < 4096, "{synced}");
    }
    let mut dry_run = lacuna();
    dry_run.args(["sync", "--dry-run", &path("changed.img"), &url(&server, "a.img")]);
    let (out, _) = expect(&dry_run.output().unwrap(), 0);
    assert!(out.contains(", nothing done\n") && out.contains("send and write at most"), "{out}");
    assert!(out.contains("more space, ") && out.contains(" are free"), "{out}");
    server.signal(Signal::TERM);
    let (_, _, said) = server.wait();
    assert!(said.contains("new.img: looked at for 127.0.0.1:"), "{said}");
}

#[test]
fn a_dry_run_is_refused_for_the_reason_of_the_sync_but_not_for_writing() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&source);
    let server = serve(&root, &["--read-only"]);
    let run = |more: &[&str], path: &str, code: i32| {
        let mut sync = lacuna();
        sync.arg("sync").args(more).arg(&source).arg(url(&server, path));
        expect(&sync.output().unwrap(), code)
    };
    for dry in [&["--dry-run"][..], &["--dry-run", "--compare"]] {
        run(dry, "b.img", 0);
        assert!(run(dry, "../a.img", 1).1.contains("leads out"));
        assert!(run(dry, "none/b.img", 1).1.contains("no such file"));
    }
    assert!(run(&[], "b.img", 1).1.contains("read-only"));
    assert!(names(&root).is_empty());
}

#[test]
fn what_a_server_refuses_is_told_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir_all(root.join("directory")).unwrap();
    sample().write(&source);
    std::os::unix::fs::symlink(&source, root.join("link.img")).unwrap();
    std::os::unix::fs::symlink(directory.path(), root.join("out")).unwrap();
    std::os::unix::fs::symlink("directory", root.join("inside")).unwrap();
    std::os::unix::fs::symlink(".", root.join("directory/deep")).unwrap();
    let (right, wrong) = (directory.path().join("right"), directory.path().join("wrong"));
    std::fs::write(&right, "open sesame\nmore\n").unwrap();
    std::fs::write(&wrong, "open barley\n").unwrap();
    let token = ["--token-file", right.to_str().unwrap()];
    let server = serve(&root, &token);
    let refused = |path: &str, token: &Path, words: &[&str]| {
        let mut sync = lacuna();
        sync.args(["sync", "--token-file"]).arg(token).arg(&source).arg(url(&server, path));
        let (_, err) = expect(&sync.output().unwrap(), 1);
        assert!(words.iter().all(|word| err.contains(word)), "{path}: {err}");
        assert!(!err.contains("/proc/") && !err.contains("/root"), "{err}");
    };
    refused("b.img", &wrong, &["token", "give the token"]);
    refused("../b.img", &right, &["leads out", "check the path"]);
    refused("out/b.img", &right, &["out is a symbolic link", "name the file itself"]);
    refused("inside/b.img", &right, &["inside is a symbolic link"]);
    refused("directory/deep/in/b.img", &right, &["directory/deep is a symbolic link"]);
    refused("link.img", &right, &["link.img is a symbolic link", "name the file itself"]);
    refused("directory/", &right, &["directory/ is the name of a directory"]);
    refused("none/b.img", &right, &["none/b.img", "no such file"]);
    refused("directory", &right, &["directory is a directory"]);
    refused(".b.img.lacuna-data", &right, &["keeps for itself"]);
    refused("b.img.checksum", &right, &["keeps for itself"]);
    drop(server);
    let server = serve(&root, &["--read-only"]);
    let sync = lacuna().arg("sync").arg(&source).arg(url(&server, "b.img")).output().unwrap();
    let (_, err) = expect(&sync, 1);
    assert!(err.contains(&format!("{} refused: the server is read-only", server.address)), "{err}");
    assert!(err.contains("without --read-only"), "{err}");
    assert_eq!(names(&root), ["directory", "inside", "link.img", "out"]);
    assert_eq!(std::fs::read(&source).unwrap(), sample().bytes());
}

#[test]
fn an_image_is_not_to_be_had_from_a_server_that_receives_one() {
    let directory = tempfile::tempdir().unwrap();
    let (there, back) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&there);
    let server =
        Server::start(lacuna().args(["serve", "--listen", "127.0.0.1:0", "--once"]).arg(&there));
    let sync = lacuna().arg("sync").arg(url(&server, "a.img")).arg(&back).output().unwrap();
    let (_, err) = expect(&sync, 1);
    assert!(err.contains("refused: this server receives an image, and sends none"), "{err}");
    assert!(err.contains("serve --root") && !err.contains("check the path"), "{err}");
    assert!(!back.exists());
}

#[test]
fn a_server_that_wants_another_url_says_so_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&source);
    let server = serve(&root, &[]);
    let (_, err) =
        expect(&lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap(), 1);
    assert!(err.contains("use lacuna://HOST:PORT/PATH"), "{err}");
    assert!(!err.contains("check host and port"), "{err}");
}

const DEVICE: usize = 1 << 20;

/// A device full of sevens, which goes by `path` too.
fn device(path: &Path) -> Option<LoopDevice> {
    let device = LoopDevice::new(DEVICE as u64)?;
    std::fs::write(device.path(), [7; DEVICE]).unwrap();
    let number = std::fs::metadata(device.path()).unwrap().rdev();
    mknodat(CWD, path, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, number).unwrap();
    Some(device)
}

#[test]
fn devices_are_served_when_that_was_asked_for_and_not_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let (root, source) = (directory.path().join("root"), directory.path().join("a.img"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&source);
    let Some(device) = device(&root.join("disk")) else { return };
    let bytes = || std::fs::read(device.path()).unwrap();
    let server = serve(&root, &[]);
    let (there, back) = (url(&server, "disk"), directory.path().join("back.img"));
    for (from, to) in [(source.as_os_str(), there.as_ref()), (there.as_ref(), back.as_os_str())] {
        let (_, err) = expect(&lacuna().arg("sync").arg(from).arg(to).output().unwrap(), 1);
        assert!(err.contains("disk is a block device, and this server serves files"), "{err}");
        assert!(err.contains("serve --devices") && !err.contains("check the path"), "{err}");
    }
    assert!(bytes() == [7; DEVICE] && !back.exists());

    let server = serve(&root, &["--devices"]);
    let there = url(&server, "disk");
    let push = |source: &Path| {
        lacuna().args(["sync", "--json", "--verify"]).arg(source).arg(&there).output().unwrap()
    };
    let pushed = json(&expect(&push(&source), 0).0);
    let size = sample().size as usize;
    assert_eq!(pushed["size_bytes"], size);
    assert!(bytes()[..size] == sample().bytes() && bytes()[size..].iter().all(|byte| *byte == 7));
    assert_eq!(json(&expect(&push(&source), 0).0)["written_bytes"], 0);
    let pulled = lacuna().arg("sync").arg(&there).arg(&back).output().unwrap();
    expect(&pulled, 0);
    assert!(std::fs::read(&back).unwrap() == bytes());
    assert_eq!(names(&root), ["disk"]);

    let large = directory.path().join("large.img");
    std::fs::File::create(&large).unwrap().set_len(DEVICE as u64 + 1).unwrap();
    let (_, err) = expect(&push(&large), 1);
    assert!(err.contains("disk has 1048576 bytes, 1048577 are needed"), "{err}");
    assert!(std::fs::read(&back).unwrap() == bytes());
}

#[test]
fn what_a_device_has_behind_the_image_is_reported_by_a_pull() {
    let directory = tempfile::tempdir().unwrap();
    let (root, target) = (directory.path().join("root"), directory.path().join("disk"));
    std::fs::create_dir(&root).unwrap();
    sample().write(&root.join("a.img"));
    let Some(device) = device(&target) else { return };
    let server = serve(&root, &[]);
    let mut pull = lacuna();
    pull.args(["sync", "--json", "--verify"]).arg(url(&server, "a.img")).arg(&target);
    let pulled = json(&expect(&pull.output().unwrap(), 0).0);
    assert_eq!(pulled["rest_bytes"], DEVICE - sample().size as usize);
    assert!(std::fs::read(device.path()).unwrap().starts_with(&sample().bytes()));
    assert_eq!(names(directory.path()), ["disk", "root"]);
}

#[test]
fn a_server_of_the_other_protocol_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    sample().write(&source);
    let target = directory.path().join("b.img");
    let server = Server::start(ssync().args(["-daemon", "-port", "0"]).arg(target));
    let there = server.address.replace("0.0.0.0", "127.0.0.1");
    let sync = lacuna().arg("sync").arg(&source).arg(format!("lacuna://{there}/b.img")).output();
    let (_, err) = expect(&sync.unwrap(), 1);
    assert!(err.contains("speaks HTTP") && err.contains("ssync://"), "{err}");
    let many = serve(directory.path(), &[]);
    let sync = lacuna().arg("sync").arg(&source).arg(many.url()).output().unwrap();
    let (_, err) = expect(&sync, 1);
    assert!(err.contains("does not speak Longhorn's ssync protocol"), "{err}");
}

#[test]
fn a_server_of_one_image_speaks_both_protocols() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let server = Server::serve(&target);
    let refused = |from: &str, to: &str, words: &str| {
        let sync = lacuna().current_dir(directory.path()).args(["sync", from, to]).output();
        let (_, err) = expect(&sync.unwrap(), 1);
        assert!(err.contains(words) && !err.contains(directory.path().to_str().unwrap()), "{err}");
    };
    refused("a.img", &url(&server, "c.img"), "receives b.img and nothing else");
    refused(&url(&server, "b.img"), "c.img", "sends none");
    let sync = lacuna().arg("sync").arg(&source).arg(url(&server, "b.img")).output().unwrap();
    expect(&sync, 0);
    let (status, out, said) = server.wait();
    assert!(status.success(), "{said}");
    assert!(out.contains("b.img: ") && out.contains(" written"), "{out}");
    assert_eq!(kinds_of(&source), kinds_of(&target));
    assert_eq!(names(directory.path()), ["a.img", "b.img"]);
    let server = Server::serve(&target);
    let sync = lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap();
    expect(&sync, 0);
    assert!(server.wait().0.success());
    assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(&target).unwrap());
}

/// Longhorn's clients close what they could not open.
#[test]
fn who_cannot_have_the_one_image_does_not_end_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    Pattern::whole(vec![Block::Data(5); 2048]).write(&source);
    let server = Server::serve(&target);
    let mut push = lacuna();
    push.args(["sync", "--compress", "none", "--bwlimit", "4M"]).arg(&source);
    let mut push = push.arg(url(&server, "b.img")).spawn().unwrap();
    let part = directory.path().join(".b.img.lacuna-data");
    let begun = std::time::Instant::now();
    while !part.exists() || crate::common::allocated(&part) == 0 {
        assert!(begun.elapsed() < crate::common::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let close = "POST /v1-ssync/close?checksum=&checksumMethod= HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let open = "GET /v1-ssync/open?begin=0&end=8388608&directIO=false HTTP/1.1\r\nHost: x\r\n\r\n";
    for request in [open, close] {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 409");
    }
    assert!(push.wait().unwrap().success());
    let (status, out, said) = server.wait();
    assert!(status.success() && out.contains("b.img: 8.00 MiB written"), "{out}{said}");
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
}

/// Serves DIR at an address that is not loopback, where only this script is, and syncs to it.
const BEYOND: &str = r#"set -e
lacuna=$0 dir=$1
shift
ip link set lo up
ip address add 192.0.2.1/32 dev lo
"$lacuna" serve --insecure --token-file "$dir/token" --root "$dir/root" --listen 192.0.2.1:0 2>"$dir/log" &
trap "kill $!" EXIT
while ! port=$(grep -o "192.0.2.1:[0-9]*" "$dir/log"); do sleep 0.01; done
"$lacuna" sync --token-file "$dir/token" "$@" "$dir/a.img" "lacuna://$port/b.img"
"#;

#[test]
fn a_token_is_not_sent_where_it_can_be_read() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root for a network namespace");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    sample().write(&directory.path().join("a.img"));
    std::fs::write(directory.path().join("token"), "sesame\n").unwrap();
    std::fs::create_dir(directory.path().join("root")).unwrap();
    let sync = |more: &[&str]| {
        let mut script = Command::new("unshare");
        script.args(["-n", "bash", "-c", BEYOND]).arg(lacuna().get_program());
        script.arg(directory.path()).args(more).output().unwrap()
    };
    let (_, err) = expect(&sync(&[]), 1);
    assert!(err.contains("the token could be read on the way to 192.0.2.1:"), "{err}");
    assert!(err.contains("use lacunas://, or add --insecure"), "{err}");
    assert!(names(&directory.path().join("root")).is_empty());
    expect(&sync(&["--insecure"]), 0);
    assert_eq!(names(&directory.path().join("root")), ["b.img"]);
}

#[test]
fn what_the_target_cannot_show_of_the_kinds_is_told() {
    let Some(memory) = Mount::new(Fs::Tmpfs) else { return };
    let Some(disk) = Mount::new(Fs::Ext4) else { return };
    let source = disk.path().join("a.img");
    sample().write(&source);
    let server = serve(memory.path(), &[]);
    for target in [url(&server, "b.img"), memory.path().join("c.img").display().to_string()] {
        let sync = |more: &[&str]| {
            let words = [&["sync"], more].concat();
            expect(&lacuna().args(words).arg(&source).arg(&target).output().unwrap(), 0).0
        };
        let told = "does not show unwritten space: zero became data there\n";
        assert!(sync(&[]).ends_with(told));
        assert_eq!(json(&sync(&["--json"]))["target_layout_from"], "seek-hole");
    }
}
