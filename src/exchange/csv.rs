//! CSV by RFC 4180: a header, CRLF, quotes where they are needed.
//!
//! Columns are the envelope's, with `payload` and `clear` as text or, where that is not UTF-8, as `payload_base64` and
//! `clear_base64`, `headers` as a JSON object; then the typed columns that are no lists. An empty field is null, and
//! an empty text is `""`.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{ExchangeError, IoContext};
use super::export::RowWriter;
use super::typed::Typed;
use crate::message::Row;
use crate::units::format_time_us;

/// The envelope's columns, in order.
pub(super) const COLUMNS: [&str; 23] = [
    "vendor",
    "kind",
    "site",
    "session_id",
    "source",
    "connection",
    "seq",
    "received_at",
    "elapsed_ns",
    "channel",
    "device_id",
    "event_at",
    "qos",
    "retain",
    "dup",
    "is_binary",
    "headers",
    "duplicate_of",
    "payload",
    "payload_base64",
    "clear",
    "clear_base64",
    "decode_error",
];

/// Rows wait for their typed columns this many at a time.
const BATCH_ROWS: usize = 1_024;

pub(super) struct CsvWriter<W> {
    out: W,
    path: PathBuf,
    typed: Typed,
    /// Which of the typed columns have a place in a table of texts.
    scalars: Vec<usize>,
    /// The lines that wait, and where each ends.
    lines: Vec<u8>,
    ends: Vec<usize>,
}

impl<W: Write> CsvWriter<W> {
    pub(super) fn new(mut out: W, path: &Path, typed: Typed) -> Result<Self, ExchangeError> {
        let is_scalar = |at: &usize| {
            !matches!(
                typed.fields()[*at].data_type(),
                DataType::List(_) | DataType::Struct(_) | DataType::Map(..)
            )
        };
        let scalars: Vec<usize> = (0..typed.fields().len()).filter(is_scalar).collect();
        let names = COLUMNS.into_iter().chain(scalars.iter().map(|at| typed.fields()[*at].name().as_str()));
        let header = names.collect::<Vec<_>>().join(",") + "\r\n";
        out.write_all(header.as_bytes()).doing("write", path)?;
        Ok(Self { out, path: path.to_owned(), typed, scalars, lines: Vec::new(), ends: Vec::new() })
    }

    fn write_batch(&mut self) -> Result<(), ExchangeError> {
        let columns = self.typed.finish().map_err(|error: ArrowError| ExchangeError::Parquet {
            path: self.path.clone(),
            source: error.into(),
        })?;
        let (mut from, mut cell) = (0, String::new());
        for (row, end) in self.ends.drain(..).enumerate() {
            let mut line = self.lines[from..end].to_vec();
            from = end;
            for at in &self.scalars {
                line.push(b',');
                cell.clear();
                if scalar(&columns[*at], row, &mut cell) {
                    put(&mut line, Some(&cell));
                }
            }
            line.extend_from_slice(b"\r\n");
            self.out.write_all(&line).doing("write", &self.path)?;
        }
        self.lines.clear();
        Ok(())
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn write(&mut self, row: &Row) -> Result<(), ExchangeError> {
        envelope(&mut self.lines, row);
        self.ends.push(self.lines.len());
        self.typed.push(row);
        if self.ends.len() == BATCH_ROWS { self.write_batch() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExchangeError> {
        self.write_batch()?;
        self.out.flush().doing("write", &self.path)
    }
}

fn envelope(line: &mut Vec<u8>, row: &Row) {
    let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    };
    let (payload, payload_base64) = bytes(&row.payload);
    let (clear, clear_base64) = row.clear.as_ref().map_or((None, None), |clear| bytes(clear));
    let headers = row.headers.as_ref().map(|headers| {
        let object: serde_json::Map<_, _> =
            headers.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        serde_json::Value::Object(object).to_string()
    });
    let flag = |flag: bool| Some(flag.to_string());
    let cells: [Option<String>; 23] = [
        Some(row.vendor.to_string()),
        Some(row.kind.to_string()),
        Some(row.site.to_string()),
        Some(row.session_id.to_string()),
        Some(row.source.to_string()),
        Some(row.connection.to_string()),
        Some(row.seq.to_string()),
        Some(format_time_us(row.received_at_us)),
        Some(row.elapsed_ns.to_string()),
        Some(row.channel.to_string()),
        row.device_id.as_ref().map(ToString::to_string),
        row.event_at_us.map(format_time_us),
        row.mqtt.map(|mqtt| mqtt.qos.to_string()),
        row.mqtt.and_then(|mqtt| flag(mqtt.retain)),
        row.mqtt.and_then(|mqtt| flag(mqtt.dup)),
        flag(row.is_binary),
        headers,
        row.duplicate_of.map(|seq| seq.to_string()),
        payload,
        payload_base64,
        clear,
        clear_base64,
        row.decode_error.as_ref().map(ToString::to_string),
    ];
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            line.push(b',');
        }
        put(line, cell.as_deref());
    }
}

