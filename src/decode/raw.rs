//! A declaration as its TOML spells it, before anything is checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

/// A file that declares several kinds, as users write for generic sources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) kind: Vec<RawKind>,
}

/// One kind; a built-in file is exactly one of these.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKind {
    #[serde(alias = "name")]
    pub(super) kind: Spanned<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) meaning: String,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<RawMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encrypted: Option<RawEncrypted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) device_id: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_id_channel: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) event_at: Vec<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) state_key: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_ended_by: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sentinels: Vec<RawScalar>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) null_together: Vec<RawTogether>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) known: Vec<Spanned<String>>,
    #[serde(default, rename = "field", skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<RawField>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) codes: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) paths: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) equals: Option<RawScalar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) channel: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEncrypted {
    pub(super) member: String,
    pub(super) clear: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTogether {
    pub(super) fields: Vec<Spanned<String>>,
    pub(super) value: f64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawField {
    pub(super) name: Spanned<String>,
    pub(super) id: Spanned<i64>,
    #[serde(rename = "type")]
    pub(super) type_name: Spanned<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) paths: Vec<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<Spanned<String>>,
    // Needed: an option only so that its absence is answered in our words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Spanned<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sentinels: Vec<RawScalar>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) true_values: Vec<f64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) json: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) split: Option<Spanned<RawSplit>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) codes: Option<Spanned<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name_id: Option<Spanned<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) element_id: Option<Spanned<i64>>,
    #[serde(default, rename = "member", skip_serializing_if = "Vec::is_empty")]
    pub(super) members: Vec<RawField>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSplit {
    pub(super) separator: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_separator: Option<char>,
}

#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub(super) enum RawScalar {
    Bool(bool),
    Number(f64),
    Text(String),
}
