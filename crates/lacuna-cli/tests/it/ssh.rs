//! `HOST:PATH`: by a command that stands for ssh, and by ssh itself.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lacuna_testing::pattern::kinds_of;
use lacuna_testing::{skip, tool};
use tempfile::TempDir;

use crate::common::{expect, json, lacuna, names, sample};

/// A directory with a source, and a command that is called like ssh and does `script` with the rest.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(script: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        sample().write(&place.path("a.img"));
        let file = place.path("rsh");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn sync(&self, source: &str, target: &str, more: &[&str]) -> Output {
        let there = assert_cmd::cargo::cargo_bin!("lacuna");
        self.sync_by(there.to_str().unwrap(), source, target, more)
    }

    /// With another command at the other end.
    fn sync_by(&self, command: &str, source: &str, target: &str, more: &[&str]) -> Output {
        let mut sync = lacuna();
        sync.current_dir(self.directory.path()).args(["sync", "-e", "./rsh"]);
        sync.args(["--remote-command", command]);
        sync.args(["--compress", "none"]).args(more).args([source, target]).output().unwrap()
    }

    /// A sync of the source fails with `words`.
    fn assert_fails(&self, words: &[&str]) {
        let (_, err) = expect(&self.sync("a.img", "me@node:b.img", &[]), 1);
        assert!(words.iter().all(|word| err.contains(word)), "{err}");
        assert!(!self.path("b.img").exists());
    }
}

fn same(a: &Path, b: &Path) {
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
    assert_eq!(kinds_of(a), kinds_of(b));
}

#[test]
fn an_image_goes_there_and_back_through_the_pipes_of_a_command() {
    let place = Place::new("echo \"$1\" > host; shift; exec sh -c \"$*\"");
    std::fs::create_dir(place.path("sub")).unwrap();
    let pushed = expect(&place.sync("a.img", "me@node:sub/b.img", &["--json"]), 0).0;
    same(&place.path("a.img"), &place.path("sub/b.img"));
    assert_eq!(std::fs::read_to_string(place.path("host")).unwrap(), "me@node\n");
    let there = format!("node:{}", place.path("sub/b.img").display());
    let pulled = expect(&place.sync(&there, "c.img", &["--json"]), 0).0;
    same(&place.path("a.img"), &place.path("c.img"));
    let (pushed, pulled) = (json(&pushed), json(&pulled));
    assert_eq!(pushed["receipt"], pulled["receipt"]);
    assert!(pushed["wire_bytes"].as_u64() > Some(0), "{pushed}");
    assert_eq!(names(&place.path("sub")), ["b.img"]);
}

#[test]
fn what_the_other_machine_lacks_or_says_is_told() {
    let place = Place::new("shift; exec sh -c \"lacuna-that-is-not-there $*\"");
    place.assert_fails(&["me@node has no lacuna", "--remote-command"]);
    let place = Place::new("echo cannot resolve >&2; exit 255");
    place.assert_fails(&["./rsh to me@node ended with", "255", "cannot resolve"]);
    let place =
        Place::new("echo Welcome to node, the finest of its kind; shift; exec sh -c \"$*\"");
    place.assert_fails(&["something else than lacuna's first words", "must be silent"]);
    let place = Place::new("shift; exec sh -c \"$*\"");
    let (_, err) = expect(&place.sync("node:none.img", "b.img", &[]), 1);
    assert!(err.contains("none.img") && err.contains("no such file"), "{err}");
    let (_, err) = expect(&place.sync("node:.a.img.lacuna-data", "b.img", &[]), 1);
    assert!(err.contains("keeps for itself"), "{err}");
    std::fs::remove_file(place.path("rsh")).unwrap();
    place.assert_fails(&["cannot run ./rsh", "no such file"]);
}

#[test]
fn a_command_that_dies_in_the_middle_is_a_lost_connection_that_names_it() {
    let place = Place::new("shift; dd bs=4096 count=9 status=none | sh -c \"$*\"; exit 255");
    place.assert_fails(&["./rsh to me@node ended with", "255"]);
}

#[test]
fn standard_input_that_is_no_client_is_said() {
    let mut serve = lacuna();
    serve.args(["serve", "--stdio"]).stdin(Stdio::null());
    let (_, err) = expect(&serve.output().unwrap(), 1);
    assert!(err.contains("not connected to a client") && err.contains("by ssh"), "{err}");
}

#[test]
fn a_host_that_ssh_would_take_for_an_option_is_refused() {
    let place = Place::new("touch ran");
    let output = place.sync("a.img", "-oProxyCommand=x:b.img", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!place.path("ran").exists());
}

