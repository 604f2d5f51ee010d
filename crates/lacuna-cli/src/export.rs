//! `lacuna export`: write what a snapshot chain reads as to an image.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use lacuna::chain::{self, ChainOptions, Replica};
use lacuna::{Cancel, IoMode, Source};

use crate::args::ExportArgs;
use crate::endpoint::{self, Endpoint};
use crate::failure::Usage;
use crate::output::Output;
use crate::sync::{Job, Origin, to};

/// A chain to be read.
pub(crate) struct ChainOrigin {
    /// A replica directory, or layers from the oldest to the newest.
    sources: Vec<PathBuf>,
    snapshot: Option<String>,
    backing: Option<PathBuf>,
    force: bool,
}

impl ChainOrigin {
    pub(crate) fn open(&self, io: IoMode, cancel: &Cancel) -> lacuna::Result<Arc<Source>> {
        let options = ChainOptions { io, backing: self.backing.clone(), force: self.force };
        let source = match &self.sources[..] {
            [directory] if directory.is_dir() => {
                Replica::open(directory)?.source(self.snapshot.as_deref(), &options, cancel)
            }
            layers => chain::open(layers, &options, cancel),
        };
        source.map(Arc::new)
    }

    /// The directory, or the newest layer.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.sources.last().map_or(std::path::Path::new(""), |path| path)
    }
}

pub(crate) fn run(args: &ExportArgs, output: &Output) -> anyhow::Result<()> {
    let Some((target, sources)) =
        args.names.split_last().filter(|(_, sources)| !sources.is_empty())
    else {
        return Err(
            Usage("name a replica directory or layers, and behind them DST".to_owned()).into()
        );
    };
    let sources: Vec<_> = sources.iter().map(PathBuf::from).collect();
    let is_list = !matches!(&sources[..], [directory] if directory.is_dir());
    if let (true, Some(_)) = (is_list, &args.snapshot) {
        return Err(Usage("--snapshot is for replica directories only".to_owned()).into());
    }
    let origin = ChainOrigin {
        sources,
        snapshot: args.snapshot.clone(),
        backing: args.backing.clone(),
        force: args.force,
    };
    let source = origin.path().as_os_str().to_owned();
    let job = Job { verb: "export", source: &source, target, args: &args.transfer };
    let target = endpoint::parse(target).map_err(Usage)?;
    if let Endpoint::Path(path) = &target
        && path.is_file()
    {
        // It would be gone, and the chain with it.
        chain::refuse_layer(path)?;
        if path.file_name().and_then(OsStr::to_str).is_some_and(chain::is_ours) {
            let path = path.display();
            return Err(Usage(format!("{path} describes a replica: name another DST")).into());
        }
    }
    job.run(&to(&args.transfer, Origin::Chain(origin), target)?, output)
}
