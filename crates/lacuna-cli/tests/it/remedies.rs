//! What an error says that can be done about it.

use std::os::unix::fs::symlink;
use std::path::Path;

use lacuna::checksum_file::{self, ChecksumFile};
use lacuna::{Image, ImageOptions};
use lacuna_testing::mount::{Fs, Mount, MountOptions};
use lacuna_testing::pattern::{Block, Pattern};

use crate::common::{Server, aligned, expect, lacuna, names, sample};

#[test]
fn names_that_lead_nowhere_have_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sample().write(&path("a.img"));
    symlink("loop.img", path("loop.img")).unwrap();
    for (target, remedy) in [
        (path("a.img/b.img"), "a part of it is a file"),
        (path("loop.img"), "mend or remove the symbolic link"),
        (path(&"b".repeat(300)), "choose a shorter name"),
    ] {
        let output = lacuna().arg("sync").arg(path("a.img")).arg(&target).output().unwrap();
        let (_, err) = expect(&output, 1);
        assert!(err.contains("  what to do: ") && err.contains(remedy), "{err}");
    }
}

#[test]
fn addresses_that_cannot_be_listened_on_have_a_remedy() {
    let (directory, mut serve) = (tempfile::tempdir().unwrap(), lacuna());
    serve.current_dir(&directory);
    serve.args(["serve", "--insecure", "--listen", "192.0.2.1:0", "--once", "a.img"]);
    let (_, err) = expect(&serve.output().unwrap(), 1);
    assert!(err.contains("what to do: name an address of this machine"), "{err}");
}

#[test]
fn a_server_that_never_waits_is_wrong_usage() {
    let mut serve = lacuna();
    serve.args(["serve", "--idle-timeout", "0", "--once", "a.img"]);
    let (_, err) = expect(&serve.output().unwrap(), 2);
    assert!(err.contains("--idle-timeout"), "{err}");
}

/// Records a checksum for `image` that is fresh and wrong.
fn record_wrongly(image: &Path) {
    let opened = Image::open(image, &ImageOptions::default()).unwrap();
    let zone = jiff::tz::TimeZone::UTC;
    let change_time = checksum_file::change_time(&opened.stamp().unwrap(), &zone).unwrap();
    let recorded = ChecksumFile {
        method: "crc64".to_owned(),
        checksum: "0123456789abcdef".to_owned(),
        change_time,
        last_hashed_at: String::new(),
        silently_corrupted: false,
    };
    recorded.write(image).unwrap();
}

#[test]
fn a_wrong_checksum_fails_the_sync_and_says_how_to_do_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    record_wrongly(&source);
    let server = Server::serve(&target);
    let output = lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap();
    let (_, err) = expect(&output, 1);
    for words in ["0123456789abcdef", "hash the source again", ".checksum", "--no-fast"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert_eq!(server.wait().0.code(), Some(1));
    assert!(!target.exists());
    let server = Server::serve(&target);
    let mut sync = lacuna();
    sync.args(["sync", "--no-fast"]).arg(&source).arg(server.url());
    expect(&sync.output().unwrap(), 0);
    assert!(server.wait().0.success());
    assert!(std::fs::read(&target).unwrap() == aligned().bytes());
}

#[test]
fn what_is_wrong_at_the_server_is_to_be_mended_there() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("a.img"), directory.path().join("b.img"));
    aligned().write(&source);
    let server = Server::serve(&target);
    std::fs::create_dir(directory.path().join(".b.img.lacuna-data")).unwrap();
    let output = lacuna().arg("sync").arg(&source).arg(server.url()).output().unwrap();
    let (_, err) = expect(&output, 1);
    assert!(err.contains("mend this on the server, start it again"), "{err}");
}

#[test]
fn a_dry_run_says_when_space_is_short() {
    let options = MountOptions { size_mib: 64, ..MountOptions::default() };
    let Some(small) = Mount::with(Fs::Ext4, &options) else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(3); 20_000]).write(&source);
    let dry_run = |target: &Path| {
        let output = lacuna().args(["sync", "--dry-run"]).arg(&source).arg(target).output();
        expect(&output.unwrap(), 0).0
    };
    let out = dry_run(&small.path().join("b.img"));
    assert!(out.ends_with("are free: not enough\n"), "{out}");
    let out = dry_run(&directory.path().join("b.img"));
    assert!(out.ends_with("are free\n"), "{out}");
    assert_eq!(names(small.path()), ["lost+found"]);
}
