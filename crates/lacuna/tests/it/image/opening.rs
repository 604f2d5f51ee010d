//! What can be opened as an image, and who may have it at the same time.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use lacuna::{Access, Error, Image, ImageOptions, IoMode, Source};
use lacuna_testing::mount::{Fs, LoopDevice, Mount};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tempfile::TempDir;

use crate::{IO_MODES, open, open_for_reading, open_for_writing};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Alone];

/// A file on the machine's own temporary filesystem.
fn image_in(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("image");
    std::fs::write(&path, [1; 8192]).unwrap();
    path
}

#[track_caller]
fn assert_not_an_image(path: &Path, expected: &str) {
    for access in ACCESSES {
        for io in IO_MODES {
            let error = open(path, access, io).err().expect("not opened");
            let Error::NotAnImage { what, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(*what, expected, "{access:?} {io:?}");
            assert!(error.to_string().contains(path.to_str().unwrap()));
            assert!(error.remedy().is_some());
        }
    }
}

#[test]
fn what_is_no_image_is_called_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    assert_not_an_image(directory.path(), "a directory");
    assert_not_an_image(Path::new("/dev/null"), "a character device");
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_not_an_image(&socket, "a socket");
}

#[test]
fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let (done, said) = channel();
    std::thread::spawn(move || {
        assert_not_an_image(&pipe, "a pipe");
        done.send(()).unwrap();
    });
    said.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_missing_image_is_named_with_what_to_do() {
    let path = Path::new("/nowhere/image");
    for access in ACCESSES {
        let error = open(path, access, IoMode::Auto).err().unwrap();
        assert_eq!(error.to_string(), "cannot open /nowhere/image");
        assert_eq!(error.io_kind(), Some(ErrorKind::NotFound));
        assert_eq!(error.remedy().as_deref(), Some("check the path"));
    }
}

/// Runs `attempt` as a user to whom permissions mean something.
fn as_nobody<T: Send + 'static>(attempt: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            // Of this thread only, which ends here.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        }
        attempt()
    });
    thread.join().unwrap()
}

#[test]
fn an_image_that_may_not_be_read_or_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = image_in(&directory);
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    for access in ACCESSES {
        let path = path.clone();
        let error = as_nobody(move || open(&path, access, IoMode::Auto).err().unwrap());
        assert_eq!(error.io_kind(), Some(ErrorKind::PermissionDenied));
        assert!(error.remedy().unwrap().contains("permissions"));
    }
}

#[test]
fn a_mounted_device_is_read_but_not_written() {
    let Some(mount) = Mount::new(Fs::Ext4) else {
        return;
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == mount.path().to_str());
    let device = Path::new(line.unwrap().split(' ').next().unwrap());
    for io in IO_MODES {
        let error = open(device, Access::Write, io).err().expect("refused");
        assert_eq!(error.io_kind(), Some(ErrorKind::ResourceBusy), "{error:?}");
        assert!(error.remedy().unwrap().contains("unmount"));
        let mut superblock = [0; 1024];
        let image = open(device, Access::Read, io).unwrap();
        image.read_at(&mut superblock, 1024).unwrap();
        assert_eq!(superblock[56..58], [0x53, 0xef], "the magic number of ext4");
    }
}

#[test]
fn a_new_image_replaces_nothing_and_follows_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
    let options = ImageOptions {
        access: Access::Write,
        io: IoMode::Auto,
        create: Some(0o600),
        ..ImageOptions::default()
    };
    for name in [&path, &link] {
        let error = Image::open(name, &options).err().unwrap();
        assert_eq!(error.io_kind(), Some(ErrorKind::AlreadyExists));
    }
    assert_eq!(std::fs::read(&path).unwrap(), [1; 8192]);
    let new = Image::open(&directory.path().join("new"), &options).unwrap();
    assert_eq!((new.size(), new.mode()), (0, 0o600));
}

#[test]
fn readers_share_an_image_and_a_writer_has_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    let (reader, other) = (open_for_reading(&path), open_for_reading(&path));
    let (writer, rival) = (open_for_writing(&path), open_for_writing(&path));
    reader.lock().unwrap();
    other.lock().unwrap();
    let busy = writer.lock().unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy:?}");
    drop((reader, other));
    writer.lock().unwrap();
    let busy = rival.lock().unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy:?}");
    let busy = open_for_reading(&path).lock().unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy:?}");
    drop(writer);
    rival.lock().unwrap();
}

/// Whatever has `path` open in this process, as a child that is being started has it too.
fn held_by_a_child(path: &Path) -> Vec<OwnedFd> {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let open = open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == path));
    let numbers = open.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap());
    let held = numbers.map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()));
    held.map(Result::unwrap).collect()
}

#[test]
fn a_lock_ends_with_the_image_even_if_a_child_still_has_the_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory).canonicalize().unwrap();
    let image = open_for_writing(&path);
    image.lock().unwrap();
    let held = held_by_a_child(&path);
    assert!(!held.is_empty());
    drop(image);
    open_for_writing(&path).lock().unwrap();
}

#[test]
fn a_device_that_is_locked_for_a_moment_is_waited_for() {
    let Some(device) = LoopDevice::new(1 << 20) else {
        return;
    };
    // As udev does when a device was closed.
    let passing = File::open(device.path()).unwrap();
    flock(&passing, FlockOperation::LockExclusive).unwrap();
    let image = open_for_writing(device.path());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(passing);
        });
        image.lock().unwrap();
    });
}

#[test]
fn a_file_that_is_locked_while_leftovers_are_removed_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    let passing = File::open(&path).unwrap();
    flock(&passing, FlockOperation::LockExclusive).unwrap();
    let image = open_for_writing(&path);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            drop(passing);
        });
        image.lock().unwrap();
    });
}

#[test]
fn a_file_that_was_replaced_before_it_was_locked_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    let image = open_for_reading(&path);
    let other = directory.path().join("other");
    std::fs::write(&other, "another image").unwrap();
    std::fs::rename(&other, &path).unwrap();
    let error = image.lock().unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error:?}");
    std::fs::remove_file(&path).unwrap();
    assert!(open(&path, Access::Read, IoMode::Auto).is_err());
    let error = image.lock().unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error:?}");
}

#[test]
fn a_file_that_grew_before_it_was_locked_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    let image = open_for_writing(&path);
    let writer = File::options().write(true).open(&path).unwrap();
    writer.write_all_at(&[2; 100], 8192).unwrap();
    let error = image.lock().unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[test]
fn a_stamp_tells_of_every_change() {
    for mount in crate::mounts() {
        let path = mount.path().join("image");
        std::fs::write(&path, [1; 8192]).unwrap();
        let image = open_for_reading(&path);
        let before = image.stamp().unwrap();
        image.check_unchanged(&before).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[1], 0).unwrap();
        let error = image.check_unchanged(&before).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{}", mount.fs());
    }
}

/// Whoever may not know where a directory is, names it by another way.
#[test]
fn a_mark_is_named_by_the_way_by_which_its_image_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = image_in(&directory);
    std::fs::hard_link(&path, directory.path().join("again")).unwrap();
    std::fs::write(directory.path().join(".image.lacuna-unfinished"), "").unwrap();
    let held = File::open(directory.path()).unwrap();
    let way = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
    for name in ["image", "again"] {
        let refused = Source::open(&way.join(name), &ImageOptions::default()).err().unwrap();
        let Error::Unfinished { path, mark } = &refused else { panic!("{refused:?}") };
        assert_eq!((path, mark), (&way.join(name), &way.join(".image.lacuna-unfinished")));
    }
}
