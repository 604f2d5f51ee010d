//! The end that listens: many sessions at once.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, Progress};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::handshake::{PATIENCE, hear, refuse};
use super::host::{Host, ServeOptions, Served};
use super::transport::{Identity, stdio};
use crate::error::Result;
use crate::front::{self, Caller};
use crate::strangers::{STRANGERS, Stranger, Strangers};
use crate::{listener, runtime};

/// What clients of HTTP are told.
const NOT_HTTP: &str = "this is no server of Longhorn's ssync: use lacuna://HOST:PORT/PATH";

/// Serves until `cancel`, and tells `report` of every session that has ended. With an `identity`, by TLS
/// alone.
///
/// # Errors
///
/// When the directory cannot be opened.
pub fn serve(
    listener: TcpListener,
    options: &ServeOptions,
    identity: Option<Identity>,
    report: impl Fn(Served) + Send + Sync + 'static,
    cancel: &Cancel,
) -> Result<()> {
    let server = Arc::new(Server {
        host: Host::new(options, cancel)?,
        identity,
        strangers: Strangers::new(STRANGERS),
        cancel: cancel.clone(),
    });
    runtime::block_on(async move {
        let listener = listener::adopt(listener)?;
        let (mut sessions, report) = (JoinSet::new(), Arc::new(report));
        while let Some((stream, peer)) = server.accept(&listener).await {
            let stranger = server.strangers.enter();
            let (server, report) = (server.clone(), report.clone());
            sessions.spawn(async move {
                if let Some(served) = server.serve(stream, peer, stranger).await {
                    report(served);
                }
            });
            while sessions.try_join_next().is_some() {}
        }
        drop(listener);
        // Each comes to a point from where it can go on.
        while sessions.join_next().await.is_some() {}
        Ok(())
    })
}

/// Serves one client over standard input and output.
///
/// # Errors
///
/// When these lead nowhere, or to no client of lacuna.
pub fn serve_stdio(options: &ServeOptions, cancel: &Cancel) -> Result<Served> {
    let host = Host::new(options, cancel)?;
    runtime::block_on(async move {
        let mut stream = stdio()?;
        let heard = hear(&mut stream, Instant::now() + PATIENCE);
        let hello = match runtime::unless_cancelled(cancel, heard).await {
            Ok(hello) => hello,
            Err(error) => {
                // Who does not listen to that finds out otherwise.
                let _ = refuse(&mut stream, error.code(), error.words()).await;
                return Err(error);
            }
        };
        let peer = "standard input".to_owned();
        match host.refuse_stranger(&mut stream, &hello, &peer).await {
            Some(refused) => Ok(refused),
            None => Ok(host.attend(stream, &hello, peer, &Arc::default()).await),
        }
    })
}

struct Server {
    host: Host,
    identity: Option<Identity>,
    strangers: Arc<Strangers>,
    cancel: Cancel,
}

impl Server {
    /// The next connection; `None` when it is time to stop.
    async fn accept(&self, listener: &tokio::net::TcpListener) -> Option<(TcpStream, SocketAddr)> {
        let accepted = async {
            loop {
                match listener.accept().await {
                    Ok(accepted) => return Some(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            accepted = accepted => accepted,
            () = runtime::cancelled(&self.cancel) => None,
        }
    }

    /// One connection, of a `stranger` until its hello has come. `None` when it was none of a client of
    /// ours.
    async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        mut stranger: Stranger,
    ) -> Option<Served> {
        let wire = Arc::default();
        let greeted = front::greet(stream, self.identity.as_ref(), &wire, PATIENCE);
        let greeted = stranger.unless_shown_out(greeted);
        match runtime::unless_cancelled(&self.cancel, greeted).await {
            Ok(Caller::Lacuna(mut stream, hello)) => {
                let peer = peer.to_string();
                if let Some(refused) = self.host.refuse_stranger(&mut stream, &hello, &peer).await {
                    return Some(refused);
                }
                drop(stranger);
                let progress = Arc::new(Progress::default());
                Some(self.host.attend(stream, &hello, peer, &progress).await)
            }
            Ok(Caller::Other(stream)) => {
                front::refuse_http(stream, NOT_HTTP).await;
                None
            }
            Err(error) => {
                tracing::info!(%peer, error = lacuna::describe(&error), "no hello");
                None
            }
        }
    }
}
