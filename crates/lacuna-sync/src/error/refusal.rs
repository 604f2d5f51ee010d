//! Clients that a server sends away.

use std::path::PathBuf;

use lacuna_wire::codes;

/// Why a server has no session with a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The versions that both ends speak have nothing in common.
    #[error(
        "the client speaks versions {low} to {high} of the protocol, this server version {ours}"
    )]
    Versions {
        /// The lowest of the client.
        low: u16,
        /// The highest of the client.
        high: u16,
        /// Ours.
        ours: u16,
    },
    /// Nobody is let in who does not have the token.
    #[error("the token is missing or wrong")]
    Token,
    /// Nobody is let in by another way than TLS.
    #[error("this server speaks TLS only")]
    TlsOnly,
    /// A name that leads out of the directory that is served.
    #[error("{} leads out of the directory that is served", path.display())]
    Outside {
        /// As the client names it.
        path: PathBuf,
    },
    /// A name that a symbolic link is, or leads through.
    #[error(
        "{} is a symbolic link, and this server follows none under its root: name the file itself",
        path.display()
    )]
    Link {
        /// The link, from the root on.
        path: PathBuf,
    },
    /// A name with a slash at its end.
    #[error("{} is the name of a directory", path.display())]
    Directory {
        /// As the client names it.
        path: PathBuf,
    },
    /// A name that stands for something else than an image.
    #[error("{} is a name that lacuna keeps for itself", path.display())]
    Reserved {
        /// As the client names it.
        path: PathBuf,
    },
    /// A block device, of a server that serves files alone.
    #[error("{} is a block device, and this server serves files", path.display())]
    Device {
        /// The device.
        path: PathBuf,
    },
    /// Another image than the one that a server receives.
    #[error("this server receives {} and nothing else", name.display())]
    OtherImage {
        /// What it receives.
        name: PathBuf,
    },
    /// An image was asked for, of a server that receives one.
    #[error("this server receives an image, and sends none")]
    ReceivesOnly,
    /// Nobody may write.
    #[error("the server is read-only")]
    ReadOnly,
    /// A client of the other protocol has the image.
    #[error("the image is in use by another client")]
    InUse,
    /// There are as many sessions as the server takes.
    #[error("the server is busy with other sessions")]
    TooMany,
}

impl Refusal {
    /// In the words of the protocol.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Versions { .. } => codes::VERSIONS,
            Self::Token => codes::TOKEN,
            Self::Outside { .. }
            | Self::Link { .. }
            | Self::Directory { .. }
            | Self::Reserved { .. }
            | Self::OtherImage { .. } => codes::PATH,
            Self::InUse => codes::IN_USE,
            Self::ReadOnly => codes::READ_ONLY,
            Self::TooMany => codes::BUSY,
            Self::TlsOnly => codes::TLS,
            Self::ReceivesOnly => codes::RECEIVES_ONLY,
            Self::Device { .. } => codes::NO_DEVICES,
        }
    }
}
