//! A process of its own that does something to a chain, and is killed amid it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, getpid, kill_process};

use crate::chain::Operation;
use crate::points::Points;

/// Where the process finds what to do, and where to die.
const OPERATION: &str = "LACUNA_TEST_OPERATION";
const POINT: &str = "LACUNA_TEST_POINT";
const DIRECTORY: &str = "LACUNA_TEST_DIRECTORY";

/// Has this test binary, run again, do `operation` to the chain in `directory`, killed at the point with
/// this number. Whether it was done before: the steps that a filesystem makes necessary are not
/// always the same.
pub(crate) fn kill_at(number: usize, operation: Operation, directory: &Path) -> bool {
    let place = Operation::ALL.iter().position(|known| *known == operation).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::dies", "--ignored", "--nocapture"])
        .env(OPERATION, place.to_string())
        .env(POINT, number.to_string())
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed || status.success(), "{operation:?} at {number}: {status}");
    !killed
}

#[test]
#[ignore = "other tests run it, as a process of its own"]
fn dies() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let points = Points::take();
    points.at(number(POINT), || kill_process(getpid(), Signal::KILL).unwrap());
    Operation::ALL[number(OPERATION)].run(Path::new(&directory)).unwrap();
}
