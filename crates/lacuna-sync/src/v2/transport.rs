//! The streams that sessions run over: TCP, TLS within it, and the pipes of a command.

mod command;
mod stdio;
mod tls;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::error::{Error, Result, Unreached};
use crate::resolve::addresses;
use crate::traffic::Counted;
pub(super) use command::Running;
pub(super) use stdio::stdio;
pub use tls::Identity;

/// Whatever carries bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A stream of any kind.
pub(crate) type Stream = Box<dyn Duplex>;

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Reach {
    /// In the clear, at `HOST:PORT`.
    Tcp(String),
    /// By TLS.
    Tls {
        /// `HOST:PORT`.
        address: String,
        /// Certificates to trust instead of the system's, as PEM.
        trusted: Option<PathBuf>,
    },
    /// By what a command reads and writes, like `ssh HOST lacuna serve --stdio`.
    Command {
        /// The command and its arguments.
        words: Vec<OsString>,
        /// Where it leads, for messages.
        host: String,
    },
}

impl Reach {
    /// Where it leads, for messages.
    pub fn peer(&self) -> &str {
        match self {
            Self::Tcp(address) | Self::Tls { address, .. } => address,
            Self::Command { host, .. } => host,
        }
    }

    /// Connects, and counts what passes on the network in `wire`. Unless what is said `may_be_read` on the
    /// way, there is no connection in the clear to another machine.
    pub(super) async fn connect(
        &self,
        patience: Duration,
        may_be_read: bool,
        wire: &Arc<Counter>,
    ) -> Result<(Stream, Option<Running>)> {
        match self {
            Self::Tcp(address) => {
                let stream = dial(address, patience).await?;
                if !may_be_read && !is_here(&stream) {
                    return Err(Unreached::InTheClear { peer: address.clone() }.into());
                }
                Ok((Box::new(Counted::new(stream, wire.clone())), None))
            }
            Self::Tls { address, trusted } => {
                let trust = tls::trust(trusted.as_deref())?;
                let stream = Counted::new(dial(address, patience).await?, wire.clone());
                let stream = tls::connect(stream, trust, address, patience).await?;
                Ok((Box::new(stream), None))
            }
            Self::Command { words, host } => {
                let (stream, running) = command::start(words, host)?;
                Ok((Box::new(Counted::new(stream, wire.clone())), Some(running)))
            }
        }
    }
}

/// Whether the other end is on this machine.
fn is_here(stream: &TcpStream) -> bool {
    stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}

async fn dial(address: &str, patience: Duration) -> Result<TcpStream> {
    let failed = |source| Error::Connect { peer: address.to_owned(), patience, source };
    let begun = Instant::now();
    let addresses = addresses(address, patience).await?;
    let left = patience.saturating_sub(begun.elapsed());
    let connected = tokio::time::timeout(left, TcpStream::connect(&*addresses)).await;
    let stream = connected.unwrap_or(Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}
