//! What `lacuna sync` says of mistakes and failures.

use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};

use crate::common::{Server, aligned, expect, json, lacuna, names, sample};

#[test]
fn mistakes_on_the_command_line_are_status_2() {
    for (args, words) in [
        (vec!["sync", "a.img"], "required"),
        (vec!["sync", "a.img", "host:"], "./"),
        (vec!["sync", "host:a.img", "host:b.img"], "must be a path on this machine"),
        (vec!["sync", "--token-file", "t", "a.img", "host:b.img"], "is for lacuna:// and"),
        (vec!["sync", "--tls-ca", "t", "a.img", "lacuna://host/b"], "is for lacunas:// only"),
        (vec!["sync", "--rsh", "ssh", "a.img", "lacuna://host/b"], "is for HOST:PATH only"),
        (vec!["sync", "--rsh", "'ssh", "a.img", "host:b"], "or a quote is not closed"),
        (vec!["sync", "ssync://host", "b.img"], "only be the target"),
        (vec!["sync", "--chmod", "600", "a.img", "ssync://host"], "for all but ssync:// targets"),
        (vec!["sync", "--no-fast", "a.img", "b.img"], "is for ssync:// targets"),
        (vec!["sync", "--reflink", "never", "a", "ssync://host"], "for paths on this machine"),
        (vec!["sync", "--reflink", "maybe", "a", "b"], "possible values: auto, always, never"),
        (vec!["sync", "a.img", "lacuna://host"], "a path is missing"),
        (vec!["sync", "lacuna://host/a", "lacuna://host/b"], "must be a path on this machine"),
        (vec!["sync", "--verify", "a.img", "b.img"], "is for HOST:PATH, lacuna:// and"),
        (vec!["sync", "--compare", "a.img", "b.img"], "--dry-run"),
        (vec!["sync", "--compare", "a.img", "lacuna://host/b"], "--dry-run"),
        (
            vec!["sync", "--dry-run", "--compare", "a", "ssync://host"],
            "for all but ssync:// targets",
        ),
        (vec!["sync", "--direct", "--buffered", "a", "b"], "cannot be used with"),
        (vec!["sync", "--chmod", "9", "a", "b"], "octal"),
        (vec!["sync", "--chmod", "4755", "a", "lacuna://host/b"], "no image more than 777"),
        (vec!["sync", "--chmod", "1000", "a", "host:b"], "no image more than 777"),
        (vec!["sync", "--compress", "zstd:20", "a", "host:b"], "zstd:1 to zstd:19"),
        (vec!["nothing"], "unrecognized"),
    ] {
        let output = lacuna().args(&args).output().unwrap();
        let (_, err) = expect(&output, 2);
        assert!(err.contains(words), "{args:?}: {err}");
    }
}

#[test]
fn failures_name_the_file_the_cause_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    aligned().write(directory.path().join("a.img").as_path());
    std::os::unix::fs::symlink("a.img", path("link.img")).unwrap();
    std::fs::hard_link(path("a.img"), path("hard.img")).unwrap();
    for (source, target, words) in [
        (path("none.img"), path("b.img"), vec!["none.img", "no such file or directory"]),
        (directory.path().display().to_string(), path("b.img"), vec!["directory"]),
        (path("a.img"), path("a.img"), vec!["same file"]),
        (path("a.img"), path("link.img"), vec!["same file"]),
        (path("hard.img"), path("a.img"), vec!["same file"]),
        (path("a.img"), path("no/b.img"), vec!["no such file or directory"]),
        (path("a.img"), "ssync://127.0.0.1:1".to_owned(), vec!["127.0.0.1:1", "refused"]),
    ] {
        let mut sync = lacuna();
        sync.args(["sync", &source, &target]);
        if target.starts_with("ssync:") {
            sync.args(["--connect-timeout", "1"]);
        }
        let (out, err) = expect(&sync.output().unwrap(), 1);
        for word in words.into_iter().chain(["what to do"]) {
            assert!(err.contains(word), "{source} {target}: {err}");
        }
        assert_eq!(out, "");
    }
    assert_eq!(std::fs::read(path("a.img")).unwrap(), aligned().bytes());
    assert_eq!(names(directory.path()), ["a.img", "hard.img", "link.img"]);
}

#[test]
fn an_error_is_an_object_with_json() {
    let output = lacuna().args(["sync", "--json", "/nowhere/a", "/nowhere/b"]).output().unwrap();
    let error = json(&expect(&output, 1).0);
    assert!(error["error"].as_str().unwrap().contains("/nowhere/a"));
    assert_eq!(error["remedy"], "check the path");
}

#[test]
fn quiet_says_nothing_but_errors() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let output = lacuna().args(["sync", "-q"]).args([&source, &target]).output().unwrap();
    assert_eq!(expect(&output, 0), (String::new(), String::new()));
}

#[test]
fn a_server_s_full_disk_is_told_to_the_sender() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(small) = Mount::with(Fs::Ext4, &options) else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(3); 20_000]).write(&source);
    let target = small.path().join("b.img");
    let server = Server::serve(&target);
    let output = lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(err.contains("no space left on device"), "{err}");
    assert!(err.contains("on the server"), "{err}");
    let (status, _, err) = server.wait();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(!target.exists());
}
