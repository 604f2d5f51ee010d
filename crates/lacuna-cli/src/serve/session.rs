//! What is said of a session that a server has had.

use lacuna_sync::v2::Served;
use serde::Serialize;

use crate::lines::{Lines, Std};
use crate::units;

/// For programs.
#[derive(Serialize)]
struct Session<'a> {
    what: &'static str,
    path: Option<&'a str>,
    peer: &'a str,
    direction: &'static str,
    bytes: Option<u64>,
    ok: bool,
    error: Option<&'a str>,
    left: Option<&'a str>,
}

/// Prints `served` as an object on standard output.
pub(super) fn print(lines: &Lines, served: &Served) {
    let object = Session {
        what: if served.dry.is_some() { "dry-run" } else { "sync" },
        path: served.path.as_deref(),
        peer: &served.peer,
        direction: if served.is_target { "received" } else { "sent" },
        bytes: served.ended.as_ref().ok().copied(),
        ok: served.ended.is_ok(),
        error: served.ended.as_ref().err().map(String::as_str),
        left: served.left.as_deref(),
    };
    if let Ok(text) = serde_json::to_string(&object) {
        lines.tell(Std::Out, text + "\n");
    }
}

/// For people.
pub(super) fn line(served: &Served) -> String {
    let Served { peer, path, is_target, dry, ended, left } = served;
    let path = path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
    match ended {
        Ok(_) if dry.is_some() => format!("{path}looked at for {peer}, nothing written"),
        Ok(bytes) if *is_target => format!("{path}{} written, from {peer}", units::bytes(*bytes)),
        Ok(bytes) => format!("{path}{} sent, to {peer}", units::bytes(*bytes)),
        Err(error) => {
            let left = left.as_ref().map(|left| format!("; {left}")).unwrap_or_default();
            format!("{path}session with {peer} failed: {error}{left}")
        }
    }
}
