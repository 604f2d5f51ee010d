//! Copies of images that are named, not opened.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::path::Path;

use lacuna::copy::{self, CopyOptions, CopyPlan, CopyStats};
use lacuna::{Cancel, Error, Image, ImageOptions, Progress, Source, SourceStamp, Stopped};

pub(crate) fn open(source: &Path, options: &CopyOptions) -> Result<Source, Error> {
    Source::open(source, &ImageOptions { io: options.io, ..ImageOptions::default() })
}

pub(crate) fn stamp(source: &Path) -> SourceStamp {
    Image::open(source, &ImageOptions::default()).unwrap().stamp().unwrap().into()
}

pub(crate) fn copy(
    source: &Path,
    target: &Path,
    options: &CopyOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyStats, Stopped> {
    copy::copy(&open(source, options)?, target, options, progress, cancel)
}

pub(crate) fn plan(source: &Path, target: &Path, options: &CopyOptions) -> Result<CopyPlan, Error> {
    copy::plan(&open(source, options)?, target, options)
}

pub(crate) fn compare(
    source: &Path,
    target: &Path,
    options: &CopyOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CopyPlan, Error> {
    copy::compare(&open(source, options)?, target, options, progress, cancel)
}
