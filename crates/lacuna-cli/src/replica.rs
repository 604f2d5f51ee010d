//! `lacuna sync` of a replica directory: all of its layers, and what describes them.

use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use lacuna::chain::Replica;
use lacuna_sync::replica::{self, Place, ReplicaOptions, ReplicaPlan, ReplicaStats};
use serde::Serialize;

use crate::args::{SyncArgs, TransferArgs};
use crate::endpoint::Endpoint;
use crate::failure::{SameDirectory, Usage, unless_stopped};
use crate::meter::attended;
use crate::output::Output;
use crate::remedy::{BEGIN_ANEW, GO_ON};
use crate::remote;
use crate::report::lines_of_plan;
use crate::strangers::{self, Via, What};
use crate::sync::copy_options;
use crate::units::{bytes, counted, seconds};

/// Between what, as typed, and how.
struct Ends {
    source: String,
    target: String,
    protocol: &'static str,
}

/// What a copy did.
#[derive(Serialize)]
struct Report {
    source: String,
    target: String,
    protocol: &'static str,
    layer_count: u64,
    skipped_layer_count: u64,
    removed_file_count: u64,
    size_bytes: u64,
    read_bytes: u64,
    compared_bytes: u64,
    sent_bytes: u64,
    wire_bytes: u64,
    written_bytes: u64,
    elapsed_seconds: f64,
}

/// What a copy would do.
#[derive(Serialize)]
struct DryRun {
    source: String,
    target: String,
    protocol: &'static str,
    dry_run: bool,
    layer_count: u64,
    skipped_layer_count: u64,
    removed_files: Vec<String>,
    #[serde(flatten)]
    plan: lacuna::copy::CopyPlan,
}

/// The two directories, where SRC is one: a directory on this machine, or elsewhere with a slash at its end.
pub(crate) fn places(
    args: &TransferArgs,
    source: &Endpoint,
    target: &Endpoint,
) -> anyhow::Result<Option<(Place, Place)>> {
    let is_directory = match source {
        Endpoint::Path(path) => path.is_dir(),
        Endpoint::Ssync(_) => false,
        Endpoint::Lacuna { path, .. } | Endpoint::Ssh { path, .. } => path.ends_with('/'),
    };
    if !is_directory {
        return Ok(None);
    }
    Ok(Some((place(args, source.clone())?, place(args, target.clone())?)))
}

fn place(args: &TransferArgs, endpoint: Endpoint) -> anyhow::Result<Place> {
    match endpoint {
        Endpoint::Path(path) => Ok(Place::Here(path)),
        Endpoint::Ssync(_) => {
            let why = "ssync:// knows no directories: name a directory, HOST:DIR, lacuna:// or lacunas://";
            Err(Usage(why.to_owned()).into())
        }
        elsewhere => {
            let remote = remote::at(args, elsewhere)?;
            Ok(Place::There(remote::admissible(args, &remote)?))
        }
    }
}

pub(crate) fn run(
    args: &SyncArgs,
    (source, target): (Place, Place),
    output: &Output,
) -> anyhow::Result<()> {
    strangers::refuse(&args.transfer, What::Directory, via(&source, &target)?)?;
    if let Place::Here(directory) = &source
        && let Ok(replica) = Replica::open(directory)
    {
        // What else is wrong with it is said when it is copied.
        replica.refuse_one_file(replica.layers().keys().map(String::as_str))?;
    }
    let options = ReplicaOptions {
        copy: copy_options(&args.transfer),
        sync: remote::options(&args.transfer),
        force: args.force,
    };
    let job = Job { args, source, target, options };
    if args.transfer.dry_run { job.dry_run(output) } else { job.sync(output) }
}

/// What is to be done.
struct Job<'a> {
    args: &'a SyncArgs,
    source: Place,
    target: Place,
    options: ReplicaOptions,
}

