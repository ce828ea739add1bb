//! The middle of sealing, on a thread of its own: a batch's typed columns, and what the envelope wants to
//! know of each row, out of its payloads.
//!
//! Decoding costs about as much as reading the part and as much again as writing Parquet. As a stage between
//! the two it keeps both cores of a small machine busy. Batches go through in the order in which they come,
//! so the files are the same whichever stage is faster.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use arrow::array::{Array, ArrayRef, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;

use super::columns::EnvelopeBatch;
use super::error::ArchiveError;
use super::passage::Passing;
use super::writers::{NewFile, Step};
use crate::decode::Decoder;

/// What comes from the reading of a part. Files are known by their place among those created.
#[derive(Debug)]
pub(super) enum Sorted {
    Create {
        file: Box<NewFile>,
        decoder: Box<Decoder>,
    },
    Rows {
        file: usize,
        rows: Box<EnvelopeBatch>,
        passing: Passing,
    },
    /// No more rows. Without it, the reading has failed.
    Finish,
}

/// How many rows of a file could not be decoded whole, by the source's position in the session.
pub(super) type DecodeErrors = Vec<u64>;

/// Decodes batches until the last one and hands them to the writers. Gives what each file's rows came to, in
/// the order of creation; nothing of it counts if the batches end without the last.
pub(super) fn decode_batches(
    batches: Receiver<Sorted>,
    steps: &SyncSender<Step>,
) -> Result<Vec<DecodeErrors>, ArchiveError> {
    let mut files: Vec<File> = Vec::new();
    for batch in batches {
        let step = match batch {
            Sorted::Create { file, decoder } => {
                files.push(File::new(&file, decoder));
                Step::Create(file)
            }
            Sorted::Rows { file: at, rows, passing } => {
                let file = &mut files[at];
                let batch = file.decode(rows).map_err(|source| file.failed(source.into()))?;
                Step::Write { file: at, batch, passing }
            }
            Sorted::Finish => {
                // An error of the writers is theirs to tell.
                let _ = steps.send(Step::Finish);
                return Ok(files.into_iter().map(|file| file.errors).collect());
            }
        };
        if steps.send(step).is_err() {
            break;
        }
    }
    Ok(Vec::new())
}

struct File {
    path: PathBuf,
    schema: SchemaRef,
    decoder: Box<Decoder>,
    device_id: StringBuilder,
    event_at: TimestampMicrosecondBuilder,
    decode_error: StringBuilder,
    errors: DecodeErrors,
}

impl File {
    fn new(file: &NewFile, decoder: Box<Decoder>) -> Self {
        Self {
            path: file.path.clone(),
            schema: Arc::clone(&file.schema),
            decoder,
            device_id: StringBuilder::new(),
            event_at: TimestampMicrosecondBuilder::new(),
            decode_error: StringBuilder::new(),
            errors: Vec::new(),
        }
    }

    /// The whole rows of a batch.
    fn decode(&mut self, rows: Box<EnvelopeBatch>) -> Result<RecordBatch, ArrowError> {
        let EnvelopeBatch { sources, channel, payload, clear, .. } = &*rows;
        for (at, source) in sources.iter().enumerate() {
            let clear = clear.is_valid(at).then(|| clear.value(at));
            let decoded = self.decoder.push_decrypted(channel.value(at), payload.value(at), clear);
            self.device_id.append_option(decoded.device_id);
            self.event_at.append_option(decoded.event_at_us);
            self.decode_error.append_option(decoded.error);
            if decoded.error.is_some() {
                let source = usize::from(*source);
                self.errors.resize(self.errors.len().max(source + 1), 0);
                self.errors[source] += 1;
            }
        }
        let device_id: ArrayRef = Arc::new(self.device_id.finish());
        let event_at: ArrayRef = Arc::new(self.event_at.finish().with_timezone("UTC"));
        let decode_error: ArrayRef = Arc::new(self.decode_error.finish());
        let mut columns = rows.into_columns(device_id, event_at, decode_error);
        columns.extend(self.decoder.finish());
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn failed(&self, source: ParquetError) -> ArchiveError {
        ArchiveError::WriteSegment { path: self.path.clone(), source }
    }
}
