//! What a kind's declaration says, checked and ready to decode by.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field as ArrowField;
use serde::Serialize;

use super::channel::ChannelPattern;
use super::matching::MatchRule;
use super::split::Split;
use super::time::TimeFormat;
use super::{build, fields};

/// Why a declaration is refused: which file, where in it, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, line {line}, {key}: {what}")]
pub struct SchemaError {
    /// The file, or whatever else the text came from.
    pub origin: String,
    /// From 1.
    pub line: usize,
    /// The key or the column that is wrong.
    pub key: String,
    pub what: String,
}

/// One kind: where its columns, its device and its time are found in a payload.
#[derive(Clone, Debug)]
pub struct Declaration {
    pub(super) kind: String,
    pub(super) meaning: String,
    /// TOML that says all of this again, so that a journal part needs nothing else to be decoded.
    pub(super) text: String,
    pub(super) origin: String,
    pub(super) rule: Option<MatchRule>,
    pub(super) encrypted: Option<Encrypted>,
    /// Indices of the fields that name the device; the first that has a value counts.
    pub(super) device_id: Vec<usize>,
    pub(super) device_id_channel: Option<ChannelPattern>,
    pub(super) event_at: Vec<usize>,
    pub(super) state_key: Vec<String>,
    pub(super) state_ended_by: Option<StateEnd>,
    pub(super) null_together: Vec<NullTogether>,
    /// Places without a column that are expected all the same.
    pub(super) known: Vec<Path>,
    pub(super) fields: Vec<Field>,
}

impl Declaration {
    /// Whether a message of this kind says which device it is of.
    pub fn names_devices(&self) -> bool {
        !self.device_id.is_empty() || self.device_id_channel.is_some()
    }

    /// Reads a text that declares exactly one kind. `origin` names the text in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SchemaError> {
        build::one(text, origin)
    }

    /// Reads a text that declares one kind, or several as `[[kind]]`.
    pub fn parse_all(text: &str, origin: &str) -> Result<Vec<Self>, SchemaError> {
        build::all(text, origin)
    }

    /// The kind's name: a folder's name in the archive.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What the kind is, for people.
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// The declaration as TOML, complete: [`Declaration::parse`] reads it back.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The declared fields in the order of their columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Columns (or `device_id`) by which two messages are about the same thing, so that the later
    /// one replaces the earlier one's state. Empty where a last value says nothing about now: of alarms
    /// and events.
    pub fn state_key(&self) -> &[String] {
        &self.state_key
    }

    /// The kind whose message with the same key ends the state: nothing is known of the thing any more.
    pub fn state_ended_by(&self) -> Option<&str> {
        self.state_ended_by.as_ref().map(|end| end.kind.as_str())
    }

    /// The columns of a decoded batch: nullable, with `PARQUET:field_id` on every level, and where
    /// declared `description unit role codes` as metadata.
    pub fn arrow_fields(&self) -> Vec<ArrowField> {
        fields::arrow_fields(&self.fields)
    }

    /// Whether a message is of this kind, by the declaration's `match`; without one nothing is.
    pub fn matches(&self, channel: &str, body: &[u8]) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.matches(channel, body))
    }

    /// Whether the declaration says which messages are of its kind.
    pub fn has_match(&self) -> bool {
        self.rule.is_some()
    }

    /// What it says of channels, as patterns of levels: whatever is in it and no wildcard is a word.
    pub(crate) fn channel_patterns(&self) -> Vec<String> {
        let of_device = self.device_id_channel.iter().map(ChannelPattern::text);
        of_device.chain(self.rule.iter().filter_map(|rule| rule.channel.clone())).collect()
    }

    pub(super) fn error(&self, line: usize, key: &str, what: impl Into<String>) -> SchemaError {
        SchemaError { origin: self.origin.clone(), line, key: key.to_owned(), what: what.into() }
    }
}

/// The kind that ends a state, and the line that says so.
#[derive(Clone, Debug)]
pub(super) struct StateEnd {
    pub(super) kind: String,
    pub(super) line: usize,
}

/// Which member of the top level the vendor encrypts, both of them as JSON spells their names.
#[derive(Clone, Debug)]
pub(super) struct Encrypted {
    /// Where the ciphertext is.
    member: String,
    /// Where its content would be, were it not encrypted.
    clear: String,
}

impl Encrypted {
    pub(super) fn new(member: &str, clear: &str) -> Self {
        let spelled = |name: &str| serde_json::Value::from(name).to_string();
        Self { member: spelled(member), clear: spelled(clear) }
    }

    /// The name of the member that holds the ciphertext.
    pub(super) fn member(&self) -> String {
        serde_json::from_str(&self.member).unwrap_or_default()
    }

    /// The name of the member that would hold its content.
    pub(super) fn clear(&self) -> String {
        serde_json::from_str(&self.clear).unwrap_or_default()
    }

