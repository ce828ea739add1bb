//! The rules of a published column name, for built-in declarations and users' alike.

use std::collections::{BTreeMap, BTreeSet};

use super::declaration::{Codes, Declaration, Field, FieldType, SchemaError};
use super::names;

/// Ids below belong to the envelope.
pub(super) const FIRST_ID: i32 = 100;

/// Checks declarations that will share an archive: whatever has the same name has the same type,
/// unit and codes, so that files of several kinds and vendors can be read as one table.
///
/// What concerns one kind alone was checked when it was parsed.
pub fn check_vendor(declarations: &[Declaration]) -> Result<(), SchemaError> {
    let mut known: BTreeMap<&str, (&Declaration, &Field)> = BTreeMap::new();
    for declaration in declarations {
        for field in with_members(&declaration.fields) {
            let Some((other, same)) = known.insert(&field.name, (declaration, field)) else { continue };
            let elsewhere = format!("{} ({}, line {})", other.kind, other.origin, same.line);
            let differ = if signature(&field.data_type) != signature(&same.data_type) {
                format!(
                    "is {} here and {} in {elsewhere}",
                    signature(&field.data_type),
                    signature(&same.data_type)
                )
            } else if field.unit != same.unit {
                let unit = |field: &Field| field.unit.clone().unwrap_or_else(|| "none".to_owned());
                format!("has the unit {} here and {} in {elsewhere}", unit(field), unit(same))
            } else if labels(&field.codes) != labels(&same.codes) {
                format!("has other codes here than in {elsewhere}")
            } else {
                continue;
            };
            return Err(declaration.error(field.line, &field.name, differ));
        }
    }
    declarations.iter().try_for_each(|declaration| state_can_end(declaration, declarations))
}

/// The kind that ends a state is declared, and has the columns of its key; types are the same by name.
fn state_can_end(declaration: &Declaration, all: &[Declaration]) -> Result<(), SchemaError> {
    let Some(end) = &declaration.state_ended_by else { return Ok(()) };
    let fail = |what| Err(declaration.error(end.line, "state_ended_by", what));
    let ending = all.iter().find(|other| other.kind == end.kind && other.kind != declaration.kind);
    let Some(ending) = ending else {
        return fail(format!("no other kind is named `{}`", end.kind));
    };
    if !ending.state_key.is_empty() {
        return fail(format!("`{}` has a state of its own", end.kind));
    }
    let is_missing = |name: &&String| {
        name.as_str() != "device_id" && ending.fields.iter().all(|field| field.name != name.as_str())
    };
    match declaration.state_key.iter().find(is_missing) {
        Some(missing) => fail(format!("`{}` has no field `{missing}` of the `state_key`", end.kind)),
        None => Ok(()),
    }
}

/// Checks what concerns one kind alone.
pub(super) fn kind(declaration: &Declaration) -> Result<(), SchemaError> {
    let mut ids = BTreeSet::new();
    for field in with_members(&declaration.fields) {
        let fail = |what: String| Err(declaration.error(field.line, &field.name, what));
        let name_column = field.codes.as_ref().and_then(|codes| codes.name_column.as_ref());
        let element_id = match &field.data_type {
            FieldType::Strings { element_id } | FieldType::Structs { element_id, .. } => Some(*element_id),
            _ => None,
        };
        for id in [Some(field.id), name_column.map(|(_, id)| *id), element_id].into_iter().flatten() {
            if !ids.insert(id) {
                return fail(format!("the field id {id} is used twice in this kind"));
            }
        }
        for name in [Some(&field.name), name_column.map(|(name, _)| name)].into_iter().flatten() {
            if let Err(what) = name_is_allowed(name) {
                return fail(what);
            }
        }
        if field.name.ends_with("_code") && name_column.is_none() {
            return fail("a name in `_code` needs `codes` and a `name_id` for its `_name`".to_owned());
        }
        if let Err(what) = unit_fits(field) {
            return fail(what);
        }
    }
    unique_names(declaration, &declaration.fields)
}

/// `lower_case_words_and_digits`, no word empty, a letter first.
pub(super) fn is_snake_case(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('_').all(is_word)
}

fn name_is_allowed(name: &str) -> Result<(), String> {
    if !is_snake_case(name) {
        Err(format!("expected a name in snake_case, found `{name}`"))
    } else if names::ENVELOPE.contains(&name) {
        Err(format!("`{name}` is a column of every file or a folder's name; choose another"))
    } else if let Some(dialect) = names::keyword_of(name) {
        Err(format!("`{name}` is a keyword of {dialect}; choose another"))
    } else {
        Ok(())
    }
}

/// A unit stands at the end of the name, and what stands there is the unit.
fn unit_fits(field: &Field) -> Result<(), String> {
    let name = &field.name;
    let is_measured = matches!(field.data_type, FieldType::Int32 | FieldType::Int64 | FieldType::Double);
    let Some(unit) = &field.unit else {
        let last = name.rsplit_once('_').map_or("", |(_, last)| last);
        return match names::UNITS
            .iter()
            .find(|(_, suffix)| is_measured && suffix.len() > 1 && *suffix == last)
        {
            Some((unit, _)) => Err(format!("a name in `_{last}` needs the unit `{unit}`")),
            None => Ok(()),
        };
    };
    if names::WITHOUT_SUFFIX.contains(&(name, unit)) {
        return Ok(());
    }
    let Some((_, suffix)) = names::UNITS.iter().find(|(known, _)| known == unit) else {
        let known: Vec<_> = names::UNITS.iter().map(|(unit, _)| *unit).collect();
        return Err(format!("the unit `{unit}` is not known; known are {}", known.join(" ")));
    };
    match name.strip_suffix(suffix) {
        Some(stem) if stem.ends_with('_') => Ok(()),
        _ => Err(format!("a name with the unit `{unit}` ends in `_{suffix}`")),
    }
}

fn unique_names(declaration: &Declaration, fields: &[Field]) -> Result<(), SchemaError> {
    let mut names = BTreeSet::new();
    for field in fields {
        let name_column = field.codes.as_ref().and_then(|codes| codes.name_column.as_ref());
        for name in [Some(&field.name), name_column.map(|(name, _)| name)].into_iter().flatten() {
            if !names.insert(name) {
                return Err(declaration.error(field.line, name, "there are two columns of this name"));
            }
        }
        if let FieldType::Structs { members, .. } = &field.data_type {
            unique_names(declaration, members)?;
        }
    }
    Ok(())
}

/// Fields and the members of lists, which follow the same rules.
fn with_members(fields: &[Field]) -> impl Iterator<Item = &Field> {
    fields.iter().flat_map(|field| {
        let members = match &field.data_type {
            FieldType::Structs { members, .. } => &members[..],
            _ => &[],
        };
        std::iter::once(field).chain(members)
    })
}

/// The type as far as readers see it.
fn signature(data_type: &FieldType) -> String {
    match data_type {
        FieldType::Structs { members, .. } => {
            let members: Vec<_> =
                members.iter().map(|m| format!("{} {}", m.name, signature(&m.data_type))).collect();
            format!("list<struct<{}>>", members.join(", "))
        }
        other => other.name().to_owned(),
    }
}

fn labels(codes: &Option<Codes>) -> Option<&[(i64, String)]> {
    codes.as_ref().map(|codes| &codes.table.labels[..])
}
