//! The DuckDB views: one per vendor and kind, and those across vendors.
//!
//! They are put together from templates in `schema/views` and the columns of the kinds. Since a name
//! means the same type and unit in every kind of every vendor, the views across vendors go by names:
//! a kind that a user declares with `latitude` and `longitude` is in `positions` without more ado.
//! Kinds of vendors that were never recorded here have views without rows, so that a query written for
//! one archive runs on another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use arrow::datatypes::{DataType, Field};
use serde::Serialize;

use super::Archive;
use super::durable::replace;
use super::error::{ArchiveError, IoContext};
use super::filter::ColumnTypes;
use super::layout::{kind_dir, schema_path};
use super::link::LINK_KIND;
use super::own_checksum::{Form, with_checksum};
use super::questions::questions;
use super::schema::segment_schema;
use super::segment::parse_declaration;
use crate::decode::{builtin, declaration, vendors};
use crate::message::{COMMON_KINDS, KindHeader};

pub(super) const VIEWS: &str = "duckdb.sql";
pub(super) const QUESTIONS: &str = "questions.md";

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../schema/views/", $name, ".sql"))
    };
}

/// A value of a view across vendors, and what gives it: the first of these columns that a kind has.
/// `{}` is the column.
type Rule = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const POSITION: [Rule; 12] = [
    ("target_id", "VARCHAR", &[("target_id", "CAST({} AS VARCHAR)"), ("person_id", "CAST({} AS VARCHAR)")]),
    ("latitude", "DOUBLE", &[("latitude", "{}")]),
    ("longitude", "DOUBLE", &[("longitude", "{}")]),
    ("x_m", "DOUBLE", &[("x_m", "{}"), ("x_cm", "{} / 100.0"), ("x_mm", "{} / 1000.0")]),
    ("y_m", "DOUBLE", &[("y_m", "{}"), ("y_cm", "{} / 100.0"), ("y_mm", "{} / 1000.0")]),
    ("z_m", "DOUBLE", &[("z_m", "{}"), ("z_cm", "{} / 100.0"), ("z_mm", "{} / 1000.0")]),
    ("speed_mps", "DOUBLE", &[("speed_mps", "{}"), ("speed_kmh", "{} / 3.6")]),
    ("heading_deg", "DOUBLE", &[("heading_deg", "CAST({} AS DOUBLE)")]),
    ("accuracy_m", "DOUBLE", &[("accuracy_m", "CAST({} AS DOUBLE)")]),
    ("state_code", "INTEGER", &[("state_code", "CAST({} AS INTEGER)")]),
    ("state_name", "VARCHAR", &[("state_name", "{}")]),
    ("zone_name", "VARCHAR", &[("zone_name", "{}")]),
];

const ALARM: [Rule; 5] = [
    ("alarm_code", "INTEGER", &[("alarm_code", "{}")]),
    ("alarm_name", "VARCHAR", &[("alarm_name", "{}")]),
    ("latitude", "DOUBLE", &[("latitude", "{}")]),
    ("longitude", "DOUBLE", &[("longitude", "{}")]),
    ("target_id", "VARCHAR", &[("target_id", "CAST({} AS VARCHAR)")]),
];

/// The column of a kind that has several positions in a row: a list with one entry for each.
const TARGETS: &str = "targets";

/// Built-in kinds that have a position of something else's sake: they are not in `positions`.
const NOT_POSITIONS: [(&str, &str); 3] =
    [("jointech", "alarm"), ("jointech", "event"), ("jointech", "sublock")];

/// A view, and the statement that makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    pub name: String,
    pub sql: String,
}

/// A kind that gets a view.
struct Kind {
    vendor: String,
    name: String,
    columns: Vec<Field>,
    /// Whether the archive has files of it.
    present: bool,
}

type BuiltIn = (&'static str, &'static str, Vec<Field>);

/// A view across vendors: its name and template, and which part of it a kind gives, if any.
type Across = (&'static str, &'static str, fn(&Kind) -> Option<String>);

/// Each after those that it reads.
const ACROSS: [Across; 9] = [
    ("sessions", template!("sessions"), |_| None),
    ("device_rooms", template!("device_rooms"), |_| None),
    ("pontosense_zones", template!("zones"), |_| None),
    ("pontosense_fall_minutes", template!("fall_minutes"), |_| None),
    ("positions", template!("positions"), Kind::positions),
    ("presence", template!("presence"), Kind::presence),
    ("alarms", template!("alarms"), Kind::alarms),
    ("outages", template!("outages"), Kind::link_events),
    ("devices", template!("devices"), Kind::devices),
];

impl Archive {
    /// The script of all views over this archive: what `telereel views` prints.
    pub fn views(&self) -> Result<String, ArchiveError> {
        let mut sql = template!("head").to_owned();
        for view in self.view_list()? {
            let _ = write!(sql, "\n{}", view.sql);
        }
        Ok(sql)
    }

