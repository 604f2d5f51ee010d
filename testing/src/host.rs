//! What this machine lets a test do: its tools, its privileges, and how a test says that it did
//! not run.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::statvfs;

/// With this variable set to anything, nothing may be skipped.
const REQUIRE_ALL: &str = "LACUNA_TEST_REQUIRE_ALL";

/// In bytes: far more than the disks of all tests that run at once take, which are sparse.
const ROOM: u64 = 4 << 30;

/// `CAP_SYS_ADMIN`, from `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;

/// Says on standard error, past the capture of the test harness, that the running test leaves out
/// `what` because it needs `needs`.
///
/// # Panics
///
/// If the environment variable `LACUNA_TEST_REQUIRE_ALL` is set, so that a machine that is meant to
/// run everything cannot skip unnoticed.
pub fn skip(what: impl Display, needs: impl Display) {
    let required = std::env::var_os(REQUIRE_ALL).is_some_and(|value| !value.is_empty());
    assert!(!required, "{what} needs {needs}, and {REQUIRE_ALL} is set");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // In one call, so that the lines of parallel tests stay whole.
    let line = format!("skipped: {test}: {what} needs {needs}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Where the disks of tests are: in memory where there is room for them, so that no test waits for the
/// machine's own disk.
pub(crate) fn disks() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match statvfs(&memory) {
        Ok(found) if found.f_bavail * found.f_frsize >= ROOM => memory,
        _ => std::env::temp_dir(),
    }
}

/// Where a program is. The system directories count even when they are not in `PATH`.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Whether this process may mount.
pub(crate) fn may_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << CAP_SYS_ADMIN) != 0)
}

/// Runs a program and returns its standard output, or what it said when it failed.
pub(crate) fn run(
    name: &str,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<String, String> {
    let program = tool(name).ok_or_else(|| format!("{name} is not installed"))?;
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    arguments(&mut command);
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{stdout}{stderr}", output.status))
}
