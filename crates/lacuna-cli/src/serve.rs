//! `lacuna serve`: images under a directory, or one to receive.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::{Progress, Target};
use lacuna_sync::v1::{ServeOptions, ServeStats, listen, local_address, serve};
use lacuna_sync::v2::{self, Served};
use serde::Serialize;

use crate::args::ServeArgs;
use crate::clock::local_zone;
use crate::failure::{Usage, unless_stopped};
use crate::meter::Meter;
use crate::output::{self, Output};
use crate::remedy::BOTH_AGAIN;
use crate::sync::token;
use crate::{signals, units};

/// Seconds without a request after which a server of one image exits.
const IDLE: u32 = 300;

#[derive(Serialize)]
struct Report {
    image: String,
    address: String,
    protocol: &'static str,
    written_bytes: u64,
    compared_bytes: u64,
    wire_bytes: u64,
    elapsed_seconds: f64,
}

pub(crate) fn run(args: &ServeArgs, output: &Output) -> anyhow::Result<()> {
    let addresses = addresses(args)?;
    match (&args.root, &args.once) {
        (Some(root), _) => many(args, root, &addresses, output),
        (None, Some(image)) => once(args, image, &addresses, output),
        (None, None) => Err(Usage("name a --root or an image for --once".to_owned()).into()),
    }
}

/// Serves what is under `root` until a signal comes.
fn many(
    args: &ServeArgs,
    root: &Path,
    addresses: &[SocketAddr],
    output: &Output,
) -> anyhow::Result<()> {
    let token = token(args.token_file.as_deref())?;
    let defaults = v2::ServeOptions::new(root.to_owned());
    let options = v2::ServeOptions {
        read_only: args.read_only,
        devices: args.devices,
        token,
        max_sessions: args.max_sessions.map_or(defaults.max_sessions, usize::from),
        ..defaults
    };
    let listener = listen(addresses)?;
    let cancel = signals::cancel(output)?;
    output.note(&format!("listening on {}", local_address(&listener)?));
    let quiet = output.quiet;
    let report = move |served: Served| {
        let Served { peer, path, is_target, ended } = served;
        let line = match ended {
            Ok(bytes) if is_target => {
                format!("{path}: {} written, from {peer}", units::bytes(bytes))
            }
            Ok(bytes) => format!("{path}: {} sent, to {peer}", units::bytes(bytes)),
            Err(error) => {
                format!("{path}: session with {peer} failed: {error}")
            }
        };
        if !quiet {
            output::say([line.as_str()]);
        }
    };
    Ok(v2::serve(listener, &options, report, &cancel)?)
}

/// Receives one image.
fn once(
    args: &ServeArgs,
    image: &Path,
    addresses: &[SocketAddr],
    output: &Output,
) -> anyhow::Result<()> {
    Target::check(image)?;
    let listener = listen(addresses)?;
    let address = local_address(&listener)?.to_string();
    let options = ServeOptions {
        zone: local_zone(),
        idle: Duration::from_secs(args.idle_timeout.unwrap_or(IDLE).into()),
        ..ServeOptions::default()
    };
    let begun = Instant::now();
    let stats = run_server(image, listener, &options, output)?;
    let report = Report {
        image: image.display().to_string(),
        address,
        protocol: "v1",
        written_bytes: stats.written_bytes,
        compared_bytes: stats.compared_bytes,
        wire_bytes: stats.wire_bytes,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let printed = output.report(&report, || vec![report.line()]);
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.image)))?)
}

/// Where to listen: beyond this machine only when that is meant.
fn addresses(args: &ServeArgs) -> Result<Vec<SocketAddr>, Usage> {
    let wrong = |error| Usage(format!("--listen {} is no HOST:PORT: {error}", args.listen));
    let addresses: Vec<_> = args.listen.to_socket_addrs().map_err(wrong)?.collect();
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(beyond) = beyond.filter(|_| !args.insecure) {
        return Err(Usage(format!(
            "{beyond} can be reached from other machines, and nothing protects the connection: \
             whoever connects may write {}. Add --insecure if that is meant",
            args.once
                .as_ref()
                .or(args.root.as_ref())
                .map_or(String::new(), |path| path.display().to_string())
        )));
    }
    Ok(addresses)
}

fn run_server(
    image: &Path,
    listener: TcpListener,
    options: &ServeOptions,
    output: &Output,
) -> anyhow::Result<ServeStats> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    output.note(&format!("listening on {}", local_address(&listener)?));
    let meter = Meter::start(&progress, output.progress, None);
    let served = serve(image, listener, options, &progress, &cancel);
    drop(meter);
    served.map_err(|error| {
        let operation = format!("receiving {}", image.display());
        unless_stopped(error.into(), operation, BOTH_AGAIN)
    })
}

impl Report {
    fn line(&self) -> String {
        format!(
            "{}: {} written, {} compared, {} on the wire, {}",
            self.image,
            units::bytes(self.written_bytes),
            units::bytes(self.compared_bytes),
            units::bytes(self.wire_bytes),
            units::seconds(self.elapsed_seconds),
        )
    }
}
