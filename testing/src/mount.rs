//! Filesystems for a test: made, mounted, deprived of power, mounted again, and gone when dropped.

mod fs;
mod loop_device;
mod power;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use self::fs::Fs;
pub use self::loop_device::LoopDevice;
use crate::host::{disks, run, skip};

/// How long to wait for open files to be closed before a filesystem counts as busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to make and mount a filesystem.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Size of the disk in MiB, raised to the least that the filesystem takes. The default is 256.
    pub size_mib: u64,
    /// More arguments for `mkfs`. The last one wins, so `-b 1024` replaces the default of 4096.
    pub mkfs: Vec<String>,
    /// Mount options, one an element.
    pub mount: Vec<String>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { size_mib: 256, mkfs: Vec::new(), mount: Vec::new() }
    }
}

/// A mounted filesystem on a sparse file in a temporary directory, by way of a loop device. A tmpfs
/// has no disk and is just mounted.
///
/// The loop device belongs to the mount: when the last mount namespace that holds it dies, the
/// kernel detaches it.
#[derive(Debug)]
pub struct Mount {
    fs: Fs,
    options: String,
    disk: PathBuf,
    point: PathBuf,
    // Dropped after unmounting.
    _directory: TempDir,
}

impl Mount {
    /// Makes and mounts a filesystem with the default options.
    ///
    /// `None`, said with [`skip`], where this process may not mount or something is not installed.
    pub fn new(fs: Fs) -> Option<Self> {
        Self::with(fs, &MountOptions::default())
    }

    /// Makes and mounts a filesystem. `None` as for [`Mount::new`].
    ///
    /// # Panics
    ///
    /// If `mkfs` or `mount` refuses.
    pub fn with(fs: Fs, options: &MountOptions) -> Option<Self> {
        if let Some(needs) = fs.lacks() {
            skip(fs, needs);
            return None;
        }
        // scripts/test.sh knows these mounts by their name.
        let directory = tempfile::Builder::new().prefix("lacuna-mount-").tempdir_in(disks());
        let directory = directory.expect("make a temporary directory");
        let root = directory.path().canonicalize().expect("resolve the temporary directory");
        let mount = Self {
            fs,
            options: fs.mount_options(options),
            disk: root.join("disk"),
            point: root.join("mnt"),
            _directory: directory,
        };
        std::fs::create_dir(&mount.point).expect("make a mount point");
        fs.make(&mount.disk, options);
        match mount.attach() {
            Ok(()) => Some(mount),
            Err(error) if error.contains("unknown filesystem type") => {
                skip(fs, "support in the kernel");
                None
            }
            Err(error) => panic!("mount a {fs}: {error}"),
        }
    }

    /// Mounts the filesystem that `image` holds, for reading only.
    ///
    /// # Panics
    ///
    /// If it holds none.
    pub fn of_image(fs: Fs, image: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("lacuna-mount-").tempdir_in(disks());
        let directory = directory.expect("make a temporary directory");
        let root = directory.path().canonicalize().expect("resolve the temporary directory");
        let (disk, point) = (image.to_owned(), root.join("mnt"));
        std::fs::create_dir(&point).expect("make a mount point");
        let mount = Self { fs, options: "loop,ro".to_owned(), disk, point, _directory: directory };
        mount.attach().unwrap_or_else(|error| panic!("mount {}: {error}", image.display()));
        mount
    }

