//! Requests: read from method and target by a server, written as both by a client.

use super::go::{self, IntError};
use super::query::{Query, escape, plain};
use super::{BLOCK, Interval, MAX_TARGET, MAX_VALUE, PREFIX, Refusal};

/// An HTTP method that v1 uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

impl Method {
    /// The method as HTTP spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A request, without the body that follows [`WriteData`](Self::WriteData).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Creates or opens the file and makes it `size` bytes long.
    Open {
        /// The size of the image in bytes, at most `i64::MAX`; a multiple of [`BLOCK`] with
        /// `direct_io`.
        size: u64,
        /// Whether the server is to read and write around the page cache.
        direct_io: bool,
    },
    /// Asks for the checksum of a range.
    GetChecksum(Interval),
    /// Writes a range; the bytes are the body. See [`check_body`](super::check_body).
    WriteData(Interval),
    /// Makes a range a hole.
    SendHole(Interval),
    /// Asks for the `.checksum` file beside the image.
    GetRecordedMetadata,
    /// Ends the sync and stops the server. When neither value is empty, they are the checksum of
    /// the whole image, to be recorded. Each has at most [`MAX_VALUE`] bytes.
    Close {
        /// How the checksum was made: `crc64` is what Longhorn knows.
        method: String,
        /// The checksum as text.
        checksum: String,
    },
}

/// The last part of a path that exists.
#[derive(Clone, Copy)]
enum Name {
    Open,
    GetChecksum,
    WriteData,
    SendHole,
    GetRecordedMetadata,
    Close,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "open" => Self::Open,
            "getChecksum" => Self::GetChecksum,
            "writeData" => Self::WriteData,
            "sendHole" => Self::SendHole,
            "getRecordedMetadata" => Self::GetRecordedMetadata,
            "close" => Self::Close,
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            Self::Open | Self::GetChecksum | Self::GetRecordedMetadata => Method::Get,
            Self::WriteData | Self::SendHole | Self::Close => Method::Post,
        }
    }
}

