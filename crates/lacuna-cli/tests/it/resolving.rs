//! Names of hosts for which nobody has an address.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use crate::common::{expect, interrupt, lacuna, sample};

/// Somebody at `address`, of this machine, who is asked for names and says nothing; `None` where that
/// cannot be had.
fn silent_name_server(address: &str) -> Option<UdpSocket> {
    let can_be = geteuid().is_root() && Path::new("/etc/resolv.conf").exists();
    if !can_be {
        eprintln!("skipped: needs root and /etc/resolv.conf");
        return None;
    }
    let server = UdpSocket::bind((address, 53));
    server.inspect_err(|error| eprintln!("skipped: no port 53 of {address}: {error}")).ok()
}

/// Runs the rest of its arguments where `$0` is resolv.conf, and `$1` says that it counts.
const WITH_CONF: &str = r#"
mount --bind "$0" /etc/resolv.conf || exit
if [ -e /etc/nsswitch.conf ]; then mount --bind "$1" /etc/nsswitch.conf || exit; fi
shift
exec "$@"
"#;

/// `lacuna sync` where names are asked for at `server` alone, for minutes.
fn sync(directory: &Path, server: &UdpSocket, more: &[&str]) -> Command {
    let [source, resolv, nsswitch] =
        ["a.img", "resolv.conf", "nsswitch.conf"].map(|name| directory.join(name));
    sample().write(&source);
    let server = server.local_addr().unwrap().ip();
    let text = format!("nameserver {server}\noptions timeout:30 attempts:5\n");
    std::fs::write(&resolv, text).unwrap();
    std::fs::write(&nsswitch, "hosts: dns\n").unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", WITH_CONF]);
    command.args([resolv, nsswitch]);
    let sync = lacuna();
    command.args([sync.get_program(), OsStr::new("sync"), source.as_os_str()]).args(more);
    command
}

const TARGETS: [&str; 2] = ["lacuna://nowhere.example:1/b.img", "ssync://nowhere.example:1"];

#[test]
fn a_name_that_nobody_answers_for_is_waited_for_as_long_as_a_connection() {
    let Some(server) = silent_name_server("127.77.0.1") else { return };
    let directory = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let begun = Instant::now();
        let mut sync = sync(directory.path(), &server, &["--connect-timeout", "1", target]);
        let (_, err) = expect(&sync.output().unwrap(), 1);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let words = "cannot find the address of nowhere.example:1: no answer within";
        assert!(err.contains(words) && err.contains("what to do: check the name"), "{err}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_name() {
    let Some(server) = silent_name_server("127.77.0.2") else { return };
    server.set_nonblocking(true).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let begun = Instant::now();
        let mut sync = sync(directory.path(), &server, &["--connect-timeout", "60", target]);
        let is_asked = || server.recv(&mut [0; 512]).is_ok();
        // By the one before.
        while is_asked() {}
        let output = interrupt(&mut sync, Signal::INT, |_| is_asked());
        let (_, err) = expect(&output, 1);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(err.contains("stopped by a signal"), "{err}");
    }
}
