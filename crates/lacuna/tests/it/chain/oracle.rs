//! A chain in memory: slow, obvious, and without a line of lacuna's.

use std::path::Path;

use lacuna_testing::pattern::{Kind, Pattern};

use crate::content::Content;

const BLOCK: usize = 4096;

/// A block of a layer.
#[derive(Clone, PartialEq, Eq)]
enum Cell {
    Hole,
    Zero,
    /// Filled up with zeros past the end of the file.
    Data(Box<[u8; BLOCK]>),
}

/// A layer of a chain.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    size: usize,
    cells: Vec<Cell>,
}

impl Layer {
    pub(crate) fn of(pattern: &Pattern) -> Self {
        Self::from_content(&Content { bytes: pattern.bytes(), kinds: pattern.kinds() })
    }

    /// What a file holds.
    #[track_caller]
    pub(crate) fn seen(path: &Path) -> Self {
        Self::from_content(&Content::of(path))
    }

    fn from_content(content: &Content) -> Self {
        let cell = |(bytes, kind): (&[u8], &Kind)| match kind {
            Kind::Hole => Cell::Hole,
            Kind::Zero => Cell::Zero,
            Kind::Data => {
                let mut block = Box::new([0; BLOCK]);
                block[..bytes.len()].copy_from_slice(bytes);
                Cell::Data(block)
            }
        };
        let cells = content.bytes.chunks(BLOCK).zip(&content.kinds).map(cell);
        Self { size: content.bytes.len(), cells: cells.collect() }
    }

    pub(crate) fn content(&self) -> Content {
        let kind = |cell: &Cell| match cell {
            Cell::Hole => Kind::Hole,
            Cell::Zero => Kind::Zero,
            Cell::Data(_) => Kind::Data,
        };
        let kinds = self.cells.iter().map(kind).collect();
        Content { bytes: read(std::slice::from_ref(self)), kinds }
    }

    /// Bytes of the file behind the start of block `index`.
    fn length(&self, index: usize) -> u64 {
        (self.size - index * BLOCK).min(BLOCK) as u64
    }

    /// Bytes of the file that are of `kind`.
    pub(crate) fn bytes_of(&self, kind: Kind) -> u64 {
        let kinds = self.content().kinds;
        let of_kind = kinds.iter().enumerate().filter(|(_, found)| **found == kind);
        of_kind.map(|(index, _)| self.length(index)).sum()
    }

    /// Bytes that are allocated and that `child` hides, once this file is as large as that.
    pub(crate) fn hidden_bytes(&self, child: &Self) -> u64 {
        let both = self.cells.iter().zip(&child.cells).enumerate();
        let hidden = both.filter(|(_, (a, b))| **a != Cell::Hole && **b != Cell::Hole);
        hidden.map(|(index, _)| child.length(index)).sum()
    }

    fn grow(&mut self, size: usize) {
        assert!(size >= self.size, "a child that is smaller than its parent");
        self.size = size;
        self.cells.resize(size.div_ceil(BLOCK), Cell::Hole);
    }

    /// Takes what `child` has.
    pub(crate) fn fold(&mut self, child: &Self) {
        self.grow(child.size);
        for (own, cell) in self.cells.iter_mut().zip(&child.cells) {
            if *cell != Cell::Hole {
                *own = cell.clone();
            }
        }
    }

    /// Gives up what `child` hides.
    pub(crate) fn prune(&mut self, child: &Self) {
        self.grow(child.size);
        for (own, cell) in self.cells.iter_mut().zip(&child.cells) {
            if *cell != Cell::Hole {
                *own = Cell::Hole;
            }
        }
    }

    /// Gives up everything.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(Cell::Hole);
    }
}

/// What a chain of `size` bytes reads as, tip first, in one image.
pub(crate) fn flattened(layers: &[Layer], size: usize) -> Content {
    let mut image = Layer { size, cells: vec![Cell::Hole; size.div_ceil(BLOCK)] };
    for layer in layers.iter().rev() {
        for (own, cell) in image.cells.iter_mut().zip(&layer.cells) {
            if *cell != Cell::Hole {
                *own = cell.clone();
            }
        }
    }
    image.content()
}

/// What is read from a chain, tip first: each block from the newest layer that has anything there.
pub(crate) fn read(layers: &[Layer]) -> Vec<u8> {
    let size = layers[0].size;
    let mut bytes = vec![];
    for index in 0..size.div_ceil(BLOCK) {
        let mut found = layers.iter().filter_map(|layer| layer.cells.get(index));
        match found.find(|cell| **cell != Cell::Hole) {
            Some(Cell::Data(block)) => bytes.extend_from_slice(&block[..]),
            _ => bytes.extend_from_slice(&[0; BLOCK]),
        }
    }
    bytes.truncate(size);
    bytes
}
