//! From payloads to typed columns: declarations, their rules, and the decoder that follows them.
//!
//! A kind of message is declared once, in TOML, and everything derived from payloads comes from
//! there: columns with their Parquet field ids, the envelope's `device_id` and `event_at`, and what
//! `telereel schema` shows. The built-in declarations lie in `schema/vendors`; users write more for
//! generic sources in the same way, without code. Payloads themselves are never changed.
//!
//! # A declaration
//!
//! ```toml
//! kind = "reading"                       # in a file of several: [[kind]] with name = "reading"
//! meaning = "One reading of a sensor."
//! match = { path = "type", equals = "r" } # which messages; or path alone, or channel = "glob"
//! device_id = ["sensor"]                  # columns; the first that has a value counts
//! device_id_channel = "site/+/{device_id}/#" # else from the channel
//! event_at = ["measured_at"]
//! state_key = ["device_id"]               # the later of two such messages replaces the earlier
//! state_ended_by = "gone"                 # and one of this kind, which has the same columns, ends it
//! sentinels = ["", "null"]                # mean "none" in every field
//!
//! [[field]]
//! name = "temperature_c"                  # unit at the end of the name
//! id = 101                                # the Parquet field id, for ever
//! type = "double"   # int32 int64 double bool string timestamp list<string> list<struct>
//! unit = "°C"
//! role = "measurement" # identifier location health credential time state measurement text
//! path = "values.temp" # or paths = […]: the first that has a value counts
//! sentinels = [-1000]
//! meaning = "Air temperature."
//! ```
//!
//! More keys of a field: `time` (a timestamp's format: `rfc3339 unix_s unix_ms compact any
//! unix_s_or_rfc3339`), `split`
//! (`{ separator = ",", position = 0 }` or `{ separator = ";", key = "x", key_separator = ":" }`),
//! `codes` (a table `[codes.NAME]` of code = "label") with `name_id` (the id of the `…_name` column
//! beside a `…_code`), `true_values` (a bool that is a special value of a number), `json = true` (a string that takes an object or
//! an array as its JSON), `element_id` and
//! `[[field.member]]` (lists; a member with the path `$key` takes the key of a map). A kind may also
//! say `null_together = [{ fields = […], value = 0 }]`: all null where all have that value,
//! `encrypted = { member = "encryptData", clear = "data" }`: the decrypted content is read as if it stood
//! in the payload as its member `data`; `decode_error` says so where `encryptData` was not opened. And
//! `known = ["proto"]`: paths that have no column and are expected all the same; `info` does not list them.
//!
//! # What a path means
//!
//! Keys joined by dots. A path goes through JSON in strings as it goes through objects, and a number
//! steps into an array. Numbers in strings are numbers. A value converts without loss or not at all:
//! 21000.0 is an integer, 2.5 is none. What does not convert is null and named in `decode_error`;
//! JSON null, a sentinel and an absent key are null without a word. Of repeated keys the last counts.
//!
//! # What never happens here
//!
//! I/O, a look at the clock, a panic that bytes could cause, a tree of JSON values.

mod build;
mod builtin;
mod channel;
mod check;
mod columns;
mod conceal;
mod declaration;
mod decoder;
mod describe;
mod edit;
mod fields;
mod json;
mod matching;
mod names;
mod numbers;
mod plain;
mod plan;
mod raw;
mod rebase;
mod row;
mod split;
mod state;
mod time;
mod unknown;
mod value;
mod walk;

#[cfg(test)]
mod tests;

pub use builtin::{builtin, declaration, vendors};
pub use check::check_vendor;
pub use conceal::{Conceal, Mask, Shown};
pub use declaration::{CodeTable, Codes, Declaration, Field, FieldType, Path, Role, SchemaError};
pub use decoder::{Decoded, Decoder};
pub use describe::{FieldDescription, KindDescription, VendorDescription, describe};
pub use rebase::Rebase;
pub use state::StateKeyReader;
pub use time::TimeFormat;
pub(crate) use time::in_range as time_in_range;
pub use unknown::{KnownPaths, Unknown};
