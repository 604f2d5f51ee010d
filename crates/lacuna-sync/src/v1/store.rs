//! The one image that a v1 server has to give: closed, open, or done with. Blocking.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use lacuna::checksum_file::{self, ChecksumFile};
use lacuna::{Cancel, Image, ImageOptions, Progress, Source, Target};
use lacuna_wire::v1::Refusal;

use super::opened::{Opened, Shared};
use super::session;
use crate::error::{Error, Result};

/// One image that one client may open, fill and close.
pub(super) struct Store {
    path: PathBuf,
    zone: TimeZone,
    shared: Shared,
    state: Mutex<State>,
}

enum State {
    Idle,
    /// `open` was tried and failed.
    Refused,
    Open(Arc<Opened>),
    Closed,
}

/// What stands there when a session has ended well.
pub(super) enum Closed {
    /// The image.
    Image,
    /// Nothing: it was not opened, and there is none.
    Nothing,
}

impl Store {
    pub(super) fn new(
        path: &Path,
        zone: TimeZone,
        progress: Arc<Progress>,
        cancel: Cancel,
    ) -> Self {
        let (shared, state) = (Shared::new(progress, cancel), Mutex::new(State::Idle));
        Self { path: path.to_owned(), zone, shared, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the image and gives it its size. True when there is content to compare with; a second
    /// `open` finds what the first one made, and begins a session of its own.
    pub(super) fn open(&self, size: u64, direct: bool) -> Result<bool> {
        let mut state = self.state();
        let opened = self.open_in(&mut state, size, direct);
        if opened.is_err() && matches!(*state, State::Idle) {
            *state = State::Refused;
        }
        opened
    }

    fn open_in(&self, state: &mut State, size: u64, direct: bool) -> Result<bool> {
        match &*state {
            State::Idle | State::Refused => {}
            State::Open(opened) => return opened.restart(size, direct).map(|()| true),
            State::Closed => return Err(session::closed()),
        }
        let opened = Opened::open(&self.path, size, direct, &self.shared)?;
        let existed = opened.existed();
        *state = State::Open(Arc::new(opened));
        Ok(existed)
    }

    /// The image, when it is open.
    pub(super) fn opened(&self) -> Result<Arc<Opened>> {
        match &*self.state() {
            State::Idle | State::Refused => Err(session::not_open()),
            State::Open(opened) => Ok(opened.clone()),
            State::Closed => Err(session::closed()),
        }
    }

    /// The `.checksum` file, verbatim, when it speaks of the image as it is.
    pub(super) fn recorded_metadata(&self) -> Result<Vec<u8>, Refusal> {
        let failed = |error: lacuna::Error| Refusal::failed(lacuna::describe(&error));
        let text = match Target::is_device(&self.path) {
            // The change time of a device's node says nothing of what the device holds.
            true => None,
            false => ChecksumFile::read_text(&self.path).map_err(failed)?,
        };
        let Some(text) = text else {
            let path = checksum_file::path_of(&self.path);
            return Err(Refusal::new(
                404,
                format!(
                    "failed to open checksum file: open {}: no such file or directory",
                    path.display()
                ),
            ));
        };
        // What an interrupted session left is to be finished, whatever vouches for it.
        let whole = Source::open(&self.path, &ImageOptions::default());
        if let Err(error @ lacuna::Error::Unfinished { .. }) = whole {
            return Err(failed(error));
        }
        drop(whole);
        let image = Image::open(&self.path, &ImageOptions::default()).map_err(failed)?;
        let stamp = image.stamp().map_err(failed)?;
        let recorded: Option<ChecksumFile> = serde_json::from_slice(&text).ok();
        let trusted =
            |recorded: &ChecksumFile| recorded.is_fresh(&stamp) && !recorded.silently_corrupted;
        if recorded.as_ref().is_some_and(trusted) {
            return Ok(text);
        }
        let current = checksum_file::change_time(&stamp, &self.zone).unwrap_or_default();
        let expected = recorded.map(|recorded| recorded.change_time).unwrap_or_default();
        Err(Refusal::failed(format!(
            "disk file {} is changed (current change time {current}, expected change time {expected})",
            self.path.display()
        )))
    }

    /// Ends the session, when nothing is under way any more: an image that is complete becomes
    /// durable and takes its name, and its checksum is recorded if it is the announced one.
    pub(super) fn close(&self, method: &str, checksum: &str) -> Result<Closed> {
        let opened = match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Idle => return self.close_unopened(),
            State::Refused => return Err(Error::State("the image could not be opened")),
            State::Closed => return Err(session::closed()),
            State::Open(opened) => opened,
        };
        match Arc::into_inner(opened) {
            Some(opened) => opened.finish(method, checksum, &self.zone).map(|()| Closed::Image),
            None => Err(Error::State("a request is still under way")),
        }
    }

    /// A `close` without an `open` is for an image that is known to be equal, or for nobody. It is
    /// not for a session that another server began and left unfinished.
    fn close_unopened(&self) -> Result<Closed> {
        match Target::is_unfinished(&self.path)? {
            true => Err(Error::State("the image is unfinished, and was not opened")),
            false if self.path.exists() => Ok(Closed::Image),
            false => Ok(Closed::Nothing),
        }
    }

    /// Makes what has arrived durable and says where it is kept, when a session ends without
    /// `close`.
    pub(super) fn abandon(&self) -> String {
        match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Open(opened) => opened.keep(),
            State::Idle | State::Refused | State::Closed => "nothing had been opened".to_owned(),
        }
    }
}
