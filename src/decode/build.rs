//! From TOML to [`Declaration`]: every mistake is answered with file, line, key and what was expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::channel::ChannelPattern;
use super::declaration::{
    CodeTable, Codes, Declaration, Encrypted, Field, FieldType, MAP_KEY, NullTogether, Path, Role,
    SchemaError, Sentinels, StateEnd,
};
use super::matching::MatchRule;
use super::raw::{RawField, RawFile, RawKind, RawMatch, RawScalar, RawSplit};
use super::split::Split;
use super::time::TimeFormat;
use super::{check, plan};

pub(super) fn one(text: &str, origin: &str) -> Result<Declaration, SchemaError> {
    let source = Source { text, origin };
    let raw: RawKind = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    source.kind(&raw, text.to_owned())
}

pub(super) fn all(text: &str, origin: &str) -> Result<Vec<Declaration>, SchemaError> {
    let source = Source { text, origin };
    let table: toml::Table = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    if !table.get("kind").is_some_and(toml::Value::is_array) {
        return Ok(vec![one(text, origin)?]);
    }
    let file: RawFile = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let mut declarations: Vec<Declaration> = Vec::new();
    for raw in &file.kind {
        let text =
            toml::to_string(raw).map_err(|error| source.error(&raw.kind, "kind", error.to_string()))?;
        let declaration = source.kind(raw, text)?;
        if declarations.iter().any(|other| other.kind == declaration.kind) {
            return Err(source.error(&raw.kind, "kind", format!("`{}` is declared twice", declaration.kind)));
        }
        declarations.push(declaration);
    }
    Ok(declarations)
}

struct Source<'a> {
    text: &'a str,
    origin: &'a str,
}

type CodeTables = BTreeMap<String, Arc<CodeTable>>;