    /// Hands the disk to `look` while nothing is written and the filesystem is whole on it.
    ///
    /// # Panics
    ///
    /// If the filesystem cannot be frozen.
    pub fn frozen<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        struct Thaw<'a>(&'a Path);
        impl Drop for Thaw<'_> {
            fn drop(&mut self) {
                let thawed = run("fsfreeze", |command| command.arg("-u").arg(self.0));
                assert!(thawed.is_ok() || std::thread::panicking(), "{thawed:?}");
            }
        }
        let frozen = run("fsfreeze", |command| command.arg("-f").arg(&self.point));
        frozen.unwrap_or_else(|error| panic!("freeze a {}: {error}", self.fs));
        let _thaw = Thaw(&self.point);
        look(&self.disk)
    }

    /// The root of the mounted filesystem.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Which filesystem this is.
    pub fn fs(&self) -> Fs {
        self.fs
    }

    /// The power goes: nothing reaches the disk from here on, and what had not reached it is lost at
    /// the next [`Mount::remount`].
    ///
    /// ext4 and XFS fail every later operation at once. btrfs notices when it next writes to the
    /// disk, at the latest at an fsync.
    ///
    /// # Panics
    ///
    /// On a tmpfs, which has no disk.
    pub fn cut_power(&self) {
        self.power_cutter()();
    }

    /// [`Mount::cut_power`] for a callback, from whatever thread, whatever files are open. A second
    /// call does nothing.
    pub fn power_cutter(&self) -> impl Fn() + Send + Sync + 'static {
        let (fs, disk, point) = (self.fs, self.disk.clone(), self.point.clone());
        move || match fs {
            Fs::Ext4 | Fs::Xfs => shut_down(&point),
            Fs::Btrfs => lose_disk(&disk),
            Fs::Tmpfs => panic!("a tmpfs has no disk to come back to"),
        }
    }

    /// Unmounts, and mounts again what had reached the disk, the filesystem's log recovered.
    ///
    /// # Panics
    ///
    /// If files on it stay open for seconds, if another mount namespace holds it, if it cannot be
    /// mounted again, and on a tmpfs.
    pub fn remount(&mut self) {
        assert!(self.fs != Fs::Tmpfs, "a tmpfs has no disk to come back to");
        self.unmount(PATIENCE).unwrap_or_else(|error| panic!("unmount a {}: {error}", self.fs));
        assert!(
            loop_device::await_detached(&self.disk, PATIENCE),
            "{} is still attached: another mount namespace holds it mounted",
            self.disk.display()
        );
        self.attach().unwrap_or_else(|error| panic!("mount a {} again: {error}", self.fs));
    }

    fn attach(&self) -> Result<(), String> {
        let source = if self.fs == Fs::Tmpfs { Path::new("tmpfs") } else { &self.disk };
        loop_device::retry(|| {
            run("mount", |command| {
                command
                    .args(["-t", self.fs.name(), "-o", &self.options])
                    .arg(source)
                    .arg(&self.point)
            })
        })?;
        Ok(())
    }

    fn unmount(&self, patience: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match run("umount", |command| command.arg(&self.point)) {
                Ok(_) => return Ok(()),
                Err(error) if error.contains("not mounted") => return Ok(()),
                Err(error) if error.contains("busy") && start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(format!("{error}{}", open_below(&self.point))),
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.unmount(Duration::from_secs(1)).is_err() {
            let _ = run("umount", |command| command.arg("-l").arg(&self.point));
        }
        if self.fs != Fs::Tmpfs {
            loop_device::await_detached(&self.disk, Duration::from_secs(1));
        }
    }
}

fn shut_down(point: &Path) {
    let root = match File::open(point) {
        Ok(root) => root,
        // XFS without power opens nothing.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => return,
        Err(error) => panic!("open {}: {error}", point.display()),
    };
    // Where nothing is mounted this would shut down the machine's own filesystem.
    let here = root.metadata().expect("stat the mount point").dev();
    let above = std::fs::metadata(point.parent().expect("a parent")).expect("stat its parent");
    assert_ne!(here, above.dev(), "nothing is mounted on {}", point.display());
    power::shut_down(&root).expect("shut the filesystem down");
}

/// btrfs cannot be shut down, but its disk can be made to vanish.
fn lose_disk(disk: &Path) {
    let device = loop_device::attached_to(disk).expect("a loop device of the mounted disk");
    let device = File::options().read(true).write(true).open(device).expect("open the loop device");
    power::shrink(&device).expect("shrink the loop device");
}

/// What this process holds open below a directory, for the message of a busy filesystem.
fn open_below(directory: &Path) -> String {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|file| file.starts_with(directory))
        .map(|file| format!("still open here: {}\n", file.display()))
        .collect()
}
