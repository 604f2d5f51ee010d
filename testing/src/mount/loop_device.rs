//! Loop devices: a file as a block device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, makedev, mknodat};
use tempfile::NamedTempFile;

use crate::host::{disks, may_mount, run, skip};

/// How many device nodes to make where `/dev` does not fill itself, as in a container.
const NODES: u32 = 32;

/// The major number of loop devices, from `linux/major.h`.
const LOOP_MAJOR: u32 = 7;

/// A block device over a sparse temporary file.
///
/// It stays attached as long as this value holds it open: when the process dies, however it dies,
/// the kernel detaches it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    held: Option<File>,
    disk: NamedTempFile,
}

impl LoopDevice {
    /// Attaches a device that reads as `size_bytes` zeros. `size_bytes` is a multiple of 512.
    ///
    /// `None`, said with [`skip`], where this process may not.
    ///
    /// # Panics
    ///
    /// If `losetup` refuses.
    pub fn new(size_bytes: u64) -> Option<Self> {
        if !may_mount() || !Path::new("/dev/loop-control").exists() {
            skip("a loop device", "root and /dev/loop-control");
            return None;
        }
        assert!(size_bytes.is_multiple_of(512), "{size_bytes} bytes are not whole sectors");
        let disk = tempfile::Builder::new().prefix("lacuna-loop-").tempfile_in(disks());
        let disk = disk.expect("make a temporary file");
        disk.as_file().set_len(size_bytes).expect("size the temporary file");
        let (path, held) = retry(|| attach(disk.path()))
            .unwrap_or_else(|error| panic!("attach a loop device: {error}"));
        Some(Self { path, held: Some(held), disk })
    }

    /// The device node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.held = None;
        if let Ok(disk) = self.disk.path().canonicalize() {
            await_detached(&disk, Duration::from_secs(2));
        }
    }
}

fn attach(disk: &Path) -> Result<(PathBuf, File), String> {
    let output = run("losetup", |command| command.args(["--find", "--show", "--"]).arg(disk))?;
    let path = PathBuf::from(output.trim());
    let held = File::open(&path);
    // Detaching a device that is open makes it go with its last user. One that could not be opened
    // goes now.
    run("losetup", |command| command.arg("--detach").arg(&path))?;
    let held = held.map_err(|error| format!("open {}: {error}", path.display()))?;
    Ok((path, held))
}

/// Retries what attaches a loop device: another process may take the free one first, and its node
/// may be missing.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    for pause_ms in [20, 50, 100, 200, 400] {
        match attempt() {
            Err(error) if error.contains("loop") => make_nodes(),
            result => return result,
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    attempt()
}

/// Makes the nodes that are missing, or leaves it to the next attempt to say why it fails.
fn make_nodes() {
    for number in 0..NODES {
        let node = format!("/dev/loop{number}");
        if !Path::new(&node).exists() {
            let mode = Mode::RUSR | Mode::WUSR;
            let device = makedev(LOOP_MAJOR, number);
            let _ = mknodat(rustix::fs::CWD, &node, FileType::BlockDevice, mode, device);
        }
    }
}

/// The device that is attached to a file, by its resolved path.
pub(super) fn attached_to(disk: &Path) -> Option<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").ok()?.flatten();
    devices
        .filter(|device| {
            let backing = std::fs::read_to_string(device.path().join("loop/backing_file"));
            backing.is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == disk)
        })
        .map(|device| Path::new("/dev").join(device.file_name()))
        .next()
}

/// Whether no device is attached to a file, now or within some time.
pub(super) fn await_detached(disk: &Path, patience: Duration) -> bool {
    let start = Instant::now();
    while attached_to(disk).is_some() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_loop_device_has_its_size_and_is_gone_after_its_drop() {
        let Some(device) = LoopDevice::new(3 << 20) else {
            return;
        };
        let file = File::options().read(true).write(true).open(device.path()).unwrap();
        assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).unwrap(), 3 << 20);
        file.write_all_at(&[7; 4096], 4096).unwrap();
        drop(file);
        let disk = device.disk.path().canonicalize().unwrap();
        assert_eq!(attached_to(&disk).as_deref(), Some(device.path()));
        drop(device);
        assert_eq!(attached_to(&disk), None);
        assert!(!disk.exists());
    }

    #[test]
    fn more_loop_devices_than_the_kernel_starts_with() {
        let devices: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..20).map(|_| scope.spawn(|| LoopDevice::new(1 << 20))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        let mut paths: Vec<_> = devices.iter().map(LoopDevice::path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), devices.len());
    }
}