impl Source<'_> {
    fn kind(&self, raw: &RawKind, text: String) -> Result<Declaration, SchemaError> {
        let kind = raw.kind.get_ref().clone();
        if !check::is_snake_case(&kind) {
            return Err(self.error(&raw.kind, "kind", format!("expected a snake_case name, found `{kind}`")));
        }
        let tables = self.code_tables(raw)?;
        let shared = sentinels(&raw.sentinels);
        let fields = raw
            .fields
            .iter()
            .map(|field| self.field(field, &shared, &tables, false))
            .collect::<Result<Vec<_>, _>>()?;
        let column = |key: &str, name: &Spanned<String>| {
            fields
                .iter()
                .position(|field| field.name == *name.get_ref())
                .ok_or_else(|| self.error(name, key, format!("no field is named `{}`", name.get_ref())))
        };
        let columns = |key: &str, names: &[Spanned<String>]| {
            names.iter().map(|name| column(key, name)).collect::<Result<Vec<_>, _>>()
        };
        let device_id = columns("device_id", &raw.device_id)?;
        let event_at = columns("event_at", &raw.event_at)?;
        if let Some((n, name)) = event_at
            .iter()
            .zip(&raw.event_at)
            .find(|(field, _)| !matches!(fields[**field].data_type, FieldType::Timestamp(_)))
        {
            let found = fields[*n].data_type.name();
            return Err(self.error(
                name,
                "event_at",
                format!("expected a timestamp field, `{}` is {found}", name.get_ref()),
            ));
        }
        for name in raw.state_key.iter().filter(|name| name.get_ref() != "device_id") {
            column("state_key", name)?;
        }
        if let Some(end) = raw.state_ended_by.as_ref().filter(|_| raw.state_key.is_empty()) {
            return Err(self.error(end, "state_ended_by", "without a `state_key` there is no state to end"));
        }
        let null_together = raw
            .null_together
            .iter()
            .map(|group| {
                Ok(NullTogether { fields: columns("null_together", &group.fields)?, value: group.value })
            })
            .collect::<Result<_, SchemaError>>()?;
        let declaration = Declaration {
            kind,
            meaning: raw.meaning.clone(),
            text,
            origin: self.origin.to_owned(),
            rule: raw.rule.as_ref().map(|rule| self.rule(rule, &raw.kind)).transpose()?,
            encrypted: raw.encrypted.as_ref().map(|raw| Encrypted::new(&raw.member, &raw.clear)),
            device_id,
            device_id_channel: raw.device_id_channel.as_ref().map(|text| self.pattern(text)).transpose()?,
            event_at,
            state_key: raw.state_key.iter().map(|name| name.get_ref().clone()).collect(),
            state_ended_by: raw
                .state_ended_by
                .as_ref()
                .map(|end| StateEnd { kind: end.get_ref().clone(), line: self.line(end.span().start) }),
            null_together,
            known: raw.known.iter().map(|path| self.path(path)).collect::<Result<_, _>>()?,
            fields,
        };
        check::kind(&declaration)?;
        plan::Plan::new(&declaration.fields).map_err(|(field, what)| {
            let field = &declaration.fields[field];
            declaration.error(field.line, &field.name, what)
        })?;
        Ok(declaration)
    }

    fn pattern(&self, text: &Spanned<String>) -> Result<ChannelPattern, SchemaError> {
        ChannelPattern::parse(text.get_ref()).ok_or_else(|| {
            self.error(text, "device_id_channel", "expected levels as in `upload/+/{device_id}/#`")
        })
    }

    fn rule(&self, raw: &RawMatch, kind: &Spanned<String>) -> Result<MatchRule, SchemaError> {
        let paths = raw.path.iter().chain(&raw.paths).map(|p| self.path(p)).collect::<Result<Vec<_>, _>>()?;
        if paths.is_empty() && raw.channel.is_none() {
            return Err(self.error(kind, "match", "expected `path`, `paths` or `channel`"));
        }
        if paths.is_empty() && raw.equals.is_some() {
            return Err(self.error(kind, "match", "`equals` needs a `path`"));
        }
        Ok(MatchRule { paths, equals: raw.equals.clone(), channel: raw.channel.clone() })
    }

    fn path(&self, text: &Spanned<String>) -> Result<Path, SchemaError> {
        Path::parse(text.get_ref())
            .ok_or_else(|| self.error(text, "path", "expected keys joined by dots, as in `position.x`"))
    }

    fn code_tables(&self, raw: &RawKind) -> Result<CodeTables, SchemaError> {
        let mut tables = CodeTables::new();
        for (name, table) in &raw.codes {
            let mut labels = Vec::with_capacity(table.len());
            for (code, label) in table {
                let code = code.parse::<i64>().map_err(|_| {
                    let what = format!("expected an integer code, found `{code}`");
                    self.error(&raw.kind, &format!("codes.{name}"), what)
                })?;
                labels.push((code, label.clone()));
            }
            labels.sort();
            tables.insert(name.clone(), Arc::new(CodeTable { name: name.clone(), labels }));
        }
        Ok(tables)
    }

    fn field(
        &self,
        raw: &RawField,
        shared: &Sentinels,
        tables: &CodeTables,
        is_member: bool,
    ) -> Result<Field, SchemaError> {
        let name = raw.name.get_ref();
        let paths = raw.path.iter().chain(&raw.paths).map(|p| self.path(p)).collect::<Result<Vec<_>, _>>()?;
        if paths.is_empty() {
            return Err(self.error(&raw.name, name, "expected `path` or `paths`"));
        }
        if !is_member && paths.iter().any(|path| path.steps() == [MAP_KEY]) {
            return Err(self.error(&raw.name, name, "`$key` is for members of a list only"));
        }
        let role = raw.role.as_ref().map(Spanned::get_ref);
        let role = Role::ALL.iter().find(|(known, _)| role.is_some_and(|role| role == known));
        let role = role.map(|(_, role)| *role).ok_or_else(|| {
            let known: Vec<_> = Role::ALL.iter().map(|(name, _)| *name).collect();
            let missing = if raw.role.is_none() { format!("`{name}` has none, ") } else { String::new() };
            let at = raw.role.as_ref().unwrap_or(&raw.name);
            self.error(at, "role", format!("{missing}expected one of {}", known.join(" ")))
        })?;
        let data_type = self.data_type(raw, shared, tables, is_member)?;
        let mut sentinels = sentinels(&raw.sentinels);
        sentinels.numbers.extend(&shared.numbers);
        sentinels.texts.extend(shared.texts.iter().cloned());
        sentinels.text_bytes_max = sentinels.texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let field = Field {
            name: name.clone(),
            id: self.id(&raw.id)?,
            data_type,
            paths,
            unit: raw.unit.as_ref().map(|unit| unit.get_ref().clone()),
            role,
            meaning: raw.meaning.clone(),
            sentinels,
            split: raw.split.as_ref().map(|split| self.split(split)).transpose()?,
            codes: self.codes(raw, tables)?,
            true_values: raw.true_values.clone(),
            takes_json: raw.json,
            line: self.line(raw.name.span().start),
        };
        if !field.true_values.is_empty() && !matches!(field.data_type, FieldType::Bool) {
            return Err(self.error(&raw.name, name, "`true_values` are for the type `bool`"));
        }
        if field.takes_json && !matches!(field.data_type, FieldType::String) {
            return Err(self.error(&raw.name, name, "`json` is for the type `string`"));
        }
        let is_list = matches!(field.data_type, FieldType::Strings { .. } | FieldType::Structs { .. });
        if is_list && field.split.is_some() {
            return Err(self.error(&raw.name, name, "a list cannot be split from a text"));
        }
        Ok(field)
    }

    fn data_type(
        &self,
        raw: &RawField,
        shared: &Sentinels,
        tables: &CodeTables,
        is_member: bool,
    ) -> Result<FieldType, SchemaError> {
        let element_id = || match &raw.element_id {
            Some(id) => self.id(id),
            None => Err(self.error(&raw.name, "element_id", "a list needs a field id for its elements")),
        };
        let data_type = match raw.type_name.get_ref().as_str() {
            "int32" => FieldType::Int32,
            "int64" => FieldType::Int64,
            "double" => FieldType::Double,
            "bool" => FieldType::Bool,
            "string" => FieldType::String,
            "timestamp" => FieldType::Timestamp(self.time(raw)?),
            "list<string>" if !is_member => FieldType::Strings { element_id: element_id()? },
            "list<struct>" if !is_member => {
                let members = raw
                    .members
                    .iter()
                    .map(|member| self.field(member, shared, tables, true))
                    .collect::<Result<Vec<_>, _>>()?;
                if members.is_empty() {
                    return Err(self.error(&raw.name, "member", "a list<struct> needs members"));
                }
                FieldType::Structs { element_id: element_id()?, members }
            }
            _ => {
                let lists = if is_member { "" } else { " list<string> list<struct>" };
                let what = format!("expected one of int32 int64 double bool string timestamp{lists}");
                return Err(self.error(&raw.type_name, "type", what));
            }
        };
        let is_list = matches!(data_type, FieldType::Strings { .. } | FieldType::Structs { .. });
        if raw.element_id.is_some() && !is_list {
            return Err(self.error(&raw.name, "element_id", "only lists have elements"));
        }
        if !raw.members.is_empty() && !matches!(data_type, FieldType::Structs { .. }) {
            return Err(self.error(&raw.name, "member", "only a list<struct> has members"));
        }
        if let (Some(time), false) = (&raw.time, matches!(data_type, FieldType::Timestamp(_))) {
            return Err(self.error(time, "time", "only a timestamp has a format"));
        }
        Ok(data_type)
    }

    fn time(&self, raw: &RawField) -> Result<TimeFormat, SchemaError> {
        let known = || TimeFormat::ALL.map(|(name, _)| name).join(" ");
        let Some(time) = &raw.time else {
            return Err(self.error(&raw.name, "time", format!("a timestamp needs its format: {}", known())));
        };
        let found = TimeFormat::ALL.iter().find(|(name, _)| name == time.get_ref());
        found
            .map(|(_, format)| *format)
            .ok_or_else(|| self.error(time, "time", format!("expected one of {}", known())))
    }

    fn codes(&self, raw: &RawField, tables: &CodeTables) -> Result<Option<Codes>, SchemaError> {
        let Some(wanted) = &raw.codes else {
            return match &raw.name_id {
                Some(id) => Err(self.error(id, "name_id", "a name column needs `codes`")),
                None => Ok(None),
            };
        };
        let table = tables.get(wanted.get_ref()).ok_or_else(|| {
            let what = format!("there is no table [codes.{}] in this declaration", wanted.get_ref());
            self.error(wanted, "codes", what)
        })?;
        if !matches!(raw.type_name.get_ref().as_str(), "int32" | "int64") {
            return Err(self.error(&raw.type_name, "type", "a field with codes is int32 or int64"));
        }
        let stem = raw.name.get_ref().strip_suffix("_code");
        let name_column = match (&raw.name_id, stem) {
            (Some(id), Some(stem)) => Some((format!("{stem}_name"), self.id(id)?)),
            (None, None) => None,
            _ => {
                let what = "an enumeration ends in `_code` and has a `name_id` for its `_name`; a switch has neither";
                return Err(self.error(&raw.name, raw.name.get_ref(), what));
            }
        };
        Ok(Some(Codes { table: table.clone(), name_column }))
    }

    fn split(&self, raw: &Spanned<RawSplit>) -> Result<Split, SchemaError> {
        let split = raw.get_ref();
        match (split.position, &split.key, split.key_separator) {
            (Some(position), None, None) => Ok(Split::Position { separator: split.separator, position }),
            (None, Some(key), Some(key_separator)) => {
                Ok(Split::Key { separator: split.separator, key: key.clone(), key_separator })
            }
            _ => Err(self.at(raw.span().start, "split", "expected `position`, or `key` and `key_separator`")),
        }
    }

    fn id(&self, id: &Spanned<i64>) -> Result<i32, SchemaError> {
        i32::try_from(*id.get_ref())
            .ok()
            .filter(|id| *id >= check::FIRST_ID)
            .ok_or_else(|| self.error(id, "id", format!("expected a field id from {} on", check::FIRST_ID)))
    }

    fn error<T>(&self, at: &Spanned<T>, key: &str, what: impl Into<String>) -> SchemaError {
        self.at(at.span().start, key, what)
    }

    fn at(&self, offset: usize, key: &str, what: impl Into<String>) -> SchemaError {
        let line = self.line(offset);
        SchemaError { origin: self.origin.to_owned(), line, key: key.to_owned(), what: what.into() }
    }

    fn syntax(&self, error: &toml::de::Error) -> SchemaError {
        let offset = error.span().map_or(0, |span| span.start);
        let line = self.line(offset);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let key = text.split('=').next().unwrap_or_default().trim();
        self.at(offset, key, error.message())
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + memchr::memchr_iter(b'\n', before).count()
    }
}

fn sentinels(raw: &[RawScalar]) -> Sentinels {
    let mut sentinels = Sentinels::default();
    for value in raw {
        match value {
            RawScalar::Number(number) => sentinels.numbers.push(*number),
            RawScalar::Text(text) => sentinels.texts.push(text.as_str().into()),
            RawScalar::Bool(value) => sentinels.texts.push(value.to_string().into()),
        }
    }
    sentinels
}
