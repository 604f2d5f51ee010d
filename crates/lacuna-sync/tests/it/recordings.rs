//! Both our ends against recordings of the original's.

mod client;
mod probes;
mod server;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::http::Answer;
use crate::image::put;

/// A request of the original's client and the answer of the original's server.
struct Exchange {
    method: String,
    target: String,
    body: Vec<u8>,
    answer: Answer,
}

impl Exchange {
    /// `open`, `writeData` and so on.
    fn name(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.strip_prefix("/v1-ssync/").expect("a path of v1")
    }

    fn parameter(&self, key: &str) -> &str {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|pair| pair.0 == key).expect("the parameter").1
    }

    fn offset(&self, key: &str) -> usize {
        self.parameter(key).parse().expect("a number")
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lacuna-wire/tests/it/recordings")
}

/// A whole sync, in the order in which it was recorded.
fn recording(name: &str) -> Vec<Exchange> {
    let text = std::fs::read_to_string(directory().join(format!("{name}.jsonl")));
    text.expect("a recording").lines().map(exchange).collect()
}

fn exchange(line: &str) -> Exchange {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let (request, response) = (&line["request"], &line["response"]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let bytes = |value: &Value| STANDARD.decode(text(value)).expect("base64");
    let headers = response["headers"].as_array().expect("headers").iter();
    let headers = headers.map(|pair| (text(&pair[0]).to_ascii_lowercase(), text(&pair[1])));
    Exchange {
        method: text(&request["method"]),
        target: text(&request["target"]),
        body: bytes(&request["body"]),
        answer: Answer {
            status: response["status"].as_u64().expect("a status") as u16,
            headers: headers.collect(),
            body: bytes(&response["body"]),
        },
    }
}

/// An image as a recording shows it: its bytes, and the ranges of its data.
#[derive(Clone)]
struct Recorded {
    bytes: Vec<u8>,
    data: Vec<(usize, usize)>,
}

impl Recorded {
    /// What the target has after `exchanges`, which wrote all of its data.
    fn written_by(exchanges: &[Exchange]) -> Self {
        let size = exchanges.iter().find(|exchange| exchange.name() == "open");
        let size = size.expect("an open").offset("end");
        let mut image = Self { bytes: vec![0; size], data: vec![] };
        for write in exchanges.iter().filter(|exchange| exchange.name() == "writeData") {
            let (begin, end) = (write.offset("begin"), write.offset("end").min(size));
            image.bytes[begin..end].copy_from_slice(&write.body);
            image.data.push((begin, end));
        }
        image.data.sort_unstable();
        image
    }

    fn of(name: &str) -> Self {
        Self::written_by(&recording(name))
    }

    /// The image of 80 KiB that most of the recordings are about.
    fn disk() -> Self {
        Self::of("new-target")
    }

    /// The same with the one block that the recorded target had different: letters x.
    fn changed_disk() -> Self {
        let mut disk = Self::disk();
        disk.bytes[32_768..36_864].fill(b'x');
        disk
    }

    /// The image of ten bytes.
    fn small() -> Self {
        Self::of("small-buffered")
    }

    /// Makes `path` this image.
    fn put(&self, path: &Path) {
        use std::os::unix::fs::FileExt;
        put(path, b"");
        let file = std::fs::File::options().write(true).open(path).expect("open an image");
        file.set_len(self.bytes.len() as u64).expect("set the size");
        for &(start, end) in &self.data {
            file.write_all_at(&self.bytes[start..end], start as u64).expect("write");
        }
        file.sync_all().expect("sync");
    }

    /// Whether each block is allocated.
    fn allocated(&self) -> Vec<bool> {
        let blocks = self.bytes.len().div_ceil(4096);
        let holds = |block: usize, &(start, end): &(usize, usize)| {
            block * 4096 < end && start < (block + 1) * 4096
        };
        (0..blocks).map(|block| self.data.iter().any(|range| holds(block, range))).collect()
    }
}
