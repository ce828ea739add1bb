//! Rows into the envelope's columns, for files that are no segments: of several sessions, with other columns beside.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampMicrosecondBuilder};
use arrow::error::ArrowError;

use super::columns::{BATCH_ROWS, Constants, EnvelopeColumns};
use super::intake::record_of;
use crate::message::Row;

/// The rows that wait for the next batch.
#[derive(Debug)]
pub struct RowColumns {
    constants: Constants,
    envelope: EnvelopeColumns,
    site: StringBuilder,
    session_id: StringBuilder,
    device_id: StringBuilder,
    event_at: TimestampMicrosecondBuilder,
    decode_error: StringBuilder,
    headers: Vec<u8>,
}

impl Default for RowColumns {
    fn default() -> Self {
        Self {
            constants: Constants::new("", ""),
            envelope: EnvelopeColumns::new(),
            site: StringBuilder::new(),
            session_id: StringBuilder::new(),
            device_id: StringBuilder::new(),
            event_at: TimestampMicrosecondBuilder::new(),
            decode_error: StringBuilder::new(),
            headers: Vec::new(),
        }
    }
}

impl RowColumns {
    /// Rows in a batch at most.
    pub const BATCH_ROWS: usize = BATCH_ROWS;

    pub fn push(&mut self, row: &Row) {
        self.envelope.push(&row.source, &record_of(row, (0, 0), &mut self.headers));
        self.site.append_value(&row.site);
        self.session_id.append_value(row.session_id.to_string());
        self.device_id.append_option(row.device_id.as_deref());
        self.event_at.append_option(row.event_at_us);
        self.decode_error.append_option(row.decode_error.as_deref());
    }

    pub fn rows(&self) -> usize {
        self.envelope.rows()
    }

    /// What the rows hold in variable length, about.
    pub fn bytes(&self) -> usize {
        self.envelope.bytes()
    }

    /// The columns of the rows since the last call, at most [`RowColumns::BATCH_ROWS`] of them, in the order of
    /// [`envelope_fields`](super::envelope_fields).
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let device_id: ArrayRef = Arc::new(self.device_id.finish());
        let event_at: ArrayRef = Arc::new(self.event_at.finish().with_timezone("UTC"));
        let decode_error: ArrayRef = Arc::new(self.decode_error.finish());
        let envelope = self.envelope.finish(&self.constants)?;
        let mut columns = envelope.into_columns(device_id, event_at, decode_error);
        columns[0] = Arc::new(self.site.finish());
        columns[1] = Arc::new(self.session_id.finish());
        Ok(columns)
    }
}
