//! The first words of each side.

use std::time::Duration;

use lacuna_wire::{ClientHello, MAGIC, ServerHello, VERSION, hello_length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{Error, Result};

/// For a hello, and the handshake of TLS before it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name and version of this program, for people.
pub(super) const PROGRAM: &str = concat!("lacuna/", env!("CARGO_PKG_VERSION"));

/// Says hello to `server`, which is given `patience` to answer; whether both may compress.
///
/// # Errors
///
/// [`Error::SentAway`] when it refuses, [`Error::NotLacuna`] when it is none.
pub(super) async fn greet<S>(
    stream: &mut S,
    server: &str,
    hello: &ClientHello,
    patience: Duration,
) -> Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |source| Error::Lost { source };
    stream.write_all(&hello.encode().map_err(Error::Wire)?).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let answer = timeout(patience, read_hello(stream)).await;
    let answer = answer.map_err(|_| Error::Silent { after: patience })??;
    match ServerHello::decode(&answer).map_err(Error::Wire)? {
        ServerHello::Refusal { code, words } => {
            Err(Error::SentAway { server: server.to_owned(), code, words })
        }
        ServerHello::Welcome { version, zstd, .. } if version == VERSION => {
            Ok(zstd && hello.zstd.is_some())
        }
        ServerHello::Welcome { .. } => {
            Err(Error::malformed("the hello", "chooses a version that was not offered"))
        }
    }
}

/// Waits for the hello of a client.
pub(crate) async fn hear<S: AsyncRead + Unpin>(
    stream: &mut S,
    deadline: Instant,
) -> Result<ClientHello> {
    let hello = timeout_at(deadline, read_hello(stream)).await;
    let hello = hello.map_err(|_| Error::Silent { after: PATIENCE })??;
    ClientHello::decode(&hello).map_err(Error::Wire)
}

/// Lets a client in that was heard.
pub(super) async fn welcome<S: AsyncWrite + Unpin>(stream: &mut S, zstd: bool) -> Result<()> {
    let hello = ServerHello::Welcome { version: VERSION, program: PROGRAM.to_owned(), zstd };
    say(stream, &hello).await
}

/// Sends a client away.
pub(crate) async fn refuse<S: AsyncWrite + Unpin>(
    stream: &mut S,
    code: u16,
    words: String,
) -> Result<()> {
    let hello = ServerHello::Refusal { code, words };
    say(stream, &hello).await?;
    stream.shutdown().await.map_err(|source| Error::Lost { source })
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, hello: &ServerHello) -> Result<()> {
    let bytes = hello.encode().map_err(Error::Wire)?;
    let said = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    match timeout(PATIENCE, said).await {
        Ok(said) => said.map_err(|source| Error::Lost { source }),
        Err(_) => Err(Error::Stalled { after: PATIENCE }),
    }
}

/// As many bytes as a hello says that it has. Nothing behind it is read.
async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>> {
    let mut hello = vec![0; MAGIC.len()];
    let lost = |source| Error::Lost { source };
    stream.read_exact(&mut hello).await.map_err(lost)?;
    if hello != MAGIC {
        return Err(Error::NotLacuna { is_http: hello.starts_with(b"HTTP/") });
    }
    loop {
        let length = match hello_length(&hello).map_err(Error::Wire)? {
            Some(length) if length == hello.len() => return Ok(hello),
            Some(length) => length,
            None => hello.len() + 2,
        };
        let read = hello.len();
        hello.resize(length, 0);
        stream.read_exact(&mut hello[read..]).await.map_err(lost)?;
    }
}
