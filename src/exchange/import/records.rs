//! A file's records, by its format.

use std::path::Path;

use super::fields::{Bad, Record};
use super::lines::LineReader;
use super::messages::MessageReader;
use super::table::TableReader;
use super::{ImportOptions, Pass};
use crate::archive::Sidecar;
use crate::exchange::Format;
use crate::exchange::error::ExchangeError;
use crate::message::SessionId;

/// A file's records, whatever it is.
pub(super) enum Records {
    Lines(Box<LineReader>),
    Table(Box<TableReader>),
    Messages(Box<MessageReader>),
}

impl Records {
    /// From `offset` on, which is where a record begins; MCAP, whose channels stand before, from its start.
    pub(super) fn open(
        path: &Path,
        format: Format,
        options: &ImportOptions,
        pass: Pass,
        offset: u64,
    ) -> Result<Self, ExchangeError> {
        Ok(match format {
            Format::Csv => Records::Table(Box::new(TableReader::open(path, options, offset)?)),
            Format::Mcap => Records::Messages(Box::new(MessageReader::open(path, options)?)),
            Format::Jsonl | Format::Reel | Format::Parquet => {
                Records::Lines(Box::new(LineReader::open(path, options, pass, offset)?))
            }
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, Bad>>, ExchangeError> {
        match self {
            Records::Lines(lines) => lines.next(),
            Records::Table(table) => table.next(),
            Records::Messages(messages) => messages.next(),
        }
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Records::Lines(lines) => lines.offset,
            Records::Table(table) => table.offset(),
            Records::Messages(messages) => messages.offset(),
        }
    }

    /// What the file tells of a session besides its rows.
    pub(super) fn sidecar(&self, session_id: SessionId) -> Option<Sidecar> {
        match self {
            Records::Messages(messages) => messages.sidecar(session_id),
            Records::Lines(_) | Records::Table(_) => None,
        }
    }
}
