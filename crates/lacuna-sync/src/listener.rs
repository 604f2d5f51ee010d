//! Where servers listen.

use std::net::{SocketAddr, TcpListener};

use crate::error::{Error, Result};

/// Binds the first of `addresses` that can be.
///
/// # Errors
///
/// [`Error::Listen`].
pub fn listen(addresses: &[SocketAddr]) -> Result<TcpListener> {
    TcpListener::bind(addresses).map_err(|source| {
        let names: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        Error::Listen { address: names.join(" or "), source }
    })
}

/// Where a server listens, for messages.
pub fn local_address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|source| Error::Listen { address: String::new(), source })
}

/// Makes a listener of the standard library one of tokio.
pub(crate) fn adopt(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| Error::Runtime { source })
}