    /// The views one by one, each after those that it reads.
    pub fn view_list(&self) -> Result<Vec<View>, ArchiveError> {
        let kinds = self.kinds_to_view()?;
        let mut views: Vec<View> =
            kinds.iter().map(|kind| View { name: kind.view_name(), sql: kind.view() }).collect();
        for (name, template, rows) in ACROSS {
            let selects: Vec<String> = kinds.iter().filter_map(rows).collect();
            let sql = template.replace("{rows}", selects.join("    UNION ALL\n").trim_end());
            views.push(View { name: name.to_owned(), sql });
        }
        Ok(views)
    }

    /// Every column that a row of this archive can have, with its type: the envelope's, the typed ones, and the
    /// folders.
    pub fn column_types(&self) -> Result<ColumnTypes, ArchiveError> {
        self.column_types_of(|_, _| true)
    }

    /// Those of the vendors and kinds that `wanted` says yes to.
    pub fn column_types_of(&self, wanted: impl Fn(&str, &str) -> bool) -> Result<ColumnTypes, ArchiveError> {
        let mut types: ColumnTypes =
            ["vendor", "kind", "date"].map(|folder| (folder.to_owned(), DataType::Utf8)).into();
        let kinds = self.kinds_to_view()?.into_iter().filter(|kind| wanted(&kind.vendor, &kind.name));
        for column in kinds.flat_map(|kind| kind.columns) {
            types.entry(column.name().clone()).or_insert_with(|| column.data_type().clone());
        }
        Ok(types)
    }

    /// Writes `views/duckdb.sql` and `views/questions.md` where they would change.
    pub(super) fn write_views(&self) -> Result<(), ArchiveError> {
        let files = [(VIEWS, Form::Sql, self.views()?), (QUESTIONS, Form::Markdown, questions())];
        for (name, form, text) in files {
            let (path, file) = (self.layout.views().join(name), with_checksum(form, text.as_bytes()));
            if !self.disk.read(&path).is_ok_and(|known| known == file) {
                replace(&self.layout, &*self.disk, &path, &file)?;
            }
        }
        Ok(())
    }

    /// Every kind of every built-in vendor, and what else the archive has.
    fn kinds_to_view(&self) -> Result<Vec<Kind>, ArchiveError> {
        let mut kinds: BTreeMap<(String, String), Kind> = BTreeMap::new();
        for (vendor, name, columns) in built_in()? {
            let (vendor, name) = ((*vendor).to_owned(), (*name).to_owned());
            let kind =
                Kind { vendor: vendor.clone(), name: name.clone(), columns: columns.clone(), present: false };
            kinds.insert((vendor, name), kind);
        }
        for (vendor, name) in self.kinds_in_data()? {
            // One that is damaged must not keep the others from being seen; `recover` makes it again.
            let columns = match self.schema_file_columns(&vendor, &name) {
                Ok(columns) => columns,
                Err(error) => {
                    let Some(columns) = self.declared_columns(&vendor, &name)? else {
                        tracing::warn!("{error}; the views leave its kind out");
                        continue;
                    };
                    columns
                }
            };
            let kind = Kind { vendor: vendor.clone(), name: name.clone(), columns, present: true };
            kinds.insert((vendor, name), kind);
        }
        Ok(kinds.into_values().collect())
    }

    /// Vendors and kinds that have a zero-row file.
    pub(super) fn kinds_in_data(&self) -> Result<Vec<(String, String)>, ArchiveError> {
        let mut kinds = self.kind_folders()?;
        kinds.retain(|(vendor, kind)| self.root().join(schema_path(vendor, kind)).exists());
        Ok(kinds)
    }

    /// Vendors and kinds that have a folder.
    pub(super) fn kind_folders(&self) -> Result<Vec<(String, String)>, ArchiveError> {
        let mut kinds = Vec::new();
        for (vendor, folder) in partitions(&self.layout.data(), "vendor=")? {
            kinds.extend(partitions(&folder, "kind=")?.into_iter().map(|(kind, _)| (vendor.clone(), kind)));
        }
        Ok(kinds)
    }

    /// The folders that have partitions within: all in `data/` but those of days.
    pub(super) fn partition_folders(&self) -> Result<Vec<PathBuf>, ArchiveError> {
        let mut folders = vec![self.layout.data()];
        for (_, vendor) in partitions(&self.layout.data(), "vendor=")? {
            folders.extend(partitions(&vendor, "kind=")?.into_iter().map(|(_, kind)| kind));
            folders.push(vendor);
        }
        Ok(folders)
    }
}

/// Vendor, name and columns of every built-in kind. They never change, so their declarations are read once.
fn built_in() -> Result<&'static [BuiltIn], ArchiveError> {
    static KNOWN: OnceLock<Vec<BuiltIn>> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let mut kinds = Vec::new();
    for vendor in vendors() {
        let own = builtin(vendor).unwrap_or_default().iter().map(|(name, _)| *name);
        for name in own.chain(COMMON_KINDS) {
            let text = declaration(vendor, name).map(str::to_owned);
            let header = KindHeader { name: name.to_owned(), declaration: text };
            let typed = parse_declaration(vendor, &header)?.map(|d| d.arrow_fields()).unwrap_or_default();
            let columns = segment_schema(&typed).fields().iter().map(|f| (**f).clone()).collect();
            kinds.push((*vendor, name, columns));
        }
    }
    Ok(KNOWN.get_or_init(|| kinds))
}

