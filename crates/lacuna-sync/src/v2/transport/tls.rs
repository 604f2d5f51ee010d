//! TLS: what a server shows, whom a client trusts, and the handshakes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::error::{Result, Unreached};

/// The certificate of a server, and its key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// Reads both as PEM: the server's certificate first, then those that lead to its issuer.
    ///
    /// # Errors
    ///
    /// [`Unreached::Certificate`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let chain = certificates(certificate)?;
        let secret =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(certificate, error))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| unusable(certificate, error))?;
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with a client.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.clone()).accept(stream).await
    }
}

/// Those whose word on a server is taken: of the system, unless they are in a file.
pub(super) fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, error))?;
            }
        }
        None => {
            // What cannot be read of them vouches for nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Unreached::Trust { source: error.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Shakes hands with the server at `address`.
pub(super) async fn connect<S>(
    stream: S,
    trust: Arc<ClientConfig>,
    address: &str,
    patience: Duration,
) -> Result<client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |source| Unreached::Tls { peer: address.to_owned(), source };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| failed(io::Error::other(error)))?;
    match timeout(patience, TlsConnector::from(trust).connect(name, stream)).await {
        Ok(connected) => Ok(connected.map_err(failed)?),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into()).into()),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(unusable(path, pem::Error::NoItemsFound).into()),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, error).into()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(|error| lacuna::Error::io("read", path, error))?)
}

fn unusable(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Unreached {
    Unreached::Certificate { path: path.to_owned(), source: Box::new(source) }
}
