//! What the arguments of `sync` name.

use std::ffi::OsStr;
use std::path::PathBuf;

use lacuna_sync::v1::DEFAULT_PORT;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// On this machine.
    Path(PathBuf),
    /// Behind a server that speaks wire v1, as `HOST:PORT`.
    Ssync(String),
    /// Behind a server of lacuna's own.
    Lacuna {
        /// `HOST:PORT`.
        address: String,
        /// As the server names it.
        path: String,
        /// Whether it speaks TLS.
        tls: bool,
    },
    /// On a machine that ssh reaches.
    Ssh {
        /// `HOST` or `USER@HOST`.
        host: String,
        /// There.
        path: String,
    },
}

/// Reads a source or target. As with rsync, `HOST:PATH` is remote unless a slash comes before the
/// colon.
pub(crate) fn parse(word: &OsStr) -> Result<Endpoint, String> {
    // What is no text is no address either.
    let Some(text) = word.to_str() else { return Ok(Endpoint::Path(word.into())) };
    if let Some(rest) = text.strip_prefix("ssync://") {
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let address = match host.contains('/') {
            true => Err("the protocol carries no path, the server knows its file"),
            false => authority(host),
        };
        return address.map(Endpoint::Ssync).map_err(|why| format!("{text}: {why}"));
    }
    for (scheme, tls) in [("lacuna://", false), ("lacunas://", true)] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return image(rest, tls).map_err(|why| format!("{text}: {why}"));
        }
    }
    match host_and_path(text) {
        Some((host, path)) => by_ssh(host, path).map_err(|why| format!("{text}: {why}")),
        None if text.is_empty() => Err("an empty path names no image".to_owned()),
        None => Ok(Endpoint::Path(text.into())),
    }
}

/// Cuts `HOST:PATH`, where HOST may be an IPv6 address in brackets.
fn host_and_path(text: &str) -> Option<(&str, &str)> {
    let (host, path) = match text.find("]:") {
        Some(end) if text.split_once('[').is_some_and(|(user, _)| !user.contains([':', '/'])) => {
            (&text[..=end], &text[end + 2..])
        }
        _ => text.split_once(':')?,
    };
    (!host.contains('/') && !host.is_empty()).then_some((host, path))
}

fn by_ssh(host: &str, path: &str) -> Result<Endpoint, &'static str> {
    if path.starts_with("//") {
        return Err(
            "images on other machines are lacuna://HOST:PORT/PATH, lacunas:// or HOST:PATH",
        );
    }
    if path.is_empty() {
        return Err("a path is missing behind the colon; write ./ before a file of this name");
    }
    let host = host.replace(['[', ']'], "");
    // ssh would take it for an option.
    if host.is_empty() || host.starts_with('-') {
        return Err("no host begins with a dash; write ./ before a file of this name");
    }
    Ok(Endpoint::Ssh { host, path: path.to_owned() })
}

/// `HOST[:PORT]/PATH`.
fn image(text: &str, tls: bool) -> Result<Endpoint, &'static str> {
    match text.split_once('/') {
        Some((host, path)) if !path.is_empty() => {
            Ok(Endpoint::Lacuna { address: authority(host)?, path: path.to_owned(), tls })
        }
        _ => Err("a path is missing: lacuna://HOST:PORT/PATH, under the directory that is served"),
    }
}

/// `HOST[:PORT]`.
fn authority(host: &str) -> Result<String, &'static str> {
    if host.contains('@') {
        return Err("the protocol knows no users");
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    if name.is_empty() {
        return Err("a host is missing");
    }
    if name.contains(':') && !(name.starts_with('[') && name.ends_with(']')) {
        return Err("write an IPv6 address in brackets: [::1]:5000");
    }
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{name}:{DEFAULT_PORT}")),
        Some(Ok(port)) if port > 0 => Ok(format!("{name}:{port}")),
        Some(_) => Err("the port is no number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_servers_are_told_apart() {
        let path = |text: &str| Ok(Endpoint::Path(text.into()));
        let ssync = |text: &str| Ok(Endpoint::Ssync(text.to_owned()));
        assert_eq!(parse(OsStr::new("a.img")), path("a.img"));
        assert_eq!(parse(OsStr::new("./a:b")), path("./a:b"));
        assert_eq!(parse(OsStr::new("/x/a:b")), path("/x/a:b"));
        assert_eq!(parse(OsStr::new("ssync://node")), ssync("node:5000"));
        assert_eq!(parse(OsStr::new("ssync://node:1/")), ssync("node:1"));
        assert_eq!(parse(OsStr::new("ssync://[::1]")), ssync("[::1]:5000"));
        assert_eq!(
            parse(OsStr::new("lacuna://node:7/a/b.img")),
            Ok(Endpoint::Lacuna {
                address: "node:7".to_owned(),
                path: "a/b.img".to_owned(),
                tls: false
            })
        );
        let ssh = |host: &str, path: &str| {
            Ok(Endpoint::Ssh { host: host.to_owned(), path: path.to_owned() })
        };
        assert_eq!(parse(OsStr::new("node:a.img")), ssh("node", "a.img"));
        assert_eq!(parse(OsStr::new("me@node:/x/a:b.img")), ssh("me@node", "/x/a:b.img"));
        assert_eq!(parse(OsStr::new("[fe80::1]:a")), ssh("fe80::1", "a"));
        assert_eq!(parse(OsStr::new("me@[::1]:/a")), ssh("me@::1", "/a"));
        assert_eq!(parse(OsStr::new("a[1]/b]:c")), path("a[1]/b]:c"));
        assert_eq!(parse(OsStr::new("ssync://[::1]:9")), ssync("[::1]:9"));
    }

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty path"),
            ("host:", "a path is missing"),
            ("-oProxyCommand=x:a.img", "dash"),
            ("[-oProxyCommand=x]:a.img", "dash"),
            ("]-oProxyCommand=x:a.img", "dash"),
            ("[]:a.img", "dash"),
            ("http://host/a.img", "lacuna://HOST:PORT"),
            ("lacuna://host", "a path is missing"),
            ("lacuna://host/", "a path is missing"),
            ("lacuna:///a.img", "host is missing"),
            ("lacunas://host", "a path is missing"),
            ("ssync://", "host is missing"),
            ("ssync://:5000", "host is missing"),
            ("ssync://host:0", "port"),
            ("ssync://host:70000", "port"),
            ("ssync://host:5000/a.img", "no path"),
            ("ssync://::1", "brackets"),
            ("ssync://me@host", "users"),
        ] {
            let error = parse(OsStr::new(text)).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
