//! Deriving again: typed columns, `device_id`, `event_at` and `decode_error` from the payloads by the
//! declarations of today. Every other column stays what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;

use super::Archive;
use super::compact::{MEANING, is_together, merged};
use super::encoding::Effort;
use super::error::ArchiveError;
use super::manifest::ManifestFile;
use super::rewrite::{Derive, Target, Targets, described_as, schema_of, stamp_of};
use super::schema::{envelope_fields, segment_schema};
use super::segment::{parse_declaration, write_schema_files};
use super::sidecar::Sidecar;
use crate::decode::{Declaration, Decoder, builtin, declaration};
use crate::message::{KindHeader, SessionHeader, SourceHeader};

/// Name of the key-value pair that says by what a file's columns were derived.
pub(super) const STAMP: &str = "declaration";

/// Tells declarations apart, and the decoders of two telereels.
pub(super) fn stamp(declaration: &str) -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), &blake3::hash(declaration.as_bytes()).to_hex()[..16])
}

/// What a file of one kind and day is derived by, by source; where all agree, one entry.
type Choices = BTreeMap<String, BTreeSet<String>>;

impl Archive {
    /// Like `merged`, with columns derived anew: by the declarations that are built in, those of `sources` (as a
    /// configuration has them), or those beside the data. Also the kinds that have one, as a session would say it.
    pub(super) fn redecoded<'a>(
        &self,
        session: &Sidecar,
        files: &[ManifestFile],
        sources: &[SourceHeader],
    ) -> Result<(Targets<'a>, SessionHeader), ArchiveError> {
        let mut header = header_of(session);
        let mut targets: Targets<'a> = Vec::new();
        let mut left: Vec<ManifestFile> = files.to_vec();
        while let Some(first) = left.first().cloned() {
            let (group, rest): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|file| is_together(file, &first));
            left = rest;
            let Some(choices) = self.choices(&group, files, sources)? else {
                targets.extend(merged(self, &group)?);
                continue;
            };
            for (variant, (text, of)) in choices.iter().enumerate() {
                note(&mut header, &first, of, text);
                let kind = KindHeader { name: first.kind.clone(), declaration: Some(text.clone()) };
                let Some(declaration) = parse_declaration(&first.vendor, &kind)? else { continue };
                let schema = segment_schema(&declaration.arrow_fields());
                let inputs: Vec<_> = group
                    .iter()
                    .filter(|file| file.sources.iter().any(|source| of.contains(&source.name)))
                    .cloned()
                    .collect();
                let derive = Redecode::new(&declaration, Arc::clone(&schema));
                targets.push(Target {
                    inputs,
                    schema,
                    variant,
                    sources: (choices.len() > 1).then(|| of.clone()),
                    derive: Some(Box::new(derive)),
                    metadata: vec![(STAMP, stamp(text))],
                    effort: Effort::Keep,
                    only_if_smaller: false,
                });
            }
        }
        Ok((targets, header))
    }

    /// The declaration of each source in these files of one kind and day; none where a source has none, and
    /// there is nothing to derive. `all` are all files of the session.
    fn choices(
        &self,
        group: &[ManifestFile],
        all: &[ManifestFile],
        sources: &[SourceHeader],
    ) -> Result<Option<Choices>, ArchiveError> {
        let (vendor, kind) = (&*group[0].vendor, &*group[0].kind);
        let mut choices = Choices::new();
        for name in group.iter().flat_map(|file| &file.sources).map(|source| &source.name) {
            let known = choices.values().any(|of| of.contains(name));
            if known {
                continue;
            }
            let configured = || {
                let source = sources.iter().find(|s| s.name == *name && s.vendor == *vendor)?;
                source.kinds.iter().find(|k| k.name == *kind)?.declaration.clone()
            };
            let text = match builtin(vendor) {
                Some(_) => declaration(vendor, kind).map(str::to_owned),
                None => match configured() {
                    Some(text) => Some(text),
                    None => self.kept_declaration(vendor, kind, name, all)?,
                },
            };
            let Some(text) = text else { return Ok(None) };
            choices.entry(text).or_default().insert(name.clone());
        }
        Ok(Some(choices))
    }

    /// The declaration beside the data: the newest, unless sources of the session had different ones, where it is
    /// the one that has the columns which the source's files have.
    fn kept_declaration(
        &self,
        vendor: &str,
        kind: &str,
        source: &str,
        all: &[ManifestFile],
    ) -> Result<Option<String>, ArchiveError> {
        let mut columns: BTreeMap<Vec<Column>, bool> = BTreeMap::new();
        for file in all.iter().filter(|file| file.vendor == vendor && file.kind == kind) {
            let is_mine = file.sources.iter().any(|s| s.name == source);
            let schema = schema_of(self, file)?;
            *columns.entry(typed(schema.fields().iter().map(AsRef::as_ref))).or_default() |= is_mine;
        }
        let newest = self.declaration(vendor, kind)?;
        if columns.len() > 1 {
            let has = |declaration: &Declaration| {
                columns.get(&typed(declaration.arrow_fields().iter())).is_some_and(|mine| *mine)
            };
            let fitting = self.declarations(vendor, kind)?.into_iter().find(has);
            return Ok(fitting.map(|declaration| declaration.text().to_owned()).or(newest));
        }
        Ok(newest)
    }

    /// Keeps the declarations, and shows their columns in the zero-row files.
    pub(super) fn note_declarations(&self, header: &SessionHeader) -> Result<(), ArchiveError> {
        self.write_declarations(header)?;
        write_schema_files(self, header)?;
        self.write_views()
    }

    /// Whether the columns of these files were all derived by what would derive them now.
    pub(super) fn is_derived(&self, target: &Target<'_>) -> Result<bool, ArchiveError> {
        let Some((_, wanted)) = target.metadata.iter().find(|(key, _)| *key == STAMP) else {
            return Ok(true);
        };
        for file in &target.inputs {
            let is_whole =
                |of: &BTreeSet<String>| file.sources.iter().all(|source| of.contains(&source.name));
            if stamp_of(self, file)?.as_ref() != Some(wanted) || !target.sources.as_ref().is_none_or(is_whole)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A column's name, and what it says of its values.
type Column = (String, [Option<String>; 2]);

/// The columns beside the envelope's.
fn typed<'a>(fields: impl Iterator<Item = &'a Field>) -> Vec<Column> {
    let envelope = envelope_fields();
    let typed = fields.filter(|field| envelope.iter().all(|known| known.name() != field.name()));
    typed.map(|field| (field.name().clone(), MEANING.map(|key| field.metadata().get(key).cloned()))).collect()
}

fn header_of(session: &Sidecar) -> SessionHeader {
    let source = |source: &super::SidecarSource| SourceHeader {
        name: source.name.clone(),
        vendor: source.vendor.clone(),
        kinds: Vec::new(),
        settings: serde_json::Value::Null,
    };
    SessionHeader {
        session_id: session.session_id,
        name: session.name.clone(),
        site: session.site.clone(),
        started_at_us: session.started_at_us,
        sources: session.sources.iter().map(source).collect(),
    }
}

fn note(header: &mut SessionHeader, file: &ManifestFile, of: &BTreeSet<String>, text: &str) {
    let of_kind = header.sources.iter_mut().filter(|s| s.vendor == file.vendor && of.contains(&s.name));
    for source in of_kind {
        if source.kinds.iter().all(|kind| kind.name != file.kind) {
            source.kinds.push(KindHeader { name: file.kind.clone(), declaration: Some(text.to_owned()) });
        }
    }
}

struct Redecode {
    schema: SchemaRef,
    decoder: Decoder,
}

impl Redecode {
    fn new(declaration: &Declaration, schema: SchemaRef) -> Self {
        Self { schema, decoder: Decoder::new(Some(declaration)) }
    }
}

impl Derive for Redecode {
    fn columns(&self) -> Vec<&str> {
        let envelope = envelope_fields().len();
        self.schema.fields().iter().take(envelope).map(|field| field.name().as_str()).collect()
    }

    fn derive(&mut self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let column = |name: &str| {
            let missing = || ArrowError::SchemaError(format!("no column {name}"));
            rows.column_by_name(name).ok_or_else(missing)
        };
        let wrong = |name: &str| ArrowError::SchemaError(format!("{name} is of another type"));
        let channel = column("channel")?.as_string_opt::<i32>().ok_or_else(|| wrong("channel"))?;
        let payload = column("payload")?.as_binary_opt::<i32>().ok_or_else(|| wrong("payload"))?;
        let clear = column("clear")?.as_binary_opt::<i32>().ok_or_else(|| wrong("clear"))?;
        let (mut device_id, mut decode_error) = (StringBuilder::new(), StringBuilder::new());
        let mut event_at = TimestampMicrosecondBuilder::new();
        for at in 0..rows.num_rows() {
            let clear = clear.is_valid(at).then(|| clear.value(at));
            let decoded = self.decoder.push_decrypted(channel.value(at), payload.value(at), clear);
            device_id.append_option(decoded.device_id);
            event_at.append_option(decoded.event_at_us);
            decode_error.append_option(decoded.error);
        }
        let derived: [(&str, ArrayRef); 3] = [
            ("device_id", Arc::new(device_id.finish())),
            ("event_at", Arc::new(event_at.finish().with_timezone("UTC"))),
            ("decode_error", Arc::new(decode_error.finish())),
        ];
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for name in self.columns() {
            let anew = derived.iter().find(|(known, _)| *known == name);
            columns.push(match anew {
                Some((_, column)) => Arc::clone(column),
                None => described_as(column(name)?, self.schema.field_with_name(name)?.data_type())?,
            });
        }
        columns.extend(self.decoder.finish());
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}
