//! `ssync`: Longhorn's command line, unchanged.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{ImageOptions, IoMode, Progress, Source, Target};
use lacuna_sync::v1::{self, DEFAULT_PORT, ServeOptions, SyncOptions};

use crate::args::{OutputArgs, ProgressStyle};
use crate::clock::local_zone;
use crate::failure::{self, Outcome, of_session, unless_stopped};
use crate::go_flags::{self, Flag, Parsed, Value};
use crate::output::Output;
use crate::remedy::{BOTH_AGAIN, SERVER_AGAIN, SSYNC};
use crate::signals;

/// Further tries of a request with `-httpRetry`.
const RETRIES: u32 = 5;

fn flags() -> Vec<Flag> {
    let flag = |name, default, help| Flag { name, default, help };
    vec![
        flag("daemon", Value::Bool(false), "receive FILE instead of sending it"),
        flag("directIO", Value::Bool(true), "use direct I/O on both sides"),
        flag("fastSync", Value::Bool(true), "send nothing when both checksum files agree"),
        flag("host", Value::Text(String::new()), "remote host of the daemon; empty is localhost"),
        flag("httpRetry", Value::Bool(false), "repeat requests that failed"),
        flag("port", Value::Int(u64::from(DEFAULT_PORT)), "port of the daemon"),
        flag("timeout", Value::Int(30), "seconds to wait for the answer to a request"),
        flag("verbose", Value::Bool(false), "say more"),
    ]
}

/// Runs `ssync` with the words after its name.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = match go_flags::parse(&flags(), words) {
        Ok(parsed) => parsed,
        Err(stop) => return stop.exit(&go_flags::usage("ssync", &flags())),
    };
    let verbose = u8::from(parsed.bool("verbose"));
    let output = Output::new(&OutputArgs {
        verbose,
        progress: ProgressStyle::None,
        ..OutputArgs::default()
    });
    let result = match parsed.words.first() {
        None => Err(anyhow::anyhow!("file path not provided: ssync [flags] FILE")),
        Some(file) if parsed.bool("daemon") => receive(Path::new(file), &parsed, &output),
        Some(file) => send(Path::new(file), &parsed, &output),
    };
    failure::exit_code(&SSYNC, &output, result.map(|()| Outcome::Good), 1)
}

fn port(parsed: &Parsed) -> anyhow::Result<u16> {
    u16::try_from(parsed.int("port"))
        .map_err(|_| anyhow::anyhow!("the port is no number from 0 to 65535"))
}

/// `HOST:PORT` of the daemon.
fn address(parsed: &Parsed) -> anyhow::Result<String> {
    let host = match parsed.text("host") {
        "" => "localhost",
        host => host,
    };
    let port = port(parsed)?;
    Ok(match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

fn receive(file: &Path, parsed: &Parsed, output: &Output) -> anyhow::Result<()> {
    Target::check(file)?;
    let listener = listen_everywhere(port(parsed)?)?;
    let cancel = signals::cancel(output)?;
    output.note(&format!("listening on {}", lacuna_sync::local_address(&listener)?));
    output.note(
        "all interfaces, without encryption or password: whoever reaches the port may write the file",
    );
    let options = ServeOptions { zone: local_zone(), ..ServeOptions::default() };
    let served = v1::serve(file, listener, &options, &Arc::new(Progress::default()), &cancel);
    served.map(drop).map_err(|error| {
        let operation = format!("receiving {}", file.display());
        unless_stopped(error.into(), operation, BOTH_AGAIN)
    })
}

/// All addresses of both families, or of IPv4 where there is no other.
fn listen_everywhere(port: u16) -> anyhow::Result<TcpListener> {
    match lacuna_sync::listen(&[(Ipv6Addr::UNSPECIFIED, port).into()]) {
        Err(lacuna_sync::Error::Listen { source, .. })
            if source.kind() != std::io::ErrorKind::AddrInUse =>
        {
            Ok(lacuna_sync::listen(&[(Ipv4Addr::UNSPECIFIED, port).into()])?)
        }
        listener => Ok(listener?),
    }
}

fn send(file: &Path, parsed: &Parsed, output: &Output) -> anyhow::Result<()> {
    let io = if parsed.bool("directIO") { IoMode::Direct } else { IoMode::Buffered };
    // As in Go's HTTP client, 0 is no limit; a century is none either.
    let timeout = match parsed.int("timeout") {
        0 => Duration::from_secs(100 * 365 * 86_400),
        seconds => Duration::from_secs(seconds.min(u32::MAX.into())),
    };
    let options = SyncOptions {
        target_io: io,
        connect_timeout: Duration::from_secs(120),
        request_timeout: timeout,
        close_timeout: timeout,
        retries: if parsed.bool("httpRetry") { RETRIES } else { 0 },
        fast: parsed.bool("fastSync"),
        ..SyncOptions::default()
    };
    let address = address(parsed)?;
    let cancel = signals::cancel(output)?;
    let image = ImageOptions { io, ..ImageOptions::default() };
    let source = Source::open(file, &image).map(Arc::new).map_err(lacuna_sync::Error::from);
    let synced = source.and_then(|source| {
        v1::sync(source, &address, &options, &Arc::new(Progress::default()), &cancel)
    });
    let stats = synced.map_err(|error| {
        let operation = format!("sync of {} to {address}", file.display());
        unless_stopped(of_session(error, file), operation, SERVER_AGAIN)
    })?;
    tracing::info!(
        sent_bytes = stats.sent_bytes,
        compared_bytes = stats.compared_bytes,
        skipped = stats.skipped,
        "synced"
    );
    Ok(())
}
