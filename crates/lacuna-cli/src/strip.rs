//! A picture of an image in one line: what lies where.

use lacuna::Range;

use crate::output::is_capable;

/// A strip under construction; its size does not depend on the number of extents.
pub(crate) struct Strip {
    size: u64,
    cells: Vec<[u64; 3]>,
    marks: &'static Marks,
}

impl Strip {
    /// A strip of at most `width` cells for an image of `size` bytes.
    pub(crate) fn new(size: u64, width: usize, marks: &'static Marks) -> Self {
        let blocks = size.div_ceil(lacuna::BLOCK);
        let cells = blocks.min(width as u64) as usize;
        Self { size, cells: vec![[0; 3]; cells], marks }
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

    /// Adds a range of the image, which is what the marks have in the place `rank`: 0, 1 or 2.
    pub(crate) fn add(&mut self, range: Range, rank: usize) {
        let mut at = range.start();
        while at < range.end() {
            let index = self.cell_at(at);
            let last = index + 1 == self.cells.len();
            let end = if last { self.size } else { self.edge(index + 1) }.min(range.end());
            let Some(cell) = self.cells.get_mut(index).filter(|_| end > at) else { return };
            cell[rank] += end - at;
            at = end;
        }
    }

    /// The strip; in colours for a terminal.
    pub(crate) fn line(&self, coloured: bool) -> String {
        let strip: String =
            self.cells.iter().map(|cell| self.marks.of(cell).shown(coloured)).collect();
        strip + if coloured { PLAIN_AGAIN } else { "" }
    }
}

/// What cells look like.
pub(crate) struct Marks {
    /// All of it is what comes first, some of it, then none of it but some of the second, and the third alone.
    marks: [Mark; 4],
}

struct Mark {
    plain: char,
    coloured: &'static str,
    meaning: &'static str,
}

impl Marks {
    fn of(&self, cell: &[u64; 3]) -> &Mark {
        let [all, some, second, third] = &self.marks;
        match *cell {
            [0, 0, _] => third,
            [0, ..] => second,
            [_, 0, 0] => all,
            _ => some,
        }
    }

    /// What they mean.
    pub(crate) fn legend(&self, coloured: bool) -> String {
        let end = if coloured { PLAIN_AGAIN } else { "" };
        let meaning = |mark: &Mark| format!("{}{end} {}", mark.shown(coloured), mark.meaning);
        self.marks.iter().map(meaning).collect::<Vec<_>>().join("  ")
    }
}

impl Mark {
    fn shown(&self, coloured: bool) -> String {
        if coloured { self.coloured.to_owned() } else { self.plain.to_string() }
    }
}

/// The kinds: data, zero, hole.
pub(crate) static KINDS: Marks = Marks {
    marks: [
        Mark { plain: '#', coloured: "\x1b[32m█", meaning: "data" },
        Mark { plain: '+', coloured: "\x1b[32m▒", meaning: "some data" },
        Mark { plain: '0', coloured: "\x1b[33m█", meaning: "zero" },
        Mark { plain: '.', coloured: "\x1b[90m░", meaning: "hole" },
    ],
};

/// What a layer is to whoever reads the newest ones: visible, hidden, nothing.
pub(crate) static SHARES: Marks = Marks {
    marks: [
        Mark { plain: '#', coloured: "\x1b[32m█", meaning: "visible" },
        Mark { plain: '+', coloured: "\x1b[32m▒", meaning: "some visible" },
        Mark { plain: '-', coloured: "\x1b[33m▒", meaning: "hidden" },
        Mark { plain: '.', coloured: "\x1b[90m░", meaning: "nothing" },
    ],
};

const PLAIN_AGAIN: &str = "\x1b[0m";

/// How wide a strip may be: as standard output.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// Where there is no terminal to fit.
const WIDTH: usize = 80;

/// Whether standard output shows colours.
pub(crate) fn is_coloured() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_capable(&std::io::stdout()) && !no_colour
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(size: u64, width: usize, extents: &[(u64, usize)]) -> String {
        let mut strip = Strip::new(size, width, &KINDS);
        let mut at = 0;
        for (end, rank) in extents {
            strip.add(Range::new(at, *end).unwrap(), *rank);
            at = *end;
        }
        let (marks, legend) = (strip.line(true), KINDS.legend(true));
        for mark in marks.split("\x1b[").filter(|mark| !mark.is_empty() && *mark != "0m") {
            assert!(legend.contains(mark), "{mark} is not in {legend}");
        }
        strip.line(false)
    }

    #[test]
    fn every_cell_shows_its_part_of_the_image() {
        let extents = [(16_384, 0), (32_768, 2), (65_536, 1)];
        assert_eq!(strip(65_536, 4, &extents), "#.00");
        assert_eq!(strip(65_536, 2, &extents), "+0");
        assert_eq!(strip(65_536, 100, &extents), "####....00000000");
        assert_eq!(strip(65_536, 3, &extents), "+00");
    }

    #[test]
    fn strange_sizes_fit() {
        assert_eq!(strip(0, 10, &[]), "");
        assert_eq!(strip(1, 10, &[(1, 0)]), "#");
        assert_eq!(strip(i64::MAX as u64, 3, &[(i64::MAX as u64, 2)]), "...");
        assert_eq!(strip(10_001, 2, &[(5000, 0), (10_001, 2)]), "#.");
    }
}