impl Job<'_> {
    fn dry_run(&self, output: &Output) -> anyhow::Result<()> {
        let (peer, dry) = (self.peer()?, remote::dry(&self.args.transfer));
        let plan = attended(output, peer, |progress, cancel| {
            replica::plan(&self.source, &self.target, dry, &self.options, progress, cancel)
        })?;
        let ends = self.ends()?;
        let plan = plan.map_err(|error| match is_same(&error, &self.source) {
            true => ends.same(),
            false => {
                let operation =
                    format!("dry run of the sync of {} to {}", ends.source, ends.target);
                unless_stopped(error.into(), operation, BEGIN_ANEW)
            }
        })?;
        let dry_run = DryRun::of(ends, &plan);
        Ok(output.report(&dry_run, || dry_run.lines())?)
    }

    fn sync(&self, output: &Output) -> anyhow::Result<()> {
        let begun = Instant::now();
        let stats = attended(output, self.peer()?, |progress, cancel| {
            replica::sync(&self.source, &self.target, &self.options, progress, cancel)
        })?;
        let ends = self.ends()?;
        let stats = stats.map_err(|error| match is_same(&error.cause, &self.source) {
            true => ends.same(),
            false => {
                let operation = format!("sync of {} to {}", ends.source, ends.target);
                unless_stopped(error.into(), operation, GO_ON)
            }
        })?;
        let report = Report::of(ends, &stats, begun.elapsed().as_secs_f64());
        let printed = output.report(&report, || report.lines());
        Ok(printed.map_err(|error| error.but(format!("{} is complete", report.target)))?)
    }

    fn peer(&self) -> Result<Option<&str>, Usage> {
        Ok(match via(&self.source, &self.target)? {
            Via::V2(reach) => Some(reach.peer()),
            Via::Paths | Via::V1 => None,
        })
    }

    fn ends(&self) -> Result<Ends, Usage> {
        let [source, target] =
            [&self.args.source, &self.args.target].map(|name| name.display().to_string());
        let protocol = if self.peer()?.is_some() { "v2" } else { "local" };
        Ok(Ends { source, target, protocol })
    }
}

impl Ends {
    fn same(&self) -> anyhow::Error {
        SameDirectory(self.source.clone(), self.target.clone()).into()
    }
}

/// The way between two directories, of which one at least is on this machine.
fn via<'a>(source: &'a Place, target: &'a Place) -> Result<Via<'a>, Usage> {
    match (source, target) {
        (Place::There(_), Place::There(_)) => {
            Err(Usage("one of SRC and DST must be a path on this machine".to_owned()))
        }
        (Place::There(remote), _) | (_, Place::There(remote)) => Ok(Via::V2(&remote.reach)),
        (Place::Here(_), Place::Here(_)) => Ok(Via::Paths),
    }
}

/// Whether it is the directory itself that is source and target, and not an image in it.
fn is_same(error: &lacuna_sync::Error, source: &Place) -> bool {
    let lacuna_sync::Error::Image(lacuna::Error::SameFile { source_path, .. }) = error else {
        return false;
    };
    match source {
        Place::Here(directory) => source_path == directory,
        Place::There(remote) => source_path.as_os_str().as_bytes() == remote.path,
    }
}

impl Report {
    fn of(ends: Ends, stats: &ReplicaStats, elapsed_seconds: f64) -> Self {
        let Ends { source, target, protocol } = ends;
        Self {
            source,
            target,
            protocol,
            layer_count: stats.layers,
            skipped_layer_count: stats.skipped_layers,
            removed_file_count: stats.removed_files,
            size_bytes: stats.size_bytes,
            read_bytes: stats.read_bytes,
            compared_bytes: stats.compared_bytes,
            sent_bytes: stats.sent_bytes,
            wire_bytes: stats.wire_bytes,
            written_bytes: stats.written_bytes,
            elapsed_seconds,
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self { source, target, skipped_layer_count, .. } = self;
        let layers = counted(self.layer_count, "layer");
        let removed = counted(self.removed_file_count, "file");
        let elapsed = seconds(self.elapsed_seconds);
        let moved = match self.wire_bytes {
            0 => String::new(),
            wire => format!(", sent {} ({} on the wire)", bytes(self.sent_bytes), bytes(wire)),
        };
        vec![
            format!("{source} -> {target}: {layers} of {} in {elapsed}", bytes(self.size_bytes)),
            format!("{}; {removed} removed", not_read(*skipped_layer_count)),
            format!(
                "read {}, compared {}{moved}, written {}",
                bytes(self.read_bytes),
                bytes(self.compared_bytes),
                bytes(self.written_bytes)
            ),
        ]
    }
}

impl DryRun {
    fn of(ends: Ends, plan: &ReplicaPlan) -> Self {
        let Ends { source, target, protocol } = ends;
        Self {
            source,
            target,
            protocol,
            dry_run: true,
            layer_count: plan.layers,
            skipped_layer_count: plan.skipped_layers,
            removed_files: plan.removed_files.clone(),
            plan: plan.copy.clone(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let Self { source, target, plan, .. } = self;
        let (layers, size) = (counted(self.layer_count, "layer"), bytes(plan.size_bytes));
        let mut lines = vec![
            format!("{source} -> {target}: {layers} of {size}, nothing done"),
            not_read(self.skipped_layer_count),
        ];
        lines.extend(lines_of_plan(plan, self.protocol));
        lines.extend(self.removed_files.iter().map(|name| format!("would remove {name}")));
        lines
    }
}

fn not_read(layers: u64) -> String {
    format!("{} not read: equal by checksum and layout", counted(layers, "layer"))
}
