//! SIGINT and SIGTERM.

use std::io::stderr;

use anyhow::Context;
use lacuna::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::ProgressStyle;
use crate::output::{self, Output};

/// A cancel that SIGINT and SIGTERM ask for; the second of them ends the process at once.
pub(crate) fn cancel(output: &Output) -> anyhow::Result<Cancel> {
    let cancel = Cancel::default();
    let mut signals = register(&cancel).context("cannot handle signals")?;
    if output.quiet {
        return Ok(cancel);
    }
    // The cursor stands behind a bar.
    let shows_bar = output.progress == ProgressStyle::Auto && output::is_capable(&stderr());
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let new_line = shows_bar.then_some("");
            output::say(new_line.into_iter().chain(["stopping; again to stop at once"]));
        }
    });
    Ok(cancel)
}

/// The same, without a word.
pub(crate) fn quiet_cancel() -> anyhow::Result<Cancel> {
    let cancel = Cancel::default();
    register(&cancel).context("cannot handle signals")?;
    Ok(cancel)
}

fn register(cancel: &Cancel) -> std::io::Result<Signals> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, cancel.flag())?;
        signal_hook::flag::register(signal, cancel.flag())?;
    }
    Signals::new([SIGINT, SIGTERM])
}
