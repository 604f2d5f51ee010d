//! The one place where threads of tokio are started and blocking work is handed to them.

use std::net::TcpListener;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often a request to stop is looked for.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// Runs `session` to its end. Blocking work that is still under way then is not waited for beyond
/// the one call that each thread is in.
pub(crate) fn block_on<T>(session: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    runtime.block_on(session)
}

/// Makes a listener of the standard library one of tokio.
pub(crate) fn adopt(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| Error::Runtime { source })
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
