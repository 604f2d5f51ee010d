//! Running the commands.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use lacuna_testing::pattern::{Block, Pattern};

/// Wall-clock bound on what should take milliseconds.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

pub(crate) fn lacuna() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("lacuna"))
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
    child: Child,
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
