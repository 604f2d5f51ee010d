//! How much of a file is in the page cache: the cachestat system call of Linux 6.5.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// The number of the call, the same on every architecture.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of `linux/mman.h`; a length of 0 reaches to the end.
#[repr(C)]
struct Span {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of `linux/mman.h`, in pages.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Pages of `file` that are in the cache; `None` where the system does not tell.
pub(crate) fn cached_pages(file: &File) -> Option<u64> {
    let (mut span, mut pages) = (Span { offset: 0, length: 0 }, Pages::default());
    let fd = libc::c_long::from(file.as_raw_fd());
    // SAFETY: cachestat reads a `struct cachestat_range` and fills a `struct cachestat`, which `Span`
    // and `Pages` are; both, and the descriptor, outlive the call.
    let answer = unsafe { libc::syscall(CACHESTAT, fd, &raw mut span, &raw mut pages, 0) };
    (answer == 0).then_some(pages.cached)
}