    /// Writes to `whole` what the payload would be in clear; of repeated keys the last counts. False if
    /// the payload is no object.
    pub(super) fn join(&self, payload: &[u8], clear: &[u8], whole: &mut Vec<u8>) -> bool {
        whole.clear();
        let Some(start) = payload.trim_ascii_end().strip_suffix(b"}") else { return false };
        let comma = if start.trim_ascii_end().ends_with(b"{") { "" } else { "," };
        for part in [start, comma.as_bytes(), self.clear.as_bytes(), b":", clear, b"}"] {
            whole.extend_from_slice(part);
        }
        true
    }

    /// Whether the payload has the ciphertext. No text within a value can pass for it: its quotes would
    /// be escaped.
    pub(super) fn is_in(&self, payload: &[u8]) -> bool {
        payload.windows(self.member.len()).any(|window| window == self.member.as_bytes())
    }
}

/// Fields that are all null where all of them have `value`: a position of 0, 0, say.
#[derive(Clone, Debug)]
pub(super) struct NullTogether {
    pub(super) fields: Vec<usize>,
    pub(super) value: f64,
}

/// One column, or two where there is a code table that gives names.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    /// The Parquet field id: at least 100, unique in its kind, never used again.
    pub id: i32,
    pub data_type: FieldType,
    /// Where it is found; the first path that has a value counts.
    pub paths: Vec<Path>,
    /// As people write it: `km/h`, `°C`, `%`.
    pub unit: Option<String>,
    pub role: Role,
    pub meaning: String,
    pub(super) sentinels: Sentinels,
    pub(super) split: Option<Split>,
    pub codes: Option<Codes>,
    /// For booleans that are a special value of a number: true where the number is one of these.
    pub(super) true_values: Vec<f64>,
    /// For strings: an object or an array is taken as its JSON.
    pub(super) takes_json: bool,
    pub(super) line: usize,
}

/// The type of a column.
#[derive(Clone, Debug)]
pub enum FieldType {
    Int32,
    Int64,
    Double,
    Bool,
    String,
    /// Microseconds since the Unix epoch, UTC; the format is the payload's.
    Timestamp(TimeFormat),
    /// `list<string>`, from an array.
    Strings {
        element_id: i32,
    },
    /// `list<struct>`, from an array of objects or from a map of them.
    Structs {
        element_id: i32,
        members: Vec<Field>,
    },
}

impl FieldType {
    /// The name as declarations spell it.
    pub fn name(&self) -> &'static str {
        match self {
            FieldType::Int32 => "int32",
            FieldType::Int64 => "int64",
            FieldType::Double => "double",
            FieldType::Bool => "bool",
            FieldType::String => "string",
            FieldType::Timestamp(_) => "timestamp",
            FieldType::Strings { .. } => "list<string>",
            FieldType::Structs { .. } => "list<struct>",
        }
    }
}

/// What a field is to somebody who shares, joins or erases recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Names a device, a person or a thing.
    Identifier,
    /// Where something is.
    Location,
    /// About a person's body: sex, age, posture.
    Health,
    /// Opens or unlocks something.
    Credential,
    /// A moment, moved when a replay moves time.
    Time,
    /// How something is: a code, a switch, a state.
    State,
    /// A measured quantity.
    Measurement,
    /// Words for people.
    Text,
}

impl Role {
    pub(super) const ALL: [(&'static str, Role); 8] = [
        ("identifier", Role::Identifier),
        ("location", Role::Location),
        ("health", Role::Health),
        ("credential", Role::Credential),
        ("time", Role::Time),
        ("state", Role::State),
        ("measurement", Role::Measurement),
        ("text", Role::Text),
    ];

    /// The name as declarations spell it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }
}

/// The labels of a field's codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    pub table: Arc<CodeTable>,
    /// The column that holds the label: its name and field id. None for switches, whose labels are
    /// metadata only.
    pub name_column: Option<(String, i32)>,
}

/// Codes and labels, sorted by code.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeTable {
    pub name: String,
    pub labels: Vec<(i64, String)>,
}

impl CodeTable {
    /// The label of a code; none if the table does not know it.
    pub fn label(&self, code: i64) -> Option<&str> {
        let found = self.labels.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        Some(&self.labels[found].1)
    }
}

/// Values that mean "none".
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sentinels {
    /// Compared with the converted number, however it was spelled.
    pub(super) numbers: Vec<f64>,
    /// Compared with the whole text, and with the piece where it is split.
    pub(super) texts: Vec<Box<str>>,
    /// The length of the longest of `texts`: most texts are longer and need no comparison.
    pub(super) text_bytes_max: usize,
}

/// Where a value is found: keys from the outside in, through JSON in strings as through objects. A
/// number also steps into an array. A dot in a key is written `\.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<String>);

/// The path of a list member that is the key under which the member was found in a map.
pub(super) const MAP_KEY: &str = "$key";

impl Path {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut steps = vec![String::new()];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match c {
                '\\' => steps.last_mut()?.push(characters.next()?),
                '.' => steps.push(String::new()),
                c => steps.last_mut()?.push(c),
            }
        }
        steps.iter().all(|step| !step.is_empty()).then_some(Self(steps))
    }

    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            write!(f, "{dot}{}", step.replace('\\', "\\\\").replace('.', "\\."))?;
        }
        Ok(())
    }
}
