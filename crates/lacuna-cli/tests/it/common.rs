//! Running the commands.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use lacuna_testing::pattern::{Block, Pattern};
use rustix::process::{Pid, Signal, kill_process};

/// Wall-clock bound on what should take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn lacuna() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("lacuna"))
}

pub(crate) fn sfold() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("sfold"))
}

pub(crate) fn ssync() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("ssync"))
}

/// An image with all three kinds, a zero block of data, and a partial last block.
pub(crate) fn sample() -> Pattern {
    let mut blocks = vec![Block::Data(1); 40];
    blocks.extend([Block::Zero; 9]);
    blocks.extend([Block::Hole; 50]);
    blocks.extend([Block::Data(0), Block::DataLastByte, Block::Hole, Block::Data(7)]);
    let size = blocks.len() as u64 * 4096 - 1000;
    Pattern { blocks, size }
}

/// The same, of whole blocks.
pub(crate) fn aligned() -> Pattern {
    Pattern::whole(sample().blocks)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Fails the test with all that was said unless the command ended with `code`.
#[track_caller]
pub(crate) fn expect(output: &Output, code: i32) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    (out, err)
}

pub(crate) fn keys(object: &serde_json::Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[track_caller]
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Sends `signal` to what `command` runs as soon as that handles it and has `begun`, which is asked
/// with the number of the process; returns how it ended.
pub(crate) fn interrupt(
    command: &mut Command,
    signal: Signal,
    begun: impl Fn(u32) -> bool,
) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let start = Instant::now();
    let ready = |child: &Child| handles(child.id(), signal) && begun(child.id());
    while !ready(&child) && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "nothing begins");
        std::thread::sleep(Duration::from_micros(200));
    }
    if child.try_wait().unwrap().is_none() {
        kill_process(Pid::from_child(&child), signal).unwrap();
    }
    child.wait_with_output().unwrap()
}

/// Whether the process has a handler for `signal`; for SIGKILL there is none to wait for.
pub(crate) fn handles(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    signal == Signal::KILL || caught & (1 << (signal.as_raw() - 1)) != 0
}

/// Names in a directory, hidden ones included, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A server that is listening; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts `command`, which says `listening on ADDRESS`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let stderr = child.stderr.as_mut().unwrap();
        let mut said = String::new();
        BufReader::with_capacity(1, stderr).read_line(&mut said).unwrap();
        let address = said.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("said {said}")).to_owned();
        Self { child, address }
    }

    pub(crate) fn serve(file: &Path) -> Self {
        Self::start(lacuna().args(["serve", "--listen", "127.0.0.1:0", "--once"]).arg(file))
    }

    pub(crate) fn url(&self) -> String {
        format!("ssync://{}", self.address)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end, and returns what was said by then.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        use std::io::Read;
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap(), out, err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a file takes on the disk, in bytes.
pub(crate) fn allocated(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512
}
