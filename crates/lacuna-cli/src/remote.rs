//! Syncs with a server of lacuna's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna::{Cancel, Links, Progress, Stopped};
use lacuna_sync::v2::{self, Failure, Landing, LinkOptions, Remote, SyncOptions};

use crate::args::SyncArgs;
use crate::meter::Meter;
use crate::output::Output;
use crate::report::Report;
use crate::signals;

/// Makes the image behind a server what `source` is.
pub(crate) fn push(
    args: &SyncArgs,
    source: &Path,
    remote: &Remote,
    output: &Output,
) -> anyhow::Result<Report> {
    let options = options(args);
    let (pushed, read_bytes, sent_bytes) = attended(remote, output, |progress, cancel| {
        let pushed = v2::push(source, remote, &options, progress, cancel);
        (pushed, progress.read_bytes.get(), progress.sent_bytes.get())
    })?;
    let (sent, wire_bytes) = pushed?;
    Ok(Report {
        protocol: "v2",
        size_bytes: sent.size_bytes,
        kinds: sent.kinds,
        read_bytes,
        compared_bytes: sent.compared_bytes,
        sent_bytes,
        wire_bytes,
        written_bytes: sent.written_bytes,
        resumed_bytes: sent.resumed_bytes,
        receipt: Some(lacuna::digest::hex(&sent.receipt)),
        ..Report::default()
    })
}

/// Makes `target` what the image behind a server is.
pub(crate) fn pull(
    args: &SyncArgs,
    remote: &Remote,
    target: &Path,
    output: &Output,
) -> anyhow::Result<Report> {
    let options = options(args);
    let landing =
        Landing { path: target.to_owned(), io: options.io, links: Links::Follow, mode: args.chmod };
    let pulled = attended(remote, output, |progress, cancel| {
        v2::pull(remote, &landing, &options, progress, cancel)
    })?;
    let (received, wire_bytes) = pulled.map_err(of_failure)?;
    Ok(Report {
        protocol: "v2",
        size_bytes: received.size_bytes,
        kinds: received.kinds,
        compared_bytes: received.compared_bytes,
        wire_bytes,
        written_bytes: received.written_bytes,
        resumed_bytes: received.resumed_bytes,
        rest_bytes: received.rest_bytes,
        receipt: Some(lacuna::digest::hex(&received.receipt)),
        ..Report::default()
    })
}

fn attended<T>(
    remote: &Remote,
    output: &Output,
    work: impl FnOnce(&Arc<Progress>, &Cancel) -> T,
) -> anyhow::Result<T> {
    let cancel = signals::cancel(output)?;
    let progress = Arc::new(Progress::default());
    let meter = Meter::start(&progress, output.progress, Some(&remote.address));
    let done = work(&progress, &cancel);
    drop(meter);
    Ok(done)
}

/// What is kept on this machine is told like that of a copy.
fn of_failure(failure: Failure) -> anyhow::Error {
    match *failure.cause {
        lacuna_sync::Error::Image(cause) => Stopped { cause, kept: failure.kept }.into(),
        cause => cause.into(),
    }
}

fn options(args: &SyncArgs) -> SyncOptions {
    let defaults = SyncOptions::default();
    SyncOptions {
        io: args.io.mode(),
        threads: args.jobs.map_or(defaults.threads, usize::from),
        zstd: args.compress.map_or(defaults.zstd, |compression| compression.0),
        verify: args.verify,
        no_resume: args.no_resume,
        mode: args.chmod,
        connect_timeout: args
            .connect_timeout
            .map_or(defaults.connect_timeout, |seconds| Duration::from_secs(seconds.into())),
        retries: args.retries.unwrap_or(defaults.retries),
        link: LinkOptions { rate: args.bwlimit, ..defaults.link },
    }
}
