//! A picture of an image in one line: what lies where.

use lacuna::{Extent, KindBytes};

/// A strip under construction; its size does not depend on the number of extents.
pub(crate) struct Strip {
    size: u64,
    cells: Vec<KindBytes>,
}

impl Strip {
    /// A strip of at most `width` cells for an image of `size` bytes.
    pub(crate) fn new(size: u64, width: usize) -> Self {
        let blocks = size.div_ceil(lacuna::BLOCK);
        let cells = blocks.min(width as u64) as usize;
        Self { size, cells: vec![KindBytes::default(); cells] }
    }

    /// Where cell `index` begins.
    fn edge(&self, index: usize) -> u64 {
        let part = u128::from(self.size) * index as u128 / self.cells.len() as u128;
        part as u64
    }

    fn cell_at(&self, offset: u64) -> usize {
        let mut index =
            (u128::from(offset) * self.cells.len() as u128 / u128::from(self.size.max(1))) as usize;
        while index + 1 < self.cells.len() && self.edge(index + 1) <= offset {
            index += 1;
        }
        index
    }

    /// Adds an extent of the image.
    pub(crate) fn add(&mut self, extent: &Extent) {
        let mut at = extent.range.start();
        while at < extent.range.end() {
            let index = self.cell_at(at);
            let last = index + 1 == self.cells.len();
            let end = if last { self.size } else { self.edge(index + 1) }.min(extent.range.end());
            let Some(cell) = self.cells.get_mut(index).filter(|_| end > at) else { return };
            cell.add(extent.kind, end - at);
            at = end;
        }
    }

    /// The strip, and what its marks mean; in colours for a terminal.
    pub(crate) fn lines(&self, coloured: bool) -> [String; 2] {
        let shown = |mark: &Mark| match coloured {
            true => mark.coloured.to_owned(),
            false => mark.plain.to_string(),
        };
        let end = if coloured { PLAIN_AGAIN } else { "" };
        let strip: String = self.cells.iter().map(|cell| shown(mark(cell))).collect();
        let legend = [&DATA, &SOME_DATA, &ZERO, &HOLE]
            .map(|mark| format!("{}{end} {}", shown(mark), mark.meaning));
        [strip + end, legend.join("  ")]
    }
}

/// What a cell looks like.
struct Mark {
    plain: char,
    coloured: &'static str,
    meaning: &'static str,
}

const DATA: Mark = Mark { plain: '#', coloured: "\x1b[32m█", meaning: "data" };
const SOME_DATA: Mark = Mark { plain: '+', coloured: "\x1b[32m▒", meaning: "some data" };
const ZERO: Mark = Mark { plain: '0', coloured: "\x1b[33m█", meaning: "zero" };
const HOLE: Mark = Mark { plain: '.', coloured: "\x1b[90m░", meaning: "hole" };

const PLAIN_AGAIN: &str = "\x1b[0m";

fn mark(cell: &KindBytes) -> &'static Mark {
    match (cell.data_bytes, cell.zero_bytes, cell.hole_bytes) {
        (1.., 0, 0) => &DATA,
        (1.., _, _) => &SOME_DATA,
        (0, 1.., _) => &ZERO,
        _ => &HOLE,
    }
}

#[cfg(test)]
mod tests {
    use lacuna::{Kind, Range};

    use super::*;

    fn strip(size: u64, width: usize, extents: &[(u64, Kind)]) -> String {
        let mut strip = Strip::new(size, width);
        let mut at = 0;
        for (end, kind) in extents {
            strip.add(&Extent { range: Range::new(at, *end).unwrap(), kind: *kind });
            at = *end;
        }
        let [marks, legend] = strip.lines(true);
        for mark in marks.split("\x1b[").filter(|mark| !mark.is_empty() && *mark != "0m") {
            assert!(legend.contains(mark), "{mark} is not in {legend}");
        }
        strip.lines(false)[0].clone()
    }

    #[test]
    fn every_cell_shows_its_part_of_the_image() {
        let extents = [(16_384, Kind::Data), (32_768, Kind::Hole), (65_536, Kind::Zero)];
        assert_eq!(strip(65_536, 4, &extents), "#.00");
        assert_eq!(strip(65_536, 2, &extents), "+0");
        assert_eq!(strip(65_536, 100, &extents), "####....00000000");
        assert_eq!(strip(65_536, 3, &extents), "+00");
    }

    #[test]
    fn strange_sizes_fit() {
        assert_eq!(strip(0, 10, &[]), "");
        assert_eq!(strip(1, 10, &[(1, Kind::Data)]), "#");
        assert_eq!(strip(i64::MAX as u64, 3, &[(i64::MAX as u64, Kind::Hole)]), "...");
        assert_eq!(strip(10_001, 2, &[(5000, Kind::Data), (10_001, Kind::Hole)]), "#.");
    }
}
