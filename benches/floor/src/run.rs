//! A stopwatch for other programs that also watches their memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::panic;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::failure::{Failure, Result};

/// How often the memory is looked at for the first [`OFTEN`] times, and after that.
const FIRST: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(10);
const OFTEN: usize = 50;

/// `floor run`: seconds until the command has ended and the file named by `--fsync` is on the medium,
/// and the peak of its memory. The line goes to `--report`, or to standard error; the command keeps
/// standard output. Exits as the command did, with 128 and more after a signal.
pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    let command = args.after_dashes();
    let report = args.text("--report")?;
    let fsync = args.text("--fsync")?;
    let [] = args.operands()?;
    let Some((program, words)) = command.split_first() else {
        return Err(Failure::Usage("a command after -- is missing".to_owned()));
    };
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(words)
        .spawn()
        .map_err(|cause| Failure::file("start", Path::new(program), cause))?;
    let (ended, watched) = mpsc::channel();
    let pid = child.id();
    let watcher = thread::spawn(move || watch(pid, &watched));
    let status = child.wait().map_err(Failure::other("wait"))?;
    if let (Some(path), true) = (&fsync, status.success()) {
        let path = Path::new(path);
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(|cause| Failure::file("fsync", path, cause))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(ended);
    let rss_kib = watcher.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
    let line = format!("seconds={seconds:.4} max_rss_kib={rss_kib}");
    match report {
        None => eprintln!("{line}"),
        Some(path) => fs::write(&path, line + "\n")
            .map_err(|cause| Failure::file("write", Path::new(&path), cause))?,
    }
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let signal = || status.signal().map_or(1, |signal| 128 + signal);
    ExitCode::from(status.code().unwrap_or_else(signal) as u8)
}

/// Looks at a process and its descendants until the other end of the channel goes away. Answers the
/// sum of their peaks in KiB, which is too low by what they took in the last moment of their lives.
fn watch(pid: u32, ended: &Receiver<()>) -> u64 {
    let mut peaks = HashMap::new();
    let pauses = std::iter::repeat_n(FIRST, OFTEN).chain(std::iter::repeat(LATER));
    for pause in pauses {
        look(pid, &mut peaks);
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    peaks.values().sum()
}

/// Notes the peak of a process and of its descendants. One that has just ended has none any more.
fn look(pid: u32, peaks: &mut HashMap<u32, u64>) {
    if let Some(peak) = peak_kib(pid) {
        peaks.insert(pid, peak);
    }
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for task in tasks.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|word| word.parse().ok()) {
            look(child, peaks);
        }
    }
}

/// `VmHWM` of proc_pid_status(5).
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_kib(std::process::id()).is_some_and(|peak| peak > 100));
    }
}