fn put(line: &mut Vec<u8>, cell: Option<&str>) {
    let Some(cell) = cell else { return };
    let is_plain = !cell.is_empty() && !cell.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
    if is_plain {
        return line.extend_from_slice(cell.as_bytes());
    }
    line.push(b'"');
    for byte in cell.bytes() {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

/// Writes a value as text; false where it is null.
fn scalar(column: &ArrayRef, row: usize, cell: &mut String) -> bool {
    use std::fmt::Write as _;
    if column.is_null(row) {
        return false;
    }
    let written = match column.data_type() {
        DataType::Boolean => write!(cell, "{}", column.as_boolean().value(row)),
        DataType::Int32 => write!(cell, "{}", column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(cell, "{}", column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => write!(cell, "{}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => {
            cell.push_str(column.as_string::<i32>().value(row));
            Ok(())
        }
        DataType::Timestamp(..) => {
            cell.push_str(&format_time_us(column.as_primitive::<TimestampMicrosecondType>().value(row)));
            Ok(())
        }
        _ => return false,
    };
    written.is_ok()
}

/// A field as it stands in a file: null where there is nothing, not even quotes.
pub(super) type Cell = Option<Vec<u8>>;

/// Reads records, knowing where it is.
#[derive(Debug)]
pub(super) struct CsvReader<R> {
    file: R,
    /// Where the next record begins.
    pub(super) offset: u64,
    /// Its line, from 1.
    pub(super) line: u64,
}

/// The longest record: four times what a journal takes as one.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// Fields of a record: each takes more memory than the comma that makes it. Spreadsheets have as many columns.
const FIELDS_MAX: usize = 16_384;

impl<R: BufRead> CsvReader<R> {
    pub(super) fn new(file: R, offset: u64, line: u64) -> Self {
        Self { file, offset, line }
    }

    /// The next record's fields; none at the end. The inner error says what is no CSV, after which it goes on with
    /// the next line.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<Vec<Cell>, String>>> {
        let (mut bytes, mut at) = (Vec::new(), At::Start);
        loop {
            let from = bytes.len();
            let read = (&mut self.file).take(RECORD_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
            self.offset += read as u64;
            self.line += u64::from(read > 0);
            at = bytes[from..].iter().fold(at, |at, byte| at.after(*byte));
            let is_whole = at != At::Quoted;
            if is_whole || read == 0 || bytes.len() > RECORD_BYTES_MAX {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let what = if bytes.len() > RECORD_BYTES_MAX { "is too long" } else { "ends within quotes" };
                let record = if is_whole { split(&bytes) } else { Err(format!("the record {what}")) };
                return Ok(Some(record));
            }
        }
    }
}

/// Where in a field something is: a line ends a record everywhere but within quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Plain,
    Quoted,
    /// Behind a quote that closes the field, or is the first of two.
    Quote,
}

impl At {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::Start | At::Quote, b'"') => At::Quoted,
            (_, b',') => At::Start,
            _ => At::Plain,
        }
    }
}

/// The fields of a whole record.
fn split(record: &[u8]) -> Result<Vec<Cell>, String> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let mut cells = Vec::new();
    let mut rest = record;
    loop {
        let (cell, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let (text, after) = unquote(quoted).ok_or("a field ends within quotes")?;
                (Some(text), after)
            }
            None => {
                let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
                let text = &rest[..end];
                if text.contains(&b'"') {
                    return Err(format!("field {} has a quote in its middle", cells.len() + 1));
                }
                ((!text.is_empty()).then(|| text.to_vec()), &rest[end..])
            }
        };
        if cells.len() == FIELDS_MAX {
            return Err(format!("the record has more than {FIELDS_MAX} fields"));
        }
        cells.push(cell);
        match after.split_first() {
            None => return Ok(cells),
            Some((b',', after)) => rest = after,
            Some(_) => return Err(format!("field {} goes on after its quotes", cells.len())),
        }
    }
}

/// What stands before the closing quote, and what after it.
fn unquote(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        text.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                text.push(b'"');
                rest = after;
            }
            None => return Some((text, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Vec<Cell>, String>> {
        let mut reader = CsvReader::new(text.as_bytes(), 0, 1);
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    #[test]
    fn what_was_put_is_read_and_null_is_not_empty() {
        let cells = [Some("a"), None, Some(""), Some("x,\"y\"\r\nz"), Some("ü")];
        let mut line = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            put(&mut line, *cell);
        }
        line.extend_from_slice(b"\r\n");
        let text = String::from_utf8(line).unwrap();
        let expected: Vec<Cell> =
            cells.iter().map(|cell| cell.map(|text| text.as_bytes().to_vec())).collect();
        assert_eq!(read(&text), [Ok(expected)]);
    }

    #[test]
    fn a_bad_record_is_told_and_the_next_one_read() {
        let records = read("a,b\nx\"y,1\n\"q\"z\n1,2\n\"open\n");
        assert_eq!(records.len(), 5);
        assert!(records[1].as_ref().unwrap_err().contains("field 1"));
        assert!(records[2].as_ref().unwrap_err().contains("after its quotes"));
        assert_eq!(records[3], Ok(vec![Some(b"1".to_vec()), Some(b"2".to_vec())]));
        assert!(records[4].as_ref().unwrap_err().contains("within quotes"));
    }

    #[test]
    fn a_record_has_no_more_fields_than_a_spreadsheet() {
        let records = read(&format!("{}\n{}\nnext\n", ",".repeat(FIELDS_MAX - 1), ",".repeat(FIELDS_MAX)));
        assert_eq!(records[0].as_ref().map(Vec::len), Ok(FIELDS_MAX));
        assert!(records[1].as_ref().unwrap_err().contains("more than 16384 fields"));
        assert_eq!(records[2], Ok(vec![Some(b"next".to_vec())]));
    }
}
