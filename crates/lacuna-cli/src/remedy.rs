//! What to do about an error, in the words of the command that ran: the libraries know no flags.

mod kept;

use std::path::Path;

use lacuna::chain::ChainError;
use lacuna::{Kept, Stopped};
use lacuna_sync::{Error, Unreached, v2};

use crate::chain::squash;
use crate::failure::{Interrupted, SameDirectory};
use crate::output::StdoutError;
use kept::kept;

/// How a command on this machine that was stopped goes on.
pub(crate) const GO_ON: &str = "run the same command again to go on";

/// The same, of a dig.
pub(crate) const DIG_ON: &str =
    "what was dug stays a hole, and what is read is the same: run the same command again to go on";

/// The same, of one that keeps nothing.
pub(crate) const BEGIN_ANEW: &str = "run the same command again: it begins anew";

/// How a sync to a server goes on: it ended with the session.
pub(crate) const SERVER_AGAIN: &str =
    "start the server again, then run the same command: it compares and goes on";

/// How a server that was stopped, and its client, go on.
pub(crate) const BOTH_AGAIN: &str =
    "start the server again, then the sync: it compares and goes on";

/// The words of a command.
pub(crate) struct Words {
    /// Its name.
    pub(crate) command: &'static str,
    /// How to do without direct I/O.
    buffered: &'static str,
    /// How to do without `.checksum` files.
    no_fast: &'static str,
    /// How a server is started.
    serve: &'static str,
    /// How a layer is taken for what it is not said to be, where it can be.
    force_layer: Option<&'static str>,
    /// How a replica is read that is not complete, where it can be.
    force: Option<&'static str>,
    /// How a fold gets by with less space.
    free: &'static str,
    /// What a fold is called that is a part of something else.
    fold: &'static str,
    /// Whoever may have given up what the parent has by now.
    freed: &'static str,
}

pub(crate) const LACUNA: Words = Words {
    command: "lacuna",
    buffered: "leave out --direct",
    no_fast: "--no-fast",
    serve: "lacuna serve",
    force_layer: Some("--force-layer"),
    force: Some("--force"),
    free: "with --free, CHILD gives up each range that PARENT has, and is no layer on its own then: \
        see --dry-run --free",
    fold: "fold",
    freed: "the child may have given up a part of what it had: take it for no layer on its own",
};

/// Of the commands that believe what a replica directory says.
pub(crate) const CHAIN: Words = Words { force_layer: None, ..LACUNA };

/// Of `chain squash`, which folds many layers at once.
pub(crate) const SQUASH: Words = Words {
    force: None,
    free: "with --free, the layers above OLD give up each range that OLD has durably: see --dry-run --free",
    fold: "squash",
    freed: "the layers above it may have given up a part of what they had: take them for no layers on \
        their own",
    ..CHAIN
};

pub(crate) const SSYNC: Words = Words {
    command: "ssync",
    buffered: "add -directIO=false",
    no_fast: "-fastSync=false",
    serve: "ssync -daemon FILE",
    ..SFOLD
};

/// What it has no flag for, `lacuna` has.
pub(crate) const SFOLD: Words = Words {
    command: "sfold",
    force_layer: Some("lacuna fold --force-layer"),
    free: "see lacuna fold --free",
    ..LACUNA
};

