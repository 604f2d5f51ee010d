//! Locks that are tried for a while.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::failpoint;

/// For whom locks are held by others for moments: udev has that of a device after every close, `partials`
/// that of a file while it sees whether anybody has it, and that of a directory while it removes something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Tries `operation`, which must not block, for as long as `patience`, at least once.
///
/// # Errors
///
/// [`Errno::WOULDBLOCK`] when another holds the lock all the time.
pub(crate) fn flock_within(
    file: &File,
    operation: FlockOperation,
    patience: Duration,
) -> rustix::io::Result<()> {
    let begun = Instant::now();
    loop {
        match flock(file, operation) {
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if begun.elapsed() < patience => {
                failpoint::pass("flock.wait").map_err(|_| Errno::WOULDBLOCK)?;
                std::thread::sleep(PAUSE);
            }
            tried => return tried,
        }
    }
}
