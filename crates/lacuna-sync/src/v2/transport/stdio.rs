//! The standard input and output of this process, when another one holds their other ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use tokio::io::{AsyncRead, AsyncWrite, join};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::Stream;
use crate::error::{Result, Unreached};

/// Both as one stream.
///
/// # Errors
///
/// [`Unreached::Stdio`] unless they are pipes or sockets.
pub(in crate::v2) fn stdio() -> Result<Stream> {
    let opened = input(io::stdin().as_fd()).and_then(|input| {
        let stream: Stream = Box::new(join(input, output(io::stdout().as_fd())?));
        Ok(stream)
    });
    Ok(opened.map_err(|source| Unreached::Stdio { source })?)
}

fn input(fd: BorrowedFd<'_>) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    let fd = fd.try_clone_to_owned()?;
    Ok(match is_socket(&fd)? {
        true => Box::new(socket(fd)?),
        false => Box::new(pipe::Receiver::from_owned_fd(fd)?),
    })
}

fn output(fd: BorrowedFd<'_>) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let fd = fd.try_clone_to_owned()?;
    Ok(match is_socket(&fd)? {
        true => Box::new(socket(fd)?),
        false => Box::new(pipe::Sender::from_owned_fd(fd)?),
    })
}

fn is_socket(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Socket)
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
