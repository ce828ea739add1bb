//! CSV: ours by its column names, others' by a map.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::ImportOptions;
use super::fields::{Bad, Defaults, Fields, Record, parse_time};
use crate::exchange::csv::{COLUMNS, Cell, CsvReader};
use crate::exchange::error::{ExchangeError, IoContext};

/// Fields that a row has from elsewhere, whatever a column says: they are derived from the payload.
const DERIVED: [&str; 3] = ["device_id", "event_at", "decode_error"];

#[derive(Debug)]
pub(super) struct TableReader {
    path: PathBuf,
    rows: CsvReader<BufReader<File>>,
    defaults: Defaults,
    names: Vec<String>,
    /// Of each column, which field it is.
    fields: Vec<Option<&'static str>>,
    /// A row's payload is made of the columns that are no field.
    makes_payload: bool,
}

impl TableReader {
    pub(super) fn open(path: &Path, options: &ImportOptions, offset: u64) -> Result<Self, ExchangeError> {
        let mut file = File::open(path).doing("open", path)?;
        let mut header = CsvReader::new(BufReader::new(&mut file), 0, 1);
        let wrong = |what: String| ExchangeError::Bad { path: path.to_owned(), place: "line 1".into(), what };
        let names = match header.next().doing("read", path)? {
            None => return Err(ExchangeError::Empty { path: path.to_owned() }),
            Some(Err(what)) => return Err(wrong(what)),
            Some(Ok(cells)) => cells,
        };
        let (begins, line) = (header.offset, header.line);
        let text = |cell: Cell| String::from_utf8(cell.unwrap_or_default()).map_err(|_| "a name is no UTF-8");
        let mut names: Vec<String> =
            names.into_iter().map(text).collect::<Result<_, _>>().map_err(|what| wrong(what.into()))?;
        if let Some(first) = names.first_mut() {
            *first = first.trim_start_matches('\u{feff}').to_owned();
        }
        let fields = fields(&names, &options.map).map_err(wrong)?;
        let makes_payload = !fields.iter().flatten().any(|field| field.starts_with("payload"));
        file.seek(SeekFrom::Start(offset.max(begins))).doing("read", path)?;
        let file = BufReader::with_capacity(256 << 10, file);
        Ok(Self {
            path: path.to_owned(),
            rows: CsvReader::new(file, offset.max(begins), line),
            defaults: Defaults::new(options),
            names,
            fields,
            makes_payload,
        })
    }

    pub(super) fn offset(&self) -> u64 {
        self.rows.offset
    }

    pub(super) fn next(&mut self) -> Result<Option<Result<Record, Bad>>, ExchangeError> {
        let (line, offset) = (Some(self.rows.line), self.rows.offset);
        let Some(cells) = self.rows.next().doing("read", &self.path)? else { return Ok(None) };
        let fields = cells.and_then(|cells| self.read(cells));
        Ok(Some(match fields {
            Ok(fields) => self.defaults.record(fields, line, offset),
            Err(what) => Err(Bad { line, offset, what }),
        }))
    }

    fn read(&self, cells: Vec<Cell>) -> Result<Fields<'static>, String> {
        if cells.len() != self.names.len() {
            return Err(format!("it has {} fields, the header has {}", cells.len(), self.names.len()));
        }
        let mut fields = Fields::default();
        let mut payload: Option<Bytes> = None;
        let mut made = Map::new();
        for ((cell, name), field) in cells.into_iter().zip(&self.names).zip(&self.fields) {
            let Some(bytes) = cell else { continue };
            let Some(field) = field else {
                if self.makes_payload {
                    made.insert(name.clone(), Value::String(text(name, bytes)?));
                }
                continue;
            };
            match *field {
                "payload" => payload = Some(bytes.into()),
                "clear" => fields.clear = Some(bytes.into()),
                "payload_base64" => payload = Some(unbase64(name, &bytes)?),
                "clear_base64" => fields.clear = Some(unbase64(name, &bytes)?),
                field => set(&mut fields, field, name, text(name, bytes)?)?,
            }
        }
        fields.payload = match payload {
            Some(payload) => payload,
            None if self.makes_payload => Value::Object(made).to_string().into(),
            None => Bytes::new(),
        };
        Ok(fields)
    }
}

fn fields(names: &[String], map: &[(String, String)]) -> Result<Vec<Option<&'static str>>, String> {
    for (column, field) in map {
        if !names.contains(column) {
            return Err(format!("there is no column `{column}`: {} there are", names.join(", ")));
        }
        if !COLUMNS.contains(&field.as_str()) {
            return Err(format!("there is no field `{field}`: {} there are", COLUMNS.join(", ")));
        }
    }
    let field_of = |name: &String| {
        let mapped = map.iter().find(|(column, _)| column == name).map(|(_, field)| field);
        // A column that is mapped to a field takes the place of the one that is called so.
        let is_taken = mapped.is_none() && map.iter().any(|(_, field)| field == name);
        let field = mapped.unwrap_or(name);
        COLUMNS.into_iter().find(|known| known == field && !is_taken)
    };
    let fields: Vec<_> = names.iter().map(field_of).collect();
    if !fields.contains(&Some("received_at")) {
        return Err(format!(
            "no column is received_at, the time of each row: say which with --map COLUMN=received_at, of {}",
            names.join(", ")
        ));
    }
    Ok(fields)
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8"))
}

fn unbase64(name: &str, bytes: &[u8]) -> Result<Bytes, String> {
    STANDARD.decode(bytes).map(Bytes::from).map_err(|error| format!("{name} is no base64: {error}"))
}

fn set(fields: &mut Fields<'_>, field: &str, name: &str, text: String) -> Result<(), String> {
    fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, String> {
        text.parse().map(Some).map_err(|_| format!("{name} is `{text}`, which is no such number"))
    }
    let flag = || match text.as_str() {
        "true" | "True" | "TRUE" | "1" => Ok(Some(true)),
        "false" | "False" | "FALSE" | "0" => Ok(Some(false)),
        _ => Err(format!("{name} is `{text}`, neither true nor false")),
    };
    match field {
        "vendor" => fields.vendor = Some(text.into()),
        "kind" => fields.kind = Some(text.into()),
        "site" => fields.site = Some(text.into()),
        "session_id" => fields.session_id = Some(text.into()),
        "source" => fields.source = Some(text.into()),
        "channel" => fields.channel = Some(text.into()),
        "connection" => fields.connection = number(name, &text)?,
        "seq" => fields.seq = number(name, &text)?,
        "elapsed_ns" => fields.elapsed_ns = number(name, &text)?,
        "duplicate_of" => fields.duplicate_of = number(name, &text)?,
        "qos" => fields.qos = number(name, &text)?,
        "retain" => fields.retain = flag()?,
        "dup" => fields.dup = flag()?,
        "is_binary" => fields.is_binary = flag()?,
        "received_at" => {
            let time = parse_time(&text).or_else(|| text.strip_suffix(" us")?.parse().ok());
            fields.received_at_us = Some(time.ok_or_else(|| {
                format!("{name} is `{text}`, which is no time with an offset, as in `2026-03-01T14:00:00Z`")
            })?);
        }
        "headers" => {
            let headers: std::collections::BTreeMap<String, String> = serde_json::from_str(&text)
                .map_err(|error| format!("{name} is no JSON object of texts: {error}"))?;
            fields.headers = Some(headers.into_iter().collect());
        }
        _ => debug_assert!(DERIVED.contains(&field)),
    }
    Ok(())
}
