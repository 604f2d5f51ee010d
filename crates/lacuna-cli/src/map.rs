//! `lacuna map`: show the layout of an image.

use std::io::{self, Write};

use lacuna::{
    Extent, Image, ImageOptions, IoMode, Kind, KindBytes, Layout, LayoutOptions, LayoutOrigin,
};
use serde::Serialize;

use crate::args::MapArgs;
use crate::list::List;
use crate::output::{Output, StdoutError, printable};
use crate::strip::{KINDS, Strip, is_coloured, width};
use crate::units;

/// Totals of a layout.
#[derive(Serialize)]
struct Totals {
    image: String,
    layout_from: LayoutOrigin,
    size_bytes: u64,
    #[serde(flatten)]
    kinds: KindBytes,
    data_extents: u64,
    zero_extents: u64,
    hole_extents: u64,
}

impl Totals {
    fn count(&mut self, extent: &Extent) {
        self.kinds.add(extent.kind, extent.range.len());
        *match extent.kind {
            Kind::Data => &mut self.data_extents,
            Kind::Zero => &mut self.zero_extents,
            Kind::Hole => &mut self.hole_extents,
        } += 1;
    }
}

pub(crate) fn run(args: &MapArgs, output: &Output) -> anyhow::Result<()> {
    let options = ImageOptions { io: IoMode::Buffered, ..ImageOptions::default() };
    let image = Image::open(&args.image, &options)?;
    let mut layout = Layout::new(&image, &LayoutOptions::default())?;
    let mut totals = Totals {
        image: args.image.display().to_string(),
        layout_from: layout.origin(),
        size_bytes: image.size(),
        kinds: KindBytes::default(),
        data_extents: 0,
        zero_extents: 0,
        hole_extents: 0,
    };
    let mut out = output.stdout();
    let strip = Strip::new(image.size(), width(), &KINDS);
    let shown = match (output.json, args.extents) {
        (true, true) => json_with_extents(&mut layout, &mut totals, output, &mut out),
        (false, true) => list(&mut layout, &mut totals, &mut out),
        (json, false) => picture(&mut layout, &mut totals, strip, json, &mut out),
    };
    // What is no error of the image is one of the output.
    shown.and_then(|()| Ok(out.flush()?)).map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => StdoutError::from(error).into(),
        Err(error) => error,
    })
}

fn picture(
    layout: &mut Layout<'_>,
    totals: &mut Totals,
    mut strip: Strip,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for extent in layout {
        let extent = extent?;
        totals.count(&extent);
        strip.add(extent.range, rank(extent.kind));
    }
    match json {
        true => Ok(writeln!(out, "{}", serde_json::to_string(totals)?)?),
        false => Ok(totals.print(&strip, out)?),
    }
}

/// One object with the extents first: the totals are only known after them.
fn json_with_extents(
    layout: &mut Layout<'_>,
    totals: &mut Totals,
    output: &Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line {
        start_bytes: u64,
        length_bytes: u64,
        kind: Kind,
    }
    let mut list = List::new("extents", out, output);
    for extent in layout {
        let extent = extent?;
        totals.count(&extent);
        let (start_bytes, length_bytes) = (extent.range.start(), extent.range.len());
        list.add(&Line { start_bytes, length_bytes, kind: extent.kind })?;
    }
    Ok(list.end(totals)?)
}

fn list(layout: &mut Layout<'_>, totals: &mut Totals, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{:>20} {:>20}  kind", "start", "length")?;
    for extent in layout {
        let extent = extent?;
        totals.count(&extent);
        writeln!(out, "{:>20} {:>20}  {}", extent.range.start(), extent.range.len(), extent.kind)?;
    }
    Ok(())
}

impl Totals {
    fn print(&self, strip: &Strip, out: &mut impl Write) -> io::Result<()> {
        let (size, noun) = (self.size_bytes, if self.size_bytes == 1 { "byte" } else { "bytes" });
        let image = printable(&self.image);
        writeln!(out, "{image}: {} ({size} {noun})", units::bytes(size))?;
        for (kind, bytes, extents) in [
            (Kind::Data, self.kinds.data_bytes, self.data_extents),
            (Kind::Zero, self.kinds.zero_bytes, self.zero_extents),
            (Kind::Hole, self.kinds.hole_bytes, self.hole_extents),
        ] {
            let share = units::percent(bytes, self.size_bytes);
            let bytes = units::bytes(bytes);
            let noun = if extents == 1 { "extent" } else { "extents" };
            writeln!(out, "  {kind:<4} {bytes:>9} {share:>8}  {extents:>8} {noun}")?;
        }
        match self.layout_from {
            LayoutOrigin::Fiemap => {}
            LayoutOrigin::SeekHole => {
                writeln!(out, "  from SEEK_HOLE: space that was never written shows as hole")?;
            }
            LayoutOrigin::Device => writeln!(out, "  a block device: everything is data")?,
        }
        writeln!(out, "{}", strip.line(is_coloured()))?;
        writeln!(out, "{}", KINDS.legend(is_coloured()))
    }
}

/// Its place among the marks.
fn rank(kind: Kind) -> usize {
    match kind {
        Kind::Data => 0,
        Kind::Zero => 1,
        Kind::Hole => 2,
    }
}