impl Request {
    /// Reads a request from its method (`GET`) and its target (`/v1-ssync/open?begin=0&...`).
    ///
    /// Paths are compared as they are, without decoding them. Of a repeated parameter the first
    /// value counts, unknown ones are ignored, and so are those that are badly encoded.
    ///
    /// # Errors
    ///
    /// The answer to send: 404, 405, 301 for a slash too many, 414 for a target over
    /// [`MAX_TARGET`], 500 with the original's text for a parameter that is missing or malformed,
    /// and 400 for what the original would do harm with.
    pub fn parse(method: &str, target: &str) -> Result<Self, Refusal> {
        if target.len() > MAX_TARGET {
            let message = format!("a request target is at most {MAX_TARGET} bytes long");
            return Err(Refusal::new(414, message));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let last = path.strip_prefix(PREFIX).ok_or_else(Refusal::not_found)?;
        let unslashed = last.strip_suffix('/');
        let name = Name::parse(unslashed.unwrap_or(last)).ok_or_else(Refusal::not_found)?;
        if method != name.method().as_str() {
            let message = format!("{path} takes {} only", name.method().as_str());
            return Err(Refusal::new(405, message));
        }
        if let Some(unslashed) = unslashed {
            let query = target.strip_prefix(path).unwrap_or_default();
            let location = format!("{PREFIX}{unslashed}{query}");
            return Err(Refusal::moved(&location, method == Method::Get.as_str()));
        }
        Self::parse_query(name, &Query::parse(query))
    }

    fn parse_query(name: Name, query: &Query) -> Result<Self, Refusal> {
        Ok(match name {
            Name::Open => open(query)?,
            Name::GetChecksum => Self::GetChecksum(interval(query)?),
            Name::WriteData => Self::WriteData(interval(query)?),
            Name::SendHole => Self::SendHole(interval(query)?),
            Name::GetRecordedMetadata => Self::GetRecordedMetadata,
            Name::Close => Self::Close {
                method: value(query, "checksumMethod")?,
                checksum: value(query, "checksum")?,
            },
        })
    }

    /// The method to send it with.
    pub fn method(&self) -> Method {
        self.name().method()
    }

    fn name(&self) -> Name {
        match self {
            Self::Open { .. } => Name::Open,
            Self::GetChecksum(_) => Name::GetChecksum,
            Self::WriteData(_) => Name::WriteData,
            Self::SendHole(_) => Name::SendHole,
            Self::GetRecordedMetadata => Name::GetRecordedMetadata,
            Self::Close { .. } => Name::Close,
        }
    }

    /// The target to send: path and query, with the parameters in the order in which the original's
    /// client sends them, which is sorted by key.
    ///
    /// A `Close` with a value over [`MAX_VALUE`] is sent with both values empty, so that nothing is
    /// recorded.
    pub fn target(&self) -> String {
        match self {
            Self::Open { size, direct_io } => {
                format!("{PREFIX}open?begin=0&directIO={direct_io}&end={size}")
            }
            Self::GetChecksum(interval) => ranged("getChecksum", *interval),
            Self::WriteData(interval) => ranged("writeData", *interval),
            Self::SendHole(interval) => ranged("sendHole", *interval),
            Self::GetRecordedMetadata => format!("{PREFIX}getRecordedMetadata"),
            Self::Close { method, checksum } => {
                let fit = method.len().max(checksum.len()) <= MAX_VALUE;
                let (method, checksum) = if fit { (&**method, &**checksum) } else { ("", "") };
                let (method, checksum) = (escape(method), escape(checksum));
                format!("{PREFIX}close?checksum={checksum}&checksumMethod={method}")
            }
        }
    }
}

fn ranged(name: &str, interval: Interval) -> String {
    format!("{PREFIX}{name}?begin={}&end={}", interval.begin(), interval.end())
}

/// Checked in the original's order, for the first fault decides which text is sent.
fn open(query: &Query) -> Result<Request, Refusal> {
    let direct_io = direct_io(query)?;
    let interval = interval(query)?;
    let size = interval.end();
    if interval.begin() != 0 {
        let message = format!("an image begins at 0, not at {}", interval.begin());
        return Err(Refusal::new(400, message));
    }
    if direct_io && !size.is_multiple_of(BLOCK) {
        return Err(Refusal::failed(format!("invalid file size {size} for directIO")));
    }
    Ok(Request::Open { size, direct_io })
}

fn direct_io(query: &Query) -> Result<bool, Refusal> {
    const FAILED: &str = "failed to query directIO";
    let text = query.get("directIO");
    if text.is_empty() {
        let queries = query.print();
        let message = format!("{FAILED}: directIO does not exist in the queries {queries}");
        return Err(Refusal::failed(message));
    }
    go::parse_bool(text).ok_or_else(|| {
        Refusal::failed(format!(
            "{FAILED}: failed to parse directIO string {}: strconv.ParseBool: parsing {}: \
             invalid syntax",
            plain(text),
            go::quote(text)
        ))
    })
}

fn interval(query: &Query) -> Result<Interval, Refusal> {
    if query.get("begin").is_empty() || query.get("end").is_empty() {
        let message = "failed to query interval: queryParams begin or end does not exist";
        return Err(Refusal::failed(message));
    }
    let begin = offset(query, "begin")?;
    let end = offset(query, "end")?;
    Interval::new(begin, end).ok_or_else(|| {
        let message = format!("failed to query interval: end {end} is before begin {begin}");
        Refusal::new(400, message)
    })
}

fn offset(query: &Query, key: &str) -> Result<u64, Refusal> {
    let text = query.get(key);
    let value = go::parse_int(text).map_err(|error| bad_number(key, text, error))?;
    u64::try_from(value).map_err(|_| {
        let message = format!("failed to query interval: {key} {value} is negative");
        Refusal::new(400, message)
    })
}

/// The original's text: it prints the value that Go parsed, not the string.
fn bad_number(key: &str, text: &[u8], error: IntError) -> Refusal {
    let status = match error {
        IntError::Syntax => 500,
        IntError::OutOfRange(_) => 400,
    };
    let message = format!(
        "failed to query interval: failed to parse {key} string {}: strconv.ParseInt: parsing {}: \
         {}",
        error.value(),
        go::quote(text),
        error.reason()
    );
    Refusal::new(status, message)
}

/// A value of `close`, empty when it is missing.
fn value(query: &Query, key: &str) -> Result<String, Refusal> {
    let value = query.get(key);
    if value.len() > MAX_VALUE {
        return Err(Refusal::new(400, format!("{key} is longer than {MAX_VALUE} bytes")));
    }
    match str::from_utf8(value) {
        Ok(value) => Ok(value.to_owned()),
        Err(_) => Err(Refusal::new(400, format!("{key} is not UTF-8"))),
    }
}

#[cfg(test)]
mod tests;
