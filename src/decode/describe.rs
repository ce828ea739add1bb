//! What `telereel schema` shows: the declared kinds and fields, as data and for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::builtin::builtin;
use super::declaration::{Declaration, Field, FieldType, SchemaError};

/// A vendor's declared kinds.
#[derive(Debug, Serialize)]
pub struct VendorDescription {
    pub vendor: String,
    pub kinds: Vec<KindDescription>,
}

/// A kind and its columns.
#[derive(Debug, Serialize)]
pub struct KindDescription {
    pub kind: String,
    pub meaning: String,
    /// The columns that the envelope's `device_id` is taken from.
    pub device_id: Vec<String>,
    /// The columns that the envelope's `event_at` is taken from.
    pub event_at: Vec<String>,
    /// The columns by which a message replaces an earlier one, for `replay --state`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state_key: Vec<String>,
    /// The kind that ends what is known under a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_ended_by: Option<String>,
    pub fields: Vec<FieldDescription>,
}

/// A column; an enumeration's second column is `name_column`.
#[derive(Debug, Serialize)]
pub struct FieldDescription {
    pub name: String,
    /// The Parquet field id.
    pub id: i32,
    #[serde(rename = "type")]
    pub data_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    pub role: &'static str,
    pub paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_column: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<i64, String>,
    /// Values that become null.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<String>,
    pub meaning: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<FieldDescription>,
}

/// The built-in declarations of a vendor, of one kind or of all. `Ok(None)`: there is no such vendor
/// or kind among the built-in ones.
pub fn describe(vendor: &str, kind: Option<&str>) -> Result<Option<VendorDescription>, SchemaError> {
    let mut kinds = Vec::new();
    for (name, text) in builtin(vendor).unwrap_or_default() {
        if kind.is_none_or(|wanted| wanted == *name) {
            kinds.push(KindDescription::new(&Declaration::parse(text, &format!("{vendor}/{name}.toml"))?));
        }
    }
    Ok((!kinds.is_empty()).then(|| VendorDescription { vendor: vendor.to_owned(), kinds }))
}

impl KindDescription {
    /// Of any declaration, a user's as well.
    pub fn new(declaration: &Declaration) -> Self {
        let names = |slots: &[usize]| slots.iter().map(|n| declaration.fields[*n].name.clone()).collect();
        Self {
            kind: declaration.kind.clone(),
            meaning: declaration.meaning.clone(),
            device_id: names(&declaration.device_id),
            event_at: names(&declaration.event_at),
            state_key: declaration.state_key.clone(),
            state_ended_by: declaration.state_ended_by().map(str::to_owned),
            fields: declaration.fields.iter().map(FieldDescription::new).collect(),
        }
    }
}

impl FieldDescription {
    fn new(field: &Field) -> Self {
        let members = match &field.data_type {
            FieldType::Structs { members, .. } => members.iter().map(Self::new).collect(),
            _ => Vec::new(),
        };
        let codes = field.codes.as_ref();
        let texts = field.sentinels.texts.iter().map(|text| format!("{text:?}"));
        Self {
            name: field.name.clone(),
            id: field.id,
            data_type: field.data_type.name(),
            unit: field.unit.clone(),
            role: field.role.name(),
            paths: field.paths.iter().map(ToString::to_string).collect(),
            name_column: codes.and_then(|codes| Some(codes.name_column.as_ref()?.0.clone())),
            codes: codes.map(|codes| codes.table.labels.iter().cloned().collect()).unwrap_or_default(),
            sentinels: field.sentinels.numbers.iter().map(f64::to_string).chain(texts).collect(),
            meaning: field.meaning.clone(),
            members,
        }
    }
}

/// A table per kind, then its codes.
impl fmt::Display for VendorDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, kind) in self.kinds.iter().enumerate() {
            let gap = if n == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{}/{kind}", self.vendor)?;
        }
        Ok(())
    }
}

impl fmt::Display for KindDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.meaning)?;
        for (column, from) in [("device_id", &self.device_id), ("event_at", &self.event_at)] {
            if !from.is_empty() {
                writeln!(f, "  {column} is {}", from.join(", else "))?;
            }
        }
        if !self.state_key.is_empty() {
            write!(f, "  its last value per {} is state (replay --state)", self.state_key.join(", "))?;
            match &self.state_ended_by {
                Some(kind) => writeln!(f, ", until {kind}")?,
                None => writeln!(f)?,
            }
        }
        let rows: Vec<_> = self.fields.iter().flat_map(|field| field.rows("")).collect();
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for row in &rows {
            f.write_str(" ")?;
            for (cell, width) in row.iter().zip(widths) {
                write!(f, " {cell:width$} ")?;
            }
            writeln!(f, " {}", row[5])?;
        }
        for field in self.fields.iter().filter(|field| !field.codes.is_empty()) {
            writeln!(f, "\n  {}", field.name)?;
            for (code, label) in &field.codes {
                writeln!(f, "  {code:>7}  {label}")?;
            }
        }
        Ok(())
    }
}

impl FieldDescription {
    /// Name, id, type, unit, path, meaning: of the field and of its members.
    fn rows(&self, indent: &str) -> Vec<[String; 6]> {
        let none = || "-".to_owned();
        let mut rows = vec![[
            format!("{indent}{}", self.name),
            self.id.to_string(),
            self.data_type.to_owned(),
            self.unit.clone().unwrap_or_else(none),
            self.paths.join(" "),
            self.meaning.clone(),
        ]];
        if let Some(name) = &self.name_column {
            let meaning = format!("the name of {}", self.name);
            rows.push([format!("{indent}{name}"), none(), "string".to_owned(), none(), none(), meaning]);
        }
        rows.extend(self.members.iter().flat_map(|member| member.rows("  ")));
        rows
    }
}
