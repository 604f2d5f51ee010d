//! A sync with `lacuna serve --root` of which either end is killed or stopped in the middle, and the one
//! after it.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lacuna_testing::pattern::{BLOCK, Block, Pattern, kinds_of};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{PATIENCE, Server, allocated, expect, interrupt, json, lacuna, names, text};

const MIB: u64 = 1 << 20;

/// Of the image, all of it data.
const SIZE: u64 = 32 * MIB;

/// Has arrived when an end is stopped, at the least.
const ARRIVED: u64 = 6 * MIB;

/// What is still to come takes seconds then.
const SLOW: [&str; 4] = ["--bwlimit", "4M", "--compress", "none"];

/// What may be under way to the disk when its writer is killed.
const UNDER_WAY: u64 = 2 * MIB;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Push,
    Pull,
}

/// An image on one side, and what it becomes on the other.
struct Place {
    root: PathBuf,
    source: PathBuf,
    target: PathBuf,
    way: Way,
    _directory: TempDir,
}

impl Place {
    fn new(way: Way) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [root, here] = ["root", "here"].map(|name| directory.path().join(name));
        for path in [&root, &here] {
            std::fs::create_dir(path).unwrap();
        }
        let (from, to) = if way == Way::Push { (&here, &root) } else { (&root, &here) };
        let (source, target) = (from.join("a.img"), to.join("b.img"));
        let blocks = (0..SIZE / BLOCK).map(|n| Block::Data((n % 250) as u8 + 1));
        Pattern::whole(blocks.collect()).write(&source);
        Self { root, source, target, way, _directory: directory }
    }

    fn serve(&self) -> Server {
        let words = ["serve", "--listen", "127.0.0.1:0", "--root"];
        Server::start(lacuna().args(words).arg(&self.root))
    }

    fn sync(&self, server: &Server, more: &[&str]) -> Command {
        self.sync_at(&server.address, more)
    }

    fn sync_at(&self, address: &str, more: &[&str]) -> Command {
        let mut sync = lacuna();
        sync.arg("sync").args(more);
        let there = |name: &str| format!("lacuna://{address}/{name}");
        match self.way {
            Way::Push => sync.arg(&self.source).arg(there("b.img")),
            Way::Pull => sync.arg(there("a.img")).arg(&self.target),
        };
        sync
    }

    /// An existing target that is nearly all hole.
    fn put_target(&self) {
        let hole = vec![Block::Hole; (SIZE / BLOCK) as usize - 3];
        Pattern::whole([vec![Block::Data(251); 3], hole].concat()).write(&self.target);
    }

    fn mark(&self) -> PathBuf {
        self.target.with_file_name(".b.img.lacuna-unfinished")
    }

    /// What has arrived, in bytes.
    fn arrived(&self) -> u64 {
        let part = self.target.with_file_name(".b.img.lacuna-data");
        let found = [&part, &self.target].into_iter().find(|path| path.exists());
        found.map_or(0, |path| allocated(path))
    }

    /// A slow session, once a part of the image has arrived.
    fn begun(&self, server: &Server) -> Child {
        self.begun_with(server, &[])
    }

    fn begun_with(&self, server: &Server, more: &[&str]) -> Child {
        let mut sync = self.sync(server, &[&SLOW, more].concat());
        let child = sync.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while self.arrived() < ARRIVED {
            assert!(begun.elapsed() < PATIENCE, "nothing arrives");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    /// The second time, what had `arrived` is not sent again.
    #[track_caller]
    fn complete(&self, server: &Server, arrived: u64) {
        let begun = Instant::now();
        let mut done = self.again(server);
        // The server may not have let go yet.
        while text(&done.stderr).contains("is in use") && begun.elapsed() < PATIENCE {
            done = self.again(server);
        }
        let report = json(&expect(&done, 0).0);
        let wire_bytes = report["wire_bytes"].as_u64().unwrap();
        assert!((ARRIVED..SIZE).contains(&arrived), "{arrived}");
        assert!(wire_bytes < SIZE - arrived + UNDER_WAY, "{arrived} had arrived: {report}");
        assert!(report["written_bytes"].as_u64() <= Some(SIZE - arrived + UNDER_WAY), "{report}");
        self.assert_complete(&report);
    }

    fn again(&self, server: &Server) -> Output {
        self.sync(server, &["--json", "--compress", "none"]).output().unwrap()
    }

    #[track_caller]
    fn assert_complete(&self, report: &Value) {
        assert!(std::fs::read(&self.source).unwrap() == std::fs::read(&self.target).unwrap());
        assert_eq!(kinds_of(&self.source), kinds_of(&self.target), "{report}");
        assert_eq!(names(directory_of(&self.source)), ["a.img"]);
        assert_eq!(names(directory_of(&self.target)), ["b.img"]);
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap()
}

#[test]
fn a_client_that_is_killed_amid_a_push_or_a_pull_sends_or_gets_the_rest_the_next_time() {
    for way in [Way::Push, Way::Pull] {
        let place = Place::new(way);
        let server = place.serve();
        let mut sync = place.sync(&server, &SLOW);
        let killed = interrupt(&mut sync, Signal::KILL, |_| place.arrived() >= ARRIVED);
        assert_eq!(killed.status.code(), None);
        let arrived = place.arrived();
        assert!(!place.target.exists());
        place.complete(&server, arrived);
    }
}

#[test]
fn a_server_that_is_killed_amid_a_push_gets_the_rest_when_it_is_there_again() {
    for existed in [false, true] {
        let place = Place::new(Way::Push);
        if existed {
            place.put_target();
        }
        let mut server = place.serve();
        let client = place.begun(&server);
        server.kill();
        let arrived = place.arrived();
        let (_, err) = expect(&client.wait_with_output().unwrap(), 1);
        assert!(err.contains("the connection was lost") && err.contains("goes on"), "{err}");
        assert_eq!((place.target.exists(), place.mark().exists()), (existed, existed));
        place.complete(&place.serve(), arrived);
    }
}

#[test]
fn a_server_that_is_stopped_amid_a_session_says_so_and_the_next_one_completes_it() {
    for way in [Way::Push, Way::Pull] {
        let place = Place::new(way);
        let server = place.serve();
        let client = place.begun(&server);
        server.signal(Signal::TERM);
        let (status, _, said) = server.wait();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.contains("b.img: session with") || said.contains("a.img: session with"));
        let (_, err) = expect(&client.wait_with_output().unwrap(), 1);
        assert!(err.contains("the other end stopped: stopped by a signal"), "{err}");
        assert!(err.contains("run the same command again"), "{err}");
        let arrived = place.arrived();
        assert!(!place.target.exists());
        place.complete(&place.serve(), arrived);
    }
}

#[test]
fn without_resuming_what_an_interrupted_session_left_is_sent_and_written_again() {
    for way in [Way::Push, Way::Pull] {
        let place = Place::new(way);
        let server = place.serve();
        let mut sync = place.sync(&server, &SLOW);
        interrupt(&mut sync, Signal::KILL, |_| place.arrived() >= ARRIVED);
        let told = |more: &[&str]| {
            let begun = Instant::now();
            loop {
                let more = [&["--json", "--no-resume"], more].concat();
                let output = place.sync(&server, &more).output().unwrap();
                // The server may not have let go yet.
                if !text(&output.stderr).contains("is in use") || begun.elapsed() > PATIENCE {
                    return json(&expect(&output, 0).0);
                }
            }
        };
        for planned in [told(&["--dry-run"]), told(&["--dry-run", "--compare"])] {
            assert_eq!(planned["compared_bytes"], 0);
            assert_eq!(planned["needed_bytes"], SIZE);
        }
        assert!(place.arrived() >= ARRIVED);
        let report = told(&[]);
        assert_eq!(
            (&report["compared_bytes"], &report["written_bytes"]),
            (&0.into(), &SIZE.into())
        );
        place.assert_complete(&report);
        // What has a name is compared.
        let again = told(&[]);
        assert_eq!((&again["compared_bytes"], &again["written_bytes"]), (&SIZE.into(), &0.into()));
    }
}

/// On the way to `server`: the first connection is cut once so many bytes have passed one way.
fn cut_once(server: &str, bytes: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, server) = (listener.local_addr().unwrap().to_string(), server.to_owned());
    std::thread::spawn(move || {
        for most in [bytes, u64::MAX] {
            let client = listener.accept().unwrap().0;
            let upstream = TcpStream::connect(&server).unwrap();
            std::thread::scope(|scope| {
                for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                    scope.spawn(move || {
                        let _ = std::io::copy(&mut from.take(most), &mut &*to);
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            });
        }
    });
    address
}

#[test]
fn without_resuming_a_further_try_goes_on_with_what_the_one_before_brought() {
    for way in [Way::Push, Way::Pull] {
        let place = Place::new(way);
        let server = place.serve();
        std::fs::write(place.target.with_file_name(".b.img.lacuna-data"), [251; 4096]).unwrap();
        let address = cut_once(&server.address, SIZE / 2);
        let options = ["--no-resume", "--retries", "5", "--json", "--compress", "none"];
        let report = json(&expect(&place.sync_at(&address, &options).output().unwrap(), 0).0);
        assert!(report["compared_bytes"].as_u64() > Some(0), "{report}");
        assert!(report["written_bytes"].as_u64() < Some(SIZE), "{report}");
        place.assert_complete(&report);
    }
}

/// A server that hangs up on so many clients once they have said hello.
fn hanging_up(clients: usize) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        for _ in 0..clients {
            let mut client = listener.accept().unwrap().0;
            client.read_exact(&mut [0; 10]).unwrap();
        }
    });
    (address, thread)
}

