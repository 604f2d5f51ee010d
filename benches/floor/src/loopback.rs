//! The floor of a network on one machine: one TCP connection, large writes.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic;
use std::thread;
use std::time::Instant;

use crate::args::{self, Args};
use crate::failure::{Failure, Result};
use crate::timing::Timing;

/// Bytes of a write and of a read.
const CHUNK: usize = 1 << 20;

/// `floor loopback`: the time until the last byte has been read.
pub(crate) fn loopback(args: Args) -> Result<Timing> {
    let [bytes] = args.operands()?;
    let bytes = args::parse_bytes(&bytes)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::other("listen"))?;
    let address = listener.local_addr().map_err(Failure::other("listen"))?;
    let start = Instant::now();
    let received = thread::scope(|scope| {
        let reader = scope.spawn(|| receive(&listener));
        let sent = TcpStream::connect(address).and_then(|stream| send(stream, bytes));
        let received = reader.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        sent.map_err(Failure::other("send"))?;
        received.map_err(Failure::other("receive"))
    })?;
    Ok(Timing::since(start, received))
}

fn send(mut stream: TcpStream, bytes: u64) -> io::Result<()> {
    let chunk = vec![0xA5; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..length])?;
        left -= length as u64;
    }
    Ok(())
}

fn receive(listener: &TcpListener) -> io::Result<u64> {
    let (mut stream, _) = listener.accept()?;
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(received),
            count => received += count as u64,
        }
    }
}
