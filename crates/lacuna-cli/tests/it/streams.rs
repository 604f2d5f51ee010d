//! What is said, where, and what happens when nobody takes it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::common::{aligned, expect, lacuna, sample, ssync, text};

/// A place that takes nothing.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[track_caller]
fn ends_with(mut command: Command, code: i32) {
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(code), "{command:?}");
}

fn with(mut command: Command, words: &[&str]) -> Command {
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn words_that_nobody_takes_change_no_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("new.img").display().to_string();
    let sync = ["--json", "sync", "/nowhere/a.img", "/nowhere/b.img"];
    let serve = ["serve", "--once", &image, "--listen", "127.0.0.1:0", "--idle-timeout", "1"];
    for stream in [full, closed] {
        for (command, words, code) in [
            (lacuna(), sync.as_slice(), 1),
            (lacuna(), serve.as_slice(), 1),
            (lacuna(), &["sync", "--json"], 2),
            (lacuna(), &["--help"], 0),
            (ssync(), &["/nowhere/a.img"], 1),
            (ssync(), &["-nothing"], 2),
            (ssync(), &["-help"], 0),
        ] {
            let mut command = with(command, words);
            command.stdout(stream()).stderr(stream());
            ends_with(command, code);
        }
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let words = "cannot write to standard output: no space left on device";
    for map in [["map"].as_slice(), &["map", "--extents"], &["map", "--json", "--extents"]] {
        let output = lacuna().args(map).arg(&source).stdout(full()).output().unwrap();
        let (_, err) = expect(&output, 1);
        assert!(err.contains(words) && err.contains("what to do"), "{err}");
    }
    let output = lacuna().arg("sync").args([&source, &target]).stdout(full()).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(err.contains(&format!("{words}; {} is complete", target.display())), "{err}");
    assert!(std::fs::read(&source).unwrap() == std::fs::read(&target).unwrap());
}

#[test]
fn an_error_and_its_remedy_are_written_at_once() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut command = lacuna();
    command.args(["map", "/nowhere/a.img"]).stderr(OwnedFd::from(theirs));
    ends_with(command, 1);
    let mut message = vec![0; 4096];
    let length = ours.recv(&mut message).unwrap();
    let err = text(&message[..length]);
    assert!(err.starts_with("lacuna: ") && err.ends_with("what to do: check the path\n"), "{err}");
}

#[test]
fn control_characters_of_a_name_are_shown_and_not_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (source, target) = (path("a\n\x1b[2J.img"), path("b\u{9b}\n.img"));
    let output = lacuna().arg("sync").args([&source, &target]).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(err.contains("a\\n\\u{1b}[2J.img"), "{err}");
    assert_eq!(err.lines().count(), 2, "{err}");
    sample().write(&source);
    let output = lacuna().arg("sync").args([&source, &target]).output().unwrap();
    let (out, _) = expect(&output, 0);
    assert!(out.contains("b\\u{9b}\\n.img") && out.lines().count() == 2, "{out}");
    let (out, _) = expect(&lacuna().arg("map").arg(&source).output().unwrap(), 0);
    assert!(out.contains("a\\n\\u{1b}[2J.img: ") && !out.contains('\x1b'), "{out}");
    let (out, _) = expect(&lacuna().args(["map", "--json"]).arg(&source).output().unwrap(), 0);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["image"], source.to_str().unwrap());
}

#[test]
fn wrong_usage_is_an_object_with_json() {
    for words in [["sync", "--json"].as_slice(), &["--json", "map", "-q", "-v", "x"]] {
        let (out, err) = expect(&lacuna().args(words).output().unwrap(), 2);
        let object: serde_json::Value = serde_json::from_str(&out).unwrap();
        let error = object["error"].as_str().unwrap();
        assert!(!error.contains('\n') && !error.starts_with("error"), "{error}");
        assert!(object["remedy"].as_str().unwrap().contains("--help"), "{object}");
        assert!(err.contains("Usage: "), "{err}");
    }
    let (out, _) = expect(&lacuna().args(["sync", "--json", "--help"]).output().unwrap(), 0);
    assert!(out.contains("Usage: lacuna sync"), "{out}");
}

#[test]
fn quiet_and_verbose_exclude_each_other_wherever_they_stand() {
    for words in [["-q", "-v", "map", "x"], ["-q", "map", "-v", "x"], ["-v", "map", "x", "-q"]] {
        let (_, err) = expect(&lacuna().args(words).output().unwrap(), 2);
        assert!(err.contains("'--quiet' cannot be used with '--verbose...'"), "{err}");
    }
}

#[test]
fn progress_for_programs_has_a_beginning_and_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let mut sync = lacuna();
    sync.args(["sync", "--progress=json"]).args([&source, &target]);
    let (_, err) = expect(&sync.output().unwrap(), 0);
    let lines: Vec<serde_json::Value> =
        err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2, "{err}");
    assert!(lines.last().unwrap()["written_bytes"].as_u64() > Some(0), "{err}");
}

#[test]
fn as_long_as_nobody_answers_that_is_the_progress() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    sample().write(&source);
    let mut sync = lacuna();
    sync.args(["sync", "--connect-timeout", "2"]).arg(&source).arg("ssync://127.0.0.1:1");
    let (_, err) = expect(&sync.output().unwrap(), 1);
    assert!(err.starts_with("waiting for 127.0.0.1:1\n"), "{err}");
    assert!(err.contains("the server is running (lacuna serve)"), "{err}");
}
