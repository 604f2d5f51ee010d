//! A bare HTTP client: it sends what it is told, in pieces if need be, and reads the answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Http {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order in which they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|header| header.0 == name);
        found.map(|header| header.1.as_str())
    }

    /// The body, which is text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }
}

impl Http {
    pub(crate) fn dial(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.set_nodelay(true).expect("send at once");
        Self { stream, unread: vec![] }
    }

    /// The connection itself, to write to from elsewhere or to set timeouts on.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A whole request and its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.send_head(method, target, body.len());
        self.send(body);
        self.answer().unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// The head of a request that announces a body of `length` bytes.
    #[track_caller]
    pub(crate) fn send_head(&mut self, method: &str, target: &str, length: usize) {
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        self.send(head.as_bytes());
    }

    /// Begins a request and waits until the server wants its body.
    #[track_caller]
    pub(crate) fn begin(&mut self, method: &str, target: &str, length: usize) {
        self.announce(method, target, length);
        let answer = self.answer().expect("leave to go on");
        assert_eq!(answer.status, 100, "{}", answer.text());
    }

    /// The head of a request whose body is only sent when the server says that it wants it.
    pub(crate) fn announce(&mut self, method: &str, target: &str, length: usize) {
        self.send(
            format!(
                "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\
                 Expect: 100-continue\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    /// Bytes as they are. A server that does not want them any more may have closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let head = self.read_to(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<_> =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut answer = Answer { status, headers, body: vec![] };
        let length = answer.header("content-length").unwrap_or("0").parse();
        answer.body = self.read(length.map_err(io::Error::other)?)?;
        Ok(answer)
    }

    fn read_to(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|bytes| bytes == end) {
                let rest = self.unread.split_off(at + end.len());
                let mut head = std::mem::replace(&mut self.unread, rest);
                head.truncate(at);
                return Ok(head);
            }
            self.fill()?;
        }
    }

    fn read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill()?;
        }
        let rest = self.unread.split_off(length);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let read = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.unread.extend_from_slice(&bytes[..read]);
        match read {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The requests of v1.
impl Http {
    #[track_caller]
    pub(crate) fn open(&mut self, size: u64, direct: bool) -> Answer {
        let target = format!("/v1-ssync/open?begin=0&directIO={direct}&end={size}");
        self.ask("GET", &target, b"")
    }

    #[track_caller]
    pub(crate) fn write(&mut self, begin: u64, end: u64, body: &[u8]) -> Answer {
        self.ask("POST", &ranged("writeData", begin, end), body)
    }

    #[track_caller]
    pub(crate) fn punch(&mut self, begin: u64, end: u64) -> Answer {
        self.ask("POST", &ranged("sendHole", begin, end), b"")
    }

    #[track_caller]
    pub(crate) fn hash(&mut self, begin: u64, end: u64) -> Answer {
        self.ask("GET", &ranged("getChecksum", begin, end), b"")
    }

    #[track_caller]
    pub(crate) fn metadata(&mut self) -> Answer {
        self.ask("GET", "/v1-ssync/getRecordedMetadata", b"")
    }

    /// With the method crc64 when there is a checksum.
    #[track_caller]
    pub(crate) fn close(&mut self, checksum: &str) -> Answer {
        let method = if checksum.is_empty() { "" } else { "crc64" };
        self.ask("POST", &closing(method, checksum), b"")
    }
}

pub(crate) fn ranged(name: &str, begin: u64, end: u64) -> String {
    format!("/v1-ssync/{name}?begin={begin}&end={end}")
}

pub(crate) fn closing(method: &str, checksum: &str) -> String {
    format!("/v1-ssync/close?checksum={checksum}&checksumMethod={method}")
}
