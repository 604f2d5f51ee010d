//! Servers that could not be reached, for reasons of the way there.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitStatus;

use rustls::CertificateError;

/// Why there is no stream to a server, or none to a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// The name of a host leads nowhere.
    #[error("cannot find the address of {peer}")]
    Unresolved {
        /// Host and port.
        peer: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read the token.
    #[error("the token could be read on the way to {peer}, and was not sent")]
    InTheClear {
        /// Host and port.
        peer: String,
    },
    /// A certificate or a key cannot be used.
    #[error("cannot use {}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody can be trusted.
    #[error("cannot set TLS up")]
    Trust {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The handshake failed.
    #[error("no TLS with {peer}")]
    Tls {
        /// Host and port.
        peer: String,
        /// What happened.
        source: io::Error,
    },
    /// The client speaks TLS, and this server has no certificate.
    #[error("the client speaks TLS, and this server does not")]
    NoTlsHere,
    /// A command could not be started.
    #[error("cannot run {command}")]
    Spawn {
        /// Its name.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// A command that was to carry the session ended instead.
    #[error("{command} to {host} ended with {status}")]
    Command {
        /// Its name.
        command: String,
        /// Where it leads.
        host: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The other machine lacks the command.
    #[error("{host} has no lacuna: its shell did not find the command")]
    NoLacuna {
        /// The other machine.
        host: String,
    },
    /// Something else spoke before lacuna did.
    #[error("{host} sent something else than lacuna's first words")]
    Noise {
        /// The other machine.
        host: String,
    },
    /// Standard input and output lead nowhere.
    #[error("standard input and output are not connected to a client")]
    Stdio {
        /// What the system said.
        source: io::Error,
    },
}

/// What ssh ends with when it, and not the command over there, failed.
pub(crate) const SSH_FAILED: i32 = 255;

impl Unreached {
    /// What the person who reads it can do.
    pub(super) fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Unresolved { .. } => {
                "check the name of the host, or write its address; see that names can be resolved here"
            }
            Self::Certificate { source, .. } if is_of_another(&**source) => {
                "give the key that the certificate was made with"
            }
            Self::Certificate { .. } => "give certificates and keys as PEM",
            Self::InTheClear { .. } => "use lacunas://, or add --insecure if that is meant",
            Self::Trust { .. } => return None,
            Self::Tls { source, .. } => of_handshake(source),
            Self::NoTlsHere => "connect without TLS, or give the server a certificate",
            Self::Spawn { .. } => "install it, or name another one",
            Self::Command { .. } if self.may_pass() => {
                "it says why above; see that the same ssh works by itself"
            }
            Self::Command { .. } => {
                "it may say why above; see that the lacuna over there is of the same version"
            }
            Self::NoLacuna { .. } => "install lacuna there, or name the path of its command",
            Self::Noise { host } => {
                return Some(format!(
                    "let the shell there print nothing when it starts: `ssh {host} true` must be silent"
                ));
            }
            Self::Stdio { .. } => "this is for lacuna itself to run, by ssh",
        };
        Some(text.to_owned())
    }

    /// Whether another try may do better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unresolved { .. } => true,
            Self::Command { status, .. } => status.code() == Some(SSH_FAILED),
            Self::Tls { source, .. } => matches!(
                source.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::TimedOut
            ),
            _ => false,
        }
    }
}

fn is_of_another(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(rustls::Error::InconsistentKeys(_)))
}

fn of_handshake(error: &io::Error) -> &'static str {
    use CertificateError as Bad;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(bad)) = inner else {
        return "see that the server speaks TLS: without a certificate it does not";
    };
    match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "renew the certificate of the server, and check the clocks"
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "check the clocks of both machines",
        Bad::UnknownIssuer | Bad::BadSignature => {
            "name the certificate of its issuer, or the server's own, as trusted"
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "call the server by a name that its certificate has"
        }
        Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an issuer: make one without CA:TRUE"
        }
        _ => "give the server another certificate",
    }
}
