use std::path::Path;

use crate::common::{Server, aligned, expect, sample, ssync};

fn daemon(file: &Path, more: &[&str]) -> (Server, String) {
    let server = Server::start(ssync().args(["-daemon", "-port", "0"]).args(more).arg(file));
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    (server, port)
}

#[test]
fn both_ends_of_ssync_make_an_image_equal() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let (server, port) = daemon(&target, &[]);
    let output = ssync().args(["-host=localhost", "--port", &port]).arg(&source).output().unwrap();
    expect(&output, 0);
    let (status, _, err) = server.wait();
    assert!(status.success(), "{err}");
    assert!(err.contains("all interfaces"), "{err}");
    assert_eq!(std::fs::read(&target).unwrap(), aligned().bytes());
}

#[test]
fn an_odd_size_needs_buffered_io() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    sample().write(&source);
    let size = sample().size;
    let (server, port) = daemon(&target, &["-verbose"]);
    let output = ssync().args(["-port", &port]).arg(&source).output().unwrap();
    let (_, err) = expect(&output, 1);
    let words = format!("{}: invalid file size {size} for directIO", source.display());
    assert!(err.contains(&words) && err.contains("add -directIO=false"), "{err}");
    let output = ssync().args(["-directIO=false", "-port", &port]).arg(&source).output().unwrap();
    expect(&output, 0);
    assert!(server.wait().0.success());
    assert_eq!(std::fs::read(&target).unwrap(), sample().bytes());
}

#[test]
fn mistakes_have_go_s_words_and_status() {
    let (_, err) = expect(&ssync().arg("-nothing").output().unwrap(), 2);
    assert!(err.contains("flag provided but not defined: -nothing"), "{err}");
    assert!(err.contains("Usage of ssync:"), "{err}");
    let (_, err) = expect(&ssync().output().unwrap(), 1);
    assert!(err.contains("file path not provided"), "{err}");
    let (_, err) = expect(&ssync().arg("-help").output().unwrap(), 0);
    for flag in
        ["daemon", "directIO", "fastSync", "host", "httpRetry", "port", "timeout", "verbose"]
    {
        assert!(err.contains(&format!("  -{flag}")), "{flag}: {err}");
    }
}

#[test]
fn a_missing_source_has_the_system_s_words() {
    let (_, err) = expect(&ssync().arg("/nowhere/a.img").output().unwrap(), 1);
    assert!(err.contains("no such file or directory"), "{err}");
}