/// Makes a key that opens `sshd`, and its configuration.
fn configure(place: &Place) -> Option<()> {
    let keygen = tool("ssh-keygen")?;
    for key in ["host_key", "key"] {
        let mut command = Command::new(&keygen);
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.path(key));
        assert!(command.status().unwrap().success());
    }
    let authorized = place.path("authorized_keys");
    std::fs::copy(place.path("key.pub"), &authorized).unwrap();
    let host_key = place.path("host_key");
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\n",
        host_key.display(),
        authorized.display()
    );
    std::fs::write(place.path("sshd_config"), config).unwrap();
    Some(())
}

/// Starts an sshd for each of `connections` calls, as inetd would.
fn serve_ssh(place: &Place, connections: usize) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sshd, config) = (tool("sshd").unwrap(), place.path("sshd_config"));
    let thread = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let (input, output) = (stream.try_clone().unwrap(), stream);
            let mut sshd = Command::new(&sshd);
            sshd.args(["-i", "-e", "-f"]).arg(&config).stderr(Stdio::null());
            sshd.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(output));
            // How it ended, its client tells.
            let _ = sshd.status().unwrap();
        }
    });
    (port, thread)
}

/// A place that an sshd serves for so many calls, if there is one.
fn with_ssh(connections: usize) -> Option<(Place, std::thread::JoinHandle<()>)> {
    let place = Place::new("");
    if tool("sshd").is_none() || tool("ssh").is_none() || !rustix::process::geteuid().is_root() {
        skip("a sync by ssh", "sshd and ssh (packages openssh-server, openssh-client), and root");
        return None;
    }
    // Where sshd locks its unprivileged part up.
    std::fs::create_dir_all("/run/sshd").unwrap();
    configure(&place)?;
    let (port, server) = serve_ssh(&place, connections);
    let rsh = format!(
        "exec ssh -F /dev/null -p {port} -i {} -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes \"$@\"",
        place.path("key").display()
    );
    std::fs::write(place.path("rsh"), format!("#!/bin/sh\n{rsh}\n")).unwrap();
    Some((place, server))
}

#[test]
fn an_image_goes_there_and_back_by_ssh() {
    let Some((place, server)) = with_ssh(3) else { return };
    let there = format!("root@127.0.0.1:{}", place.path("b.img").display());
    expect(&place.sync("a.img", &there, &[]), 0);
    same(&place.path("a.img"), &place.path("b.img"));
    expect(&place.sync(&there, "c.img", &["--verify"]), 0);
    same(&place.path("a.img"), &place.path("c.img"));
    let lacking = place.sync_by("lacuna-that-is-not-there", "a.img", &there, &[]);
    let (_, err) = expect(&lacking, 1);
    assert!(err.contains("127.0.0.1 has no lacuna"), "{err}");
    server.join().unwrap();
}

#[test]
fn a_key_with_a_forced_command_opens_one_directory_whatever_it_asks_for() {
    let Some((place, server)) = with_ssh(5) else { return };
    std::fs::create_dir_all(place.path("root/sub")).unwrap();
    let key = std::fs::read_to_string(place.path("key.pub")).unwrap();
    let (lacuna, root) = (assert_cmd::cargo::cargo_bin!("lacuna"), place.path("root"));
    let command = format!("{} serve --stdio --root {}", lacuna.display(), root.display());
    std::fs::write(place.path("authorized_keys"), format!("command=\"{command}\",restrict {key}"))
        .unwrap();
    expect(&place.sync("a.img", "root@127.0.0.1:sub/b.img", &[]), 0);
    same(&place.path("a.img"), &place.path("root/sub/b.img"));
    // The same image, and another command.
    let ran = format!("touch {} #", place.path("ran").display());
    expect(&place.sync_by(&ran, "root@127.0.0.1:/sub/b.img", "c.img", &[]), 0);
    same(&place.path("a.img"), &place.path("c.img"));
    assert!(!place.path("ran").exists());
    for outside in [&*format!("{}", place.path("a.img").display()), "../a.img"] {
        let (_, err) = expect(&place.sync(&format!("root@127.0.0.1:{outside}"), "d.img", &[]), 1);
        assert!(err.contains("leads out") || err.contains("no such file"), "{outside}: {err}");
    }
    let (_, err) = expect(&place.sync("a.img", "root@127.0.0.1:../d.img", &[]), 1);
    assert!(err.contains("leads out"), "{err}");
    assert_eq!(names(&root), ["sub"]);
    server.join().unwrap();
}