#[test]
fn each_try_says_why_the_one_before_failed_and_the_last_how_many_there_were() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.img");
    Pattern::whole(vec![Block::Data(1); 4]).write(&source);
    let (address, server) = hanging_up(3);
    let mut sync = lacuna();
    sync.args(["sync", "--retries", "2"]).arg(&source).arg(format!("lacuna://{address}/b.img"));
    let (_, err) = expect(&sync.output().unwrap(), 1);
    server.join().unwrap();
    let lines: Vec<_> = err.lines().collect();
    let lost = format!("sync with {address}: the connection was lost: ");
    assert!(lines[0].contains(&lost) && lines[0].ends_with("; try 2 of 3 in 1 s"), "{err}");
    assert!(lines[1].contains(&lost) && lines[1].ends_with("; try 3 of 3 in 2 s"), "{err}");
    assert!(lines[2].contains("b.img: given up after 3 tries: the connection was lost: "), "{err}");
    assert!(lines[3].contains("run the same command again"), "{err}");
}

#[test]
fn what_is_kept_is_told_before_each_try_and_at_the_end() {
    for way in [Way::Push, Way::Pull] {
        let place = Place::new(way);
        let mut server = place.serve();
        let client = place.begun_with(&server, &["--retries", "1"]);
        server.kill();
        let (_, err) = expect(&client.wait_with_output().unwrap(), 1);
        let kept = match way {
            Way::Push => "what has arrived there is not sent again".to_owned(),
            Way::Pull => {
                let part = place.target.with_file_name(".b.img.lacuna-data");
                format!("what arrived is kept in {}", part.display())
            }
        };
        assert!(err.contains(&format!("; {kept}; try 2 of 2 in 1 s\n")), "{err}");
        assert!(err.contains("given up after 2 tries: cannot connect to 127.0.0.1:"), "{err}");
        assert_eq!(err.matches(&kept).count(), if way == Way::Pull { 2 } else { 1 }, "{err}");
    }
}