impl Words {
    /// What to do about `error`, and what it left.
    pub(crate) fn remedy(&self, error: &anyhow::Error) -> Option<String> {
        let stopped = error.downcast_ref::<Stopped>();
        let first = if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
            Some(interrupted.remedy.to_owned())
        } else if error.downcast_ref::<StdoutError>().is_some() {
            Some("send the output to where it can be written".to_owned())
        } else if error.downcast_ref::<SameDirectory>().is_some() {
            Some("name two different directories".to_owned())
        } else if let Some(stopped) = stopped {
            self.of_image(&stopped.cause)
        } else if let Some(error) = error.downcast_ref::<lacuna::Error>() {
            self.of_image(error)
        } else {
            error.downcast_ref::<Error>().and_then(|error| self.of_session(error))
        };
        let session = error.downcast_ref::<v2::Stopped>();
        let first = first.or_else(|| session.and_then(|stopped| self.of_session(&stopped.cause)));
        let left = match session.map(|stopped| &stopped.kept) {
            Some(Kept::Part { path, .. }) => {
                Some(format!("what arrived is kept in {}, for the same command", path.display()))
            }
            Some(other) => kept(self, other),
            None => stopped.and_then(|stopped| kept(self, &stopped.kept)),
        };
        let parts: Vec<_> = first.into_iter().chain(left).collect();
        Some(parts.join("; ")).filter(|remedy| !remedy.is_empty())
    }

    fn of_image(&self, error: &lacuna::Error) -> Option<String> {
        match error {
            lacuna::Error::NotDirect { .. } => Some(self.buffered.to_owned()),
            lacuna::Error::NotReflinked { .. } => {
                let remedy = error.remedy()?;
                Some(format!("{remedy}: --reflink auto"))
            }
            lacuna::Error::NotItsParent { .. }
            | lacuna::Error::SharedParent { .. }
            | lacuna::Error::IsLayer { .. } => {
                let flag = self.force_layer.map(|flag| format!(": {flag}"));
                Some(error.remedy()? + &flag.unwrap_or_default())
            }
            lacuna::Error::Malformed { path, .. } if is_meta(path) => {
                let flag = self.force_layer.map(|flag| format!(", or override it: {flag}"));
                Some(error.remedy()? + &flag.unwrap_or_default())
            }
            lacuna::Error::Malformed { path, .. } if is_checksum(path) => {
                Some("write it anew: lacuna hash --write IMAGE".to_owned())
            }
            lacuna::Error::Chain(ChainError::HalfSquashed { old, new }) => {
                Some(squash::again(old, new))
            }
            lacuna::Error::Chain(ChainError::NeedsBacking { .. }) => {
                Some(error.remedy()? + ": --backing FILE")
            }
            lacuna::Error::Chain(ChainError::Rebuilding { .. }) => {
                let take =
                    |flag| format!("; what has arrived of it can be had all the same: {flag}");
                Some(error.remedy()? + &self.force.map(take).unwrap_or_default())
            }
            lacuna::Error::NoSpace { freeing: false, .. } => {
                Some(format!("{}; {}", error.remedy()?, self.free))
            }
            _ => error.remedy(),
        }
    }

    fn of_session(&self, error: &Error) -> Option<String> {
        let remedy = error.remedy();
        match error {
            Error::Image(error) => self.of_image(error),
            Error::Tried { source, .. } => self.of_session(source),
            Error::UnalignedSize(_) => Some(self.buffered.to_owned()),
            Error::Refused { request: "open", message, .. } if speaks_of_direct(message) => Some(
                format!("{}, start the server again, and run the command again", self.buffered),
            ),
            Error::Refused { message, .. } if message.contains("the client announced") => {
                Some(format!(
                    "hash the source again, or remove its .checksum file, or add {}; \
                     then start the server again, and run the command again",
                    self.no_fast
                ))
            }
            Error::Unreached(Unreached::NoLacuna { .. }) => {
                Some("install lacuna there, or name its path by --remote-command".to_owned())
            }
            Error::Unreached(Unreached::Tls { .. }) => remedy.map(|remedy| {
                let flag = if remedy.ends_with("as trusted") { ": --tls-ca FILE" } else { "" };
                format!("{remedy}{flag}")
            }),
            Error::Connect { .. } => remedy.map(|remedy| format!("{remedy} ({})", self.serve)),
            _ => match error.told() {
                Some(v2::codes::TLS) => Some("use lacunas://HOST:PORT/PATH".to_owned()),
                Some(v2::codes::PATH) if speaks_of_directory(error) => Some(format!(
                    "{}: a replica directory as SRC ends in a slash, HOST:DIR/",
                    remedy?
                )),
                Some(code) => remedy.map(|remedy| remedy + flag_of(code)),
                None => remedy,
            },
        }
    }
}

/// What the remedy for a code of the other end is done by.
fn flag_of(code: u16) -> &'static str {
    match code {
        v2::codes::TOKEN => ": --token-file",
        v2::codes::READ_ONLY => ": lacuna serve without --read-only",
        v2::codes::RECEIVES_ONLY => ": lacuna serve --root",
        v2::codes::NO_DEVICES => ": lacuna serve --devices",
        _ => "",
    }
}

/// In the words of lacuna's server, and of the original's.
fn speaks_of_direct(message: &str) -> bool {
    message.contains("direct I/O is not possible") || message.contains("for directIO")
}

/// In the words of the other end.
fn speaks_of_directory(error: &Error) -> bool {
    error.to_string().contains("is a directory, not a regular file")
}

fn is_meta(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "meta")
}

fn is_checksum(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_flag_of_the_command_that_ran() {
        let error = || anyhow::Error::from(Error::UnalignedSize(1));
        assert_eq!(LACUNA.remedy(&error()).unwrap(), "leave out --direct");
        assert_eq!(SSYNC.remedy(&error()).unwrap(), "add -directIO=false");
    }

    #[test]
    fn why_an_address_cannot_be_listened_on_decides_what_to_do() {
        for (kind, remedy) in [
            (std::io::ErrorKind::AddrInUse, "choose another port, or stop what uses this one"),
            (std::io::ErrorKind::AddrNotAvailable, "name an address of this machine"),
            (std::io::ErrorKind::PermissionDenied, "choose a port from 1024 on"),
        ] {
            let error = Error::Listen { address: "a:1".to_owned(), source: kind.into() };
            assert_eq!(LACUNA.remedy(&error.into()).unwrap(), remedy);
        }
    }

    #[test]
    fn without_advice_there_is_no_remedy() {
        let cause = lacuna::Error::io("read", "a".as_ref(), std::io::Error::other("odd"));
        let stopped = anyhow::Error::from(Stopped { cause, kept: Kept::Nothing });
        assert_eq!(LACUNA.remedy(&stopped), None);
    }
}