/// The folders `key=value` in `folder`.
fn partitions(folder: &std::path::Path, key: &str) -> Result<Vec<(String, PathBuf)>, ArchiveError> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing("list", folder)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.doing("list", folder)?;
        let name = entry.file_name();
        if let Some(value) = name.to_str().and_then(|name| name.strip_prefix(key)) {
            found.push((value.to_owned(), entry.path()));
        }
    }
    Ok(found)
}

impl Kind {
    fn view_name(&self) -> String {
        format!("{}_{}", self.vendor, self.name)
    }

    fn view(&self) -> String {
        let template = if self.present { template!("kind") } else { template!("kind_absent") };
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|field| {
                format!("CAST(NULL AS {}) AS {}", duckdb_type(field.data_type()), quoted(field.name()))
            })
            .collect();
        template
            .replace("{view}", &self.view_name())
            .replace("{folder}", &kind_dir(&self.vendor, &self.name))
            .replace("{columns}", &columns.join(",\n    "))
            .replace("{kind}", &self.name)
            .replace("{vendor}", &self.vendor)
    }

    /// This kind's part of a view across vendors.
    fn select(&self, template: &str, rules: &[Rule]) -> String {
        let mut sql = template.replace("{view}", &self.rows_of_view(rules));
        for (value, data_type, columns) in rules {
            let given = columns.iter().find(|(column, _)| self.has(column));
            let expression = match given {
                Some((column, expression)) => expression.replace("{}", &quoted(column)),
                None => format!("CAST(NULL AS {data_type})"),
            };
            sql = sql.replace(&format!("{{{value}}}"), &expression);
        }
        sql
    }

    /// The view, or where a position is one of several in a row, the view with one row for each.
    fn rows_of_view(&self, rules: &[Rule]) -> String {
        if rules.is_empty() || self.targets().is_empty() {
            return self.view_name();
        }
        let template = match self.vendor.as_str() {
            "pontosense" => template!("targets_in_zones"),
            _ => template!("targets"),
        };
        template.trim_end().replace("{view}", &self.view_name())
    }

    /// The members of a list of targets.
    fn targets(&self) -> Vec<&str> {
        let list = self.columns.iter().find(|field| field.name() == TARGETS);
        let Some(DataType::List(element)) = list.map(Field::data_type) else { return Vec::new() };
        let DataType::Struct(members) = element.data_type() else { return Vec::new() };
        let mut names: Vec<&str> = members.iter().map(|member| member.name().as_str()).collect();
        // By their place among the zones of the sensor's configuration.
        if self.vendor == "pontosense" {
            names.push("zone_name");
        }
        names
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|field| field.name() == column) || self.targets().contains(&column)
    }

    fn positions(&self) -> Option<String> {
        let geographic = self.has("latitude") && self.has("longitude");
        let planar =
            ["m", "cm", "mm"].iter().any(|u| self.has(&format!("x_{u}")) && self.has(&format!("y_{u}")));
        let of_itself = !NOT_POSITIONS.contains(&(self.vendor.as_str(), self.name.as_str()));
        let is_one = (geographic || planar) && of_itself;
        is_one.then(|| self.select(template!("position_rows"), &POSITION))
    }

    fn presence(&self) -> Option<String> {
        (!self.targets().is_empty()).then(|| self.select(template!("presence_rows"), &[]))
    }

    fn alarms(&self) -> Option<String> {
        let (template, rules) = match (self.vendor.as_str(), self.name.as_str()) {
            ("pontosense", "location") => (template!("alarm_rows_of_falls"), &[][..]),
            ("jointech", "sublock") => (template!("alarm_rows_of_sublocks"), &[][..]),
            _ if self.has("alarm_code") => (template!("alarm_rows"), &ALARM[..]),
            _ => return None,
        };
        Some(self.select(template, rules))
    }

    fn link_events(&self) -> Option<String> {
        (self.name == LINK_KIND).then(|| self.select(template!("outage_rows"), &[]))
    }

    fn devices(&self) -> Option<String> {
        let has_device = self.name != LINK_KIND && self.name != "control";
        has_device.then(|| self.select(template!("device_rows"), &[]))
    }
}

/// A name in SQL: what lies in an archive that was handed over may be called anything.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// DuckDB's name for the type that it reads a column as.
fn duckdb_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Binary => "BLOB".into(),
        DataType::Timestamp(..) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Map(..) => "MAP(VARCHAR, VARCHAR)".into(),
        DataType::List(element) => format!("{}[]", duckdb_type(element.data_type())),
        DataType::Struct(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|m| format!("{} {}", quoted(m.name()), duckdb_type(m.data_type())))
                .collect();
            format!("STRUCT({})", members.join(", "))
        }
        _ => "VARCHAR".into(),
    }
}
