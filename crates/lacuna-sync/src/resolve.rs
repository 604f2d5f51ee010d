//! The addresses of a host.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{Result, Unreached};

/// The addresses of `peer`, which is `HOST:PORT`, as the system finds them within `patience`. The system
/// cannot be stopped at it: the thread that asks is left to itself when nobody waits any more.
pub(crate) async fn addresses(peer: &str, patience: Duration) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = peer.parse() {
        return Ok(vec![address]);
    }
    let failed = |source| Unreached::Unresolved { peer: peer.to_owned(), source };
    let (tell, told) = oneshot::channel();
    let name = peer.to_owned();
    let asking = move || {
        let found = name.to_socket_addrs().map(Iterator::collect);
        // Nobody may be waiting any more.
        let _ = tell.send(found);
    };
    std::thread::Builder::new().spawn(asking).map_err(failed)?;
    match timeout(patience, told).await {
        Ok(Ok(found)) => Ok(found.map_err(failed)?),
        Ok(Err(gone)) => Err(failed(io::Error::other(gone)).into()),
        Err(_) => {
            let words = format!("no answer within {} s", patience.as_secs());
            Err(failed(io::Error::new(ErrorKind::TimedOut, words)).into())
        }
    }
}
