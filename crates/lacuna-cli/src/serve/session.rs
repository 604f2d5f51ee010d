//! What is said of a session that a server has had.

use lacuna_sync::v2::{Role, Served};
use serde::Serialize;

use crate::lines::{Lines, Std};
use crate::units;

/// For programs.
#[derive(Serialize)]
struct Session<'a> {
    what: &'static str,
    path: Option<&'a str>,
    peer: &'a str,
    direction: Option<&'static str>,
    bytes: Option<u64>,
    ok: bool,
    error: Option<&'a str>,
    left: Option<&'a str>,
}

/// Prints `served` as an object on standard output.
pub(super) fn print(lines: &Lines, served: &Served) {
    let object = Session {
        what: match (served.role, served.dry) {
            (Role::Keeper, _) => "directory",
            (_, Some(_)) => "dry-run",
            (_, None) => "sync",
        },
        path: served.path.as_deref(),
        peer: &served.peer,
        direction: direction(served.role),
        bytes: served.ended.as_ref().ok().copied(),
        ok: served.ended.is_ok(),
        error: served.ended.as_ref().err().map(String::as_str),
        left: served.left.as_deref(),
    };
    if let Ok(text) = serde_json::to_string(&object) {
        lines.tell(Std::Out, text + "\n");
    }
}

/// Of an image, as the server sees it.
fn direction(role: Role) -> Option<&'static str> {
    match role {
        Role::Source => Some("received"),
        Role::Target => Some("sent"),
        Role::Keeper => None,
    }
}

/// For people.
pub(super) fn line(served: &Served) -> String {
    let Served { peer, path, role, dry, ended, left } = served;
    let path = path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
    match ended {
        Ok(_) if dry.is_some() => format!("{path}looked at for {peer}, nothing written"),
        Ok(bytes) => {
            let bytes = units::bytes(*bytes);
            match role {
                Role::Source => format!("{path}{bytes} written, from {peer}"),
                Role::Target => format!("{path}{bytes} sent, to {peer}"),
                Role::Keeper => format!("{path}{bytes} of metadata, from {peer}"),
            }
        }
        Err(error) => {
            let left = left.as_ref().map(|left| format!("; {left}")).unwrap_or_default();
            format!("{path}session with {peer} failed: {error}{left}")
        }
    }
}
