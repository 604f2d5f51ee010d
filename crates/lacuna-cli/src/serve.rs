//! `lacuna serve`: receive an image.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacuna::{Progress, Target};
use lacuna_sync::v1::{ServeOptions, ServeStats, listen, local_address, serve};
use serde::Serialize;

use crate::args::ServeArgs;
use crate::clock::local_zone;
use crate::failure::{Usage, unless_stopped};
use crate::meter::Meter;
use crate::output::Output;
use crate::remedy::BOTH_AGAIN;
use crate::{signals, units};

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
    Target::check(&args.once)?;
    let listener = listen(&addresses)?;
    let address = local_address(&listener)?.to_string();
    let options = ServeOptions {
        zone: local_zone(),
        idle: Duration::from_secs(args.idle_timeout.into()),
        ..ServeOptions::default()
    };
    let begun = Instant::now();
    let stats = run_server(args, listener, &options, output)?;
    let report = Report {
        image: args.once.display().to_string(),
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
            args.once.display()
        )));
    }
    Ok(addresses)
}

fn run_server(
    args: &ServeArgs,
    listener: TcpListener,
    options: &ServeOptions,
    output: &Output,
) -> anyhow::Result<ServeStats> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    output.note(&format!("listening on {}", local_address(&listener)?));
    let meter = Meter::start(&progress, output.progress, None);
    let served = serve(&args.once, listener, options, &progress, &cancel);
    drop(meter);
    served.map_err(|error| {
        let operation = format!("receiving {}", args.once.display());
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
