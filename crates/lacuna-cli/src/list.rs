//! One JSON object that begins with a list: there may be more in it than fits in memory, and what
//! comes behind it may only be known after it.

use std::io::{self, Write};

use serde::Serialize;

use crate::output::Output;

/// An object whose list is being written.
pub(crate) struct List<'a, W: Write> {
    out: &'a mut W,
    output: &'a Output,
    /// What goes before the next item.
    before: String,
}

impl<'a, W: Write> List<'a, W> {
    /// An object with the list `key`, begun by its first item. Should the command fail after that, what
    /// `output` says of it is the rest of the object.
    pub(crate) fn new(key: &str, out: &'a mut W, output: &'a Output) -> Self {
        Self { out, output, before: format!("{{\"{key}\":[") }
    }

    /// One more in the list.
    pub(crate) fn add(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.out.write_all(self.before.as_bytes())?;
        if !self.output.in_list.replace(true) {
            self.before = ",".to_owned();
        }
        Ok(serde_json::to_writer(&mut *self.out, item)?)
    }

    /// Ends the list, and the object with the keys of `rest`.
    pub(crate) fn end(self, rest: &impl Serialize) -> io::Result<()> {
        let rest = serde_json::to_string(rest)?;
        let rest = rest.strip_prefix('{').unwrap_or(&rest);
        let empty = if self.output.in_list.replace(false) { "" } else { &self.before };
        writeln!(self.out, "{empty}],{rest}")
    }
}
