//! A row a line, as `cat` prints it.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{ExchangeError, IoContext};
use super::export::RowWriter;
use crate::envelope::Envelope;
use crate::message::Row;

pub(super) struct JsonlWriter<W> {
    out: W,
    path: PathBuf,
    line: Vec<u8>,
}

impl<W: Write> JsonlWriter<W> {
    pub(super) fn new(out: W, path: &Path) -> Self {
        Self { out, path: path.to_owned(), line: Vec::new() }
    }
}

impl<W: Write> RowWriter for JsonlWriter<W> {
    fn write(&mut self, row: &Row) -> Result<(), ExchangeError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &Envelope::from(row))
            .map_err(std::io::Error::from)
            .doing("write", &self.path)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line).doing("write", &self.path)
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExchangeError> {
        self.out.flush().doing("write", &self.path)
    }
}
