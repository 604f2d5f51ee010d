//! The one place where threads of tokio are started and blocking work is handed to them.

use std::time::Duration;

use lacuna::Cancel;

use crate::error::{Error, Result};

/// How often whoever waits looks whether it is to stop, or has something to do.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Runs `session` to its end. Blocking work that is still under way then is not waited for beyond
/// the one call that each thread is in.
pub(crate) fn block_on<T, E: From<Error>>(
    session: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    runtime.block_on(session)
}

/// Runs `work` on a thread that may block. It runs to its end even when nobody waits any more.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Runtime { source: std::io::Error::other(error) }),
    }
}

/// Waits until `cancel` is asked for.
pub(crate) async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
}

/// What `work` comes to, unless `cancel` is asked for before.
pub(crate) async fn unless_cancelled<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = cancelled(cancel) => Err(lacuna::Error::Cancelled.into()),
    }
}
