//! What a sync says that it did, or would do.

use lacuna::copy::CopyPlan;
use lacuna::{KindBytes, LayoutOrigin};
use serde::Serialize;

use crate::units::{bytes, seconds, sizes};

/// What a sync did. Every key is there whatever the protocol; what it does not know is 0.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) protocol: &'static str,
    pub(crate) size_bytes: u64,
    #[serde(flatten)]
    pub(crate) kinds: KindBytes,
    pub(crate) read_bytes: u64,
    pub(crate) compared_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) reflinked_bytes: u64,
    pub(crate) resumed_bytes: u64,
    pub(crate) rest_bytes: u64,
    pub(crate) skipped: bool,
    /// Which kinds the target can have, where that is known.
    pub(crate) target_layout_from: Option<LayoutOrigin>,
    /// Of both ends, by the protocol of lacuna's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<String>,
    pub(crate) elapsed_seconds: f64,
}

/// What a sync would do.
#[derive(Serialize)]
pub(crate) struct DryRun {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) protocol: &'static str,
    pub(crate) dry_run: bool,
    #[serde(flatten)]
    pub(crate) plan: CopyPlan,
}

impl Report {
    pub(crate) fn lines(&self) -> Vec<String> {
        let both = format!("{} -> {}", self.source, self.target);
        let seconds = seconds(self.elapsed_seconds);
        if self.skipped {
            return vec![format!(
                "{both}: both have the same fresh .checksum, nothing sent, {seconds}"
            )];
        }
        let kinds = sizes(self.size_bytes, &self.kinds);
        let (read, compared) = (bytes(self.read_bytes), bytes(self.compared_bytes));
        let done = match self.protocol {
            "local" if self.reflinked_bytes > 0 => {
                let (written, reflinked) = (self.written_bytes, self.reflinked_bytes);
                format!("written {}, reflinked {}", bytes(written), bytes(reflinked))
            }
            "local" => format!("written {}", bytes(self.written_bytes)),
            "v2" => {
                let (written, wire) = (bytes(self.written_bytes), bytes(self.wire_bytes));
                format!("written {written} ({wire} on the wire)")
            }
            _ => {
                format!("sent {} ({} on the wire)", bytes(self.sent_bytes), bytes(self.wire_bytes))
            }
        };
        let mut lines = vec![
            format!("{both}: {kinds} in {seconds}"),
            format!("read {read}, compared {compared}, {done}"),
        ];
        if self.resumed_bytes > 0 {
            lines.push(format!("the first {} were there already", bytes(self.resumed_bytes)));
        }
        if self.rest_bytes > 0 {
            lines
                .push(format!("the last {} of the target were left alone", bytes(self.rest_bytes)));
        }
        lines.extend(self.lost_kinds().map(str::to_owned));
        lines
    }

    /// What the target cannot show of the source's kinds.
    fn lost_kinds(&self) -> Option<&'static str> {
        let KindBytes { zero_bytes, hole_bytes, .. } = self.kinds;
        match self.target_layout_from? {
            LayoutOrigin::SeekHole if zero_bytes > 0 => Some(
                "the filesystem of the target does not show unwritten space: zero became data there",
            ),
            LayoutOrigin::Device if zero_bytes + hole_bytes > 0 => {
                Some("the target is a device: zero and hole read as zeros there")
            }
            _ => None,
        }
    }
}

impl DryRun {
    pub(crate) fn lines(&self) -> Vec<String> {
        let plan = &self.plan;
        let kinds = sizes(plan.size_bytes, &plan.kinds);
        let mut lines = vec![format!("{} -> {}: {kinds}, nothing done", self.source, self.target)];
        if self.protocol == "v1" {
            let at_most = bytes(plan.written_bytes_max);
            lines.push(format!(
                "would send at most {at_most}, to a server that has nothing yet (it was not asked)"
            ));
            return lines;
        }
        lines.extend(lines_of_plan(plan, self.protocol));
        lines
    }
}

/// What copying would take, of an image or of all layers of a directory.
pub(crate) fn lines_of_plan(plan: &CopyPlan, protocol: &str) -> Vec<String> {
    let (read, compared) = (bytes(plan.read_bytes), bytes(plan.compared_bytes));
    let cleared = bytes(plan.cleared_bytes);
    let write = if protocol == "v2" { "send and write" } else { "write" };
    let at_most = || format!("at most {}", bytes(plan.written_bytes_max));
    let written = plan.written_bytes.map_or_else(at_most, bytes);
    let mut lines = vec![format!(
        "would read {read}, compare {compared}, {write} {written}, punch or zero {cleared}"
    )];
    if plan.reflink_bytes > 0 {
        lines.push(format!("would reflink {}", bytes(plan.reflink_bytes)));
    }
    if plan.resumed_bytes > 0 {
        let resumed = bytes(plan.resumed_bytes);
        lines.push(format!("would go on behind the first {resumed}, which are there already"));
    }
    if let Some(free) = plan.free_bytes {
        let verdict = if plan.needed_bytes > free { ": not enough" } else { "" };
        let (needed, free) = (bytes(plan.needed_bytes), bytes(free));
        lines.push(format!("needs {needed} more space, {free} are free{verdict}"));
    }
    if let Some(rest) = plan.rest_bytes.filter(|rest| *rest > 0) {
        lines.push(format!("would leave the last {} of the target alone", bytes(rest)));
    }
    lines
}
