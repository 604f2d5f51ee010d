//! `lacuna serve`: images under a directory, or one to receive.

mod session;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::{Progress, Target};
use lacuna_sync::once::{self, OneImage, ReceiveOptions, Received};
use lacuna_sync::v2::{self, Identity, Images, ServeOptions, Served};
use lacuna_sync::{listen, local_address, v1};
use serde::Serialize;

use crate::args::ServeArgs;
use crate::clock::local_zone;
use crate::failure::{Outcome, Usage, unless_stopped};
use crate::lines::{self, Lines};
use crate::meter::Meter;
use crate::output::{self, Output};
use crate::remedy::BOTH_AGAIN;
use crate::remote::token;
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

pub(crate) fn run(args: &ServeArgs, output: &Output) -> anyhow::Result<Outcome> {
    let lines = lines::start();
    match (&args.root, &args.once) {
        (_, Some(image)) => once(args, image, output)?,
        (Some(root), None) if !args.stdio => many(args, root, output, lines)?,
        _ => return by_stdio(args),
    }
    Ok(Outcome::Good)
}

fn images(args: &ServeArgs, images: Images) -> anyhow::Result<ServeOptions> {
    let defaults = ServeOptions::new(images);
    Ok(ServeOptions {
        read_only: args.read_only,
        // Over ssh, the user who connects is the one whose devices they are.
        devices: args.devices || args.root.is_none(),
        token: token(args.token_file.as_deref())?,
        max_sessions: args.max_sessions.map_or(defaults.max_sessions, usize::from),
        io: args.io.mode(),
        threads: args.jobs.map_or(defaults.threads, usize::from),
        zstd: args.compress.as_deref() != Some("none"),
        ..defaults
    })
}

fn identity(args: &ServeArgs) -> anyhow::Result<Option<Identity>> {
    Ok(match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Identity::load(certificate, key)?),
        _ => None,
    })
}

/// Serves what is under `root` until a signal comes.
fn many(
    args: &ServeArgs,
    root: &Path,
    output: &Output,
    lines: &'static Lines,
) -> anyhow::Result<()> {
    let addresses = addresses(args, root)?;
    let options = images(args, Images::Under(root.to_owned()))?;
    let identity = identity(args)?;
    // Before anybody is told that there is something to be had.
    std::fs::read_dir(root).map_err(|error| lacuna::Error::io("open", root, error))?;
    let listener = listen(&addresses)?;
    let cancel = signals::cancel(output)?;
    output.note(&format!("listening on {}", local_address(&listener)?));
    let (json, quiet) = (output.json, output.quiet);
    let report = move |served: Served| match (json, quiet) {
        (true, _) => session::print(lines, &served),
        (false, true) => {}
        (false, false) => output::say([session::line(&served).as_str()]),
    };
    Ok(v2::serve(listener, &options, identity, report, &cancel)?)
}

/// Serves whoever holds the other ends of standard input and output, who is told all there is to say.
fn by_stdio(args: &ServeArgs) -> anyhow::Result<Outcome> {
    let under = args.root.as_ref().map_or(Images::Any, |root| Images::Under(root.clone()));
    let served = v2::serve_stdio(&images(args, under)?, &signals::quiet_cancel()?)?;
    Ok(if served.ended.is_ok() { Outcome::Good } else { Outcome::Bad })
}

/// Receives one image.
fn once(args: &ServeArgs, image: &Path, output: &Output) -> anyhow::Result<()> {
    let addresses = addresses(args, image)?;
    Target::check(image)?;
    // Before anybody is told that it can be sent.
    let one = OneImage::of(image)?;
    let token = token(args.token_file.as_deref())?;
    let identity = identity(args)?;
    let listener = listen(&addresses)?;
    let address = local_address(&listener)?.to_string();
    let v1 = v1::ServeOptions {
        zone: local_zone(),
        idle: Duration::from_secs(args.idle_timeout.unwrap_or(IDLE).into()),
        ..v1::ServeOptions::default()
    };
    let options = ReceiveOptions { v1, token, identity, ..ReceiveOptions::default() };
    let begun = Instant::now();
    let received = receive_one(image, &one, listener, &options, output)?;
    let report = Report {
        image: image.display().to_string(),
        address,
        protocol: if received.version == 1 { "v1" } else { "v2" },
        written_bytes: received.stats.written_bytes,
        compared_bytes: received.stats.compared_bytes,
        wire_bytes: received.stats.wire_bytes,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    let printed = output.report(&report, || vec![report.line()]);
    Ok(printed.map_err(|error| error.but(format!("{} is complete", report.image)))?)
}

/// Where to listen: beyond this machine only with protection, or when that is meant.
fn addresses(args: &ServeArgs, served: &Path) -> Result<Vec<SocketAddr>, Usage> {
    let wrong = |error| Usage(format!("--listen {} is no HOST:PORT: {error}", args.listen));
    let addresses: Vec<_> = args.listen.to_socket_addrs().map_err(wrong)?.collect();
    let is_protected = args.tls_cert.is_some() && args.token_file.is_some();
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    match beyond.filter(|_| !args.insecure && !is_protected) {
        Some(beyond) => Err(Usage(format!(
            "{beyond} can be reached from other machines, and the connection is not protected: whoever \
             connects may get at {}. Add --tls-cert, --tls-key and --token-file, or --insecure if that \
             is meant",
            served.display()
        ))),
        None => Ok(addresses),
    }
}

fn receive_one(
    image: &Path,
    one: &OneImage,
    listener: TcpListener,
    options: &ReceiveOptions,
    output: &Output,
) -> anyhow::Result<Received> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    output.note(&format!("listening on {}", local_address(&listener)?));
    let meter = Meter::start(&progress, output.progress, None);
    let report = |served: &Served| {
        if !output.quiet {
            output::say([session::line(served).as_str()]);
        }
    };
    let received = once::receive(one, listener, options, report, &progress, &cancel);
    drop(meter);
    received.map_err(|error| {
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
