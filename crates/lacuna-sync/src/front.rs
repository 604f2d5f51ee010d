//! What a connection begins with: lacuna's own protocol, plain or by TLS, or HTTP.

use std::sync::Arc;
use std::time::Duration;

use lacuna::Counter;
use lacuna_wire::{ClientHello, MAGIC};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Refusal, Result, Unreached};
use crate::traffic::Counted;
use crate::v2::{Identity, PATIENCE, Stream, hear, refuse};

/// What the record of a TLS hello begins with.
const TLS: u8 = 0x16;

/// "Handshake failure", fatal, in a record of TLS 1.2: RFC 5246, 7.2.
const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 40];

/// How long what is sent away may still talk.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Somebody who has begun to speak.
pub(crate) enum Caller {
    /// A client of version 2, and what it said.
    Lacuna(Stream, ClientHello),
    /// Something else, maybe HTTP: nothing of it is read yet.
    Other(TcpStream),
}

/// Waits for the first words of a client, which must begin within `patience` and end within that and
/// [`PATIENCE`] of their beginning, and counts what version 2 sends in `wire`. With an `identity`, version 2
/// is spoken by TLS alone.
pub(crate) async fn greet(
    stream: TcpStream,
    identity: Option<&Identity>,
    wire: &Arc<Counter>,
    patience: Duration,
) -> Result<Caller> {
    let lost = |source| Error::Lost { source };
    stream.set_nodelay(true).map_err(lost)?;
    let (mut first, deadline) = ([0], Instant::now() + patience);
    let peeked = timeout_at(deadline, stream.peek(&mut first)).await;
    if peeked.map_err(|_| Error::Silent { after: patience })?.map_err(lost)? == 0 {
        return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let is_plain = match first {
        [TLS] => false,
        [first] if first == MAGIC[0] => true,
        _ => return Ok(Caller::Other(stream)),
    };
    let deadline = deadline.min(Instant::now() + PATIENCE);
    let stream: Stream = match identity {
        _ if is_plain => Box::new(Counted::new(stream, wire.clone())),
        Some(identity) => {
            Box::new(shake(identity, Counted::new(stream, wire.clone()), deadline).await?)
        }
        None => {
            send_away(stream, &ALERT).await;
            return Err(Unreached::NoTlsHere.into());
        }
    };
    hear_out(stream, deadline, is_plain && identity.is_some()).await
}

/// Waits for the hello of a client, who is sent away when TLS was to be around it and is not.
async fn hear_out(mut stream: Stream, deadline: Instant, lacks_tls: bool) -> Result<Caller> {
    let heard = match hear(&mut stream, deadline).await {
        Ok(_) if lacks_tls => Err(Refusal::TlsOnly.into()),
        heard => heard,
    };
    match heard {
        Ok(hello) => Ok(Caller::Lacuna(stream, hello)),
        Err(error) => {
            let refused = refuse(&mut stream, error.code(), error.words());
            // Who does not listen to that finds out otherwise.
            let _ = timeout(LAST_WORDS, refused).await;
            Err(error)
        }
    }
}

async fn shake(
    identity: &Identity,
    stream: Counted<TcpStream>,
    deadline: Instant,
) -> Result<TlsStream<Counted<TcpStream>>> {
    match timeout_at(deadline, identity.accept(stream)).await {
        Ok(shaken) => shaken.map_err(|source| Error::Lost { source }),
        Err(_) => Err(Error::Silent { after: PATIENCE }),
    }
}

/// Tells a client of HTTP that it is wrong here.
pub(crate) async fn refuse_http(stream: TcpStream, why: &str) {
    let length = why.len() + 1;
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{why}\n"
    );
    send_away(stream, answer.as_bytes()).await;
}

/// Says `words`, and takes in what still comes: what is not read would reset the connection, and the
/// words with it.
async fn send_away(mut stream: TcpStream, words: &[u8]) {
    let said = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        copy(&mut stream, &mut sink()).await
    };
    // Who does not listen to that finds out otherwise.
    let _ = timeout(LAST_WORDS, said).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn all_of_the_first_words_have_one_deadline() {
        let begun = Instant::now();
        let greeted = block_on(async {
            let lost = |source| Error::Lost { source };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(lost)?;
            let address = listener.local_addr().map_err(lost)?;
            let mut client = TcpStream::connect(address).await.map_err(lost)?;
            let (server, _) = listener.accept().await.map_err(lost)?;
            let (wire, patience) = (Arc::default(), Duration::from_secs(1));
            let speaking = async {
                tokio::time::sleep(patience / 2).await;
                client.write_all(&MAGIC).await
            };
            let (greeted, said) = tokio::join!(greet(server, None, &wire, patience), speaking);
            said.map_err(lost)?;
            greeted
        });
        assert!(matches!(greeted, Err(Error::Silent { .. })));
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    }
}
