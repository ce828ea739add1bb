//! Which rows go: those that a filter selects, and for a device those that name it.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use super::identifier::Identifier;
use crate::archive::filter::Folders;
use crate::archive::manifest::ManifestFile;
use crate::archive::scan::{Bound, ScanOptions};
use crate::message::{SessionId, glob};

/// Made when the session began, and no name of anything that was recorded.
const SESSION_ID: &str = "session_id";

pub(super) struct Wanted<'a> {
    pub options: &'a ScanOptions,
    pub identifiers: &'a [Identifier],
}

/// What is known of a file before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
    /// Its rows have to be looked at.
    Asked,
}

/// Which rows of a batch go.
pub(super) struct Looked {
    pub goes: BooleanArray,
    /// Of these, how many are of no device that is looked for, and only name one.
    pub only_name_it: u64,
}

impl Wanted<'_> {
    pub(super) fn fate(&self, session_id: SessionId, file: &ManifestFile) -> Fate {
        let selection = &self.options.selection;
        let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        let is_of = |source: &str| selection.sources.iter().any(|wanted| wanted == source);
        let (some, all) = match &selection.sources[..] {
            [] => (true, true),
            _ => (file.sources.iter().any(|s| is_of(&s.name)), file.sources.iter().all(|s| is_of(&s.name))),
        };
        let (touches, holds) = self.stretch(session_id, file);
        if !(some
            && touches
            && named(&selection.vendors, &file.vendor)
            && named(&selection.kinds, &file.kind))
        {
            return Fate::Stays;
        }
        let by_row = !self.identifiers.is_empty()
            || !selection.channels.is_empty()
            || self.options.predicate.is_some();
        if all && holds && !by_row { Fate::Goes } else { Fate::Asked }
    }

    /// Whether some, and whether all rows of a file are in the stretch.
    fn stretch(&self, session_id: SessionId, file: &ManifestFile) -> (bool, bool) {
        let (mut touches, mut holds) = (true, true);
        let span = |bound: Bound| -> (i128, i128, i128) {
            match bound {
                Bound::Wall(us) => (us.into(), file.received_min_us.into(), file.received_max_us.into()),
                Bound::Elapsed(ns) => (ns.into(), file.elapsed_min_ns.into(), file.elapsed_max_ns.into()),
                Bound::Seq(seq) => (seq.into(), file.seq_min.into(), file.seq_max.into()),
            }
        };
        if let Some((from, min, max)) = self.options.from.map(span) {
            (touches, holds) = (touches && max >= from, holds && min >= from);
        }
        if let Some((to, min, max)) = self.options.to.map(span) {
            (touches, holds) = (touches && min < to, holds && max < to);
        }
        let mut of_session = self.ranges(session_id).peekable();
        if of_session.peek().is_some() {
            let all: Vec<_> = of_session.collect();
            touches &= all.iter().any(|range| range.start <= file.seq_max && file.seq_min < range.end);
            holds &= all.iter().any(|range| range.start <= file.seq_min && file.seq_max < range.end);
        }
        (touches, holds)
    }

    fn ranges(&self, session_id: SessionId) -> impl Iterator<Item = &std::ops::Range<u64>> {
        self.options.ranges.iter().filter(move |(of, _)| *of == session_id).map(|(_, range)| range)
    }

    /// The columns of a file that have to be read.
    pub(super) fn columns(&self, schema: &Schema) -> Vec<String> {
        let mut names: BTreeSet<&str> =
            ["seq", "received_at", "elapsed_ns", "source", "channel", "device_id"].into();
        names.extend(self.options.predicate.iter().flat_map(|predicate| predicate.columns()));
        if !self.identifiers.is_empty() {
            let named = schema.fields().iter().filter(|field| may_name(field) && field.name() != SESSION_ID);
            names.extend(named.map(|field| field.name().as_str()));
        }
        names.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn look(
        &self,
        session_id: SessionId,
        file: &ManifestFile,
        rows: &RecordBatch,
    ) -> Result<Looked, ArrowError> {
        let mut goes = self.selected(session_id, file, rows)?;
        let mut only_name_it = 0;
        if !self.identifiers.is_empty() {
            let device = text(rows, "device_id")?;
            let mut named = vec![false; rows.num_rows()];
            for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
                if field.name() != SESSION_ID {
                    self.identifiers
                        .iter()
                        .filter(|identifier| identifier.is_distinct())
                        .for_each(|identifier| mark(identifier, field, column, &mut named));
                }
            }
            for (at, goes) in goes.iter_mut().enumerate() {
                let is_of =
                    device.is_valid(at) && self.identifiers.iter().any(|wanted| wanted.is(device.value(at)));
                only_name_it += u64::from(*goes && named[at] && !is_of);
                *goes &= named[at] || is_of;
            }
        }
        Ok(Looked { goes: goes.into(), only_name_it })
    }

    /// By everything but devices.
    fn selected(
        &self,
        session_id: SessionId,
        file: &ManifestFile,
        rows: &RecordBatch,
    ) -> Result<Vec<bool>, ArrowError> {
        let selection = &self.options.selection;
        let mut all = vec![true; rows.num_rows()];
        let mut only = |holds: &dyn Fn(usize) -> bool| {
            all.iter_mut().enumerate().for_each(|(at, all)| *all = *all && holds(at));
        };
        if !selection.sources.is_empty() {
            let source = text(rows, "source")?;
            only(&|at| selection.sources.iter().any(|wanted| wanted == source.value(at)));
        }
        if !selection.channels.is_empty() {
            let channel = text(rows, "channel")?;
            let channels = &selection.channels;
            only(&|at| channels.iter().any(|p| glob(p.as_bytes(), channel.value(at).as_bytes())));
        }
        if let Some(from) = self.options.from {
            let (bound, values) = moments(rows, from)?;
            only(&|at| values[at] >= bound);
        }
        if let Some(to) = self.options.to {
            let (bound, values) = moments(rows, to)?;
            only(&|at| values[at] < bound);
        }
        let ranges: Vec<_> = self.ranges(session_id).collect();
        if !ranges.is_empty() {
            let (_, seq) = moments(rows, Bound::Seq(0))?;
            only(&|at| ranges.iter().any(|range| range.contains(&(seq[at] as u64))));
        }
        if let Some(predicate) = &self.options.predicate {
            let (vendor, kind) = (file.vendor.as_str().into(), file.kind.as_str().into());
            let folders = Folders { vendor, kind, date: file.date.clone() };
            match predicate.of_segment(folders, |name| rows.column_by_name(name).is_some()) {
                Some(filter) => {
                    let holds = filter.holds(rows)?;
                    only(&|at| holds.is_valid(at) && holds.value(at));
                }
                None => only(&|_| false),
            }
        }
        Ok(all)
    }
}

/// A bound, and of each row what it is a bound of.
fn moments(rows: &RecordBatch, bound: Bound) -> Result<(i64, &[i64]), ArrowError> {
    let number = |name| {
        let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
        column.map(|column| &column.values()[..]).ok_or_else(|| missing(name))
    };
    // What is beyond every moment is beyond every number, too.
    let capped = |bound: u64| i64::try_from(bound).unwrap_or(i64::MAX);
    match bound {
        Bound::Seq(seq) => Ok((capped(seq), number("seq")?)),
        Bound::Elapsed(ns) => Ok((capped(ns), number("elapsed_ns")?)),
        Bound::Wall(us) => {
            let column = rows.column_by_name("received_at");
            let column = column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            Ok((us, &column.ok_or_else(|| missing("received_at"))?.values()[..]))
        }
    }
}

fn text<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r arrow::array::StringArray, ArrowError> {
    let column = rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    column.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("no column {name}, or not of its type"))
}

/// Whether values of a column can name something: texts, bytes, and numbers that are identifiers.
pub(super) fn may_name(field: &Field) -> bool {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => true,
        DataType::Int32 | DataType::Int64 | DataType::Float64 => is_identifier(field),
        DataType::List(element) | DataType::Map(element, _) => may_name(element),
        DataType::Struct(members) => members.iter().any(|member| may_name(member)),
        _ => false,
    }
}

fn is_identifier(field: &Field) -> bool {
    field.metadata().get("role").is_some_and(|role| role == "identifier")
}

/// Marks the rows of a column that name an identifier, however deep.
pub(super) fn mark(identifier: &Identifier, field: &Field, column: &ArrayRef, named: &mut [bool]) {
    let rows = |named: &mut [bool], is_named: &dyn Fn(usize) -> bool| {
        let unknown = named.iter_mut().enumerate().filter(|(at, named)| !**named && column.is_valid(*at));
        unknown.for_each(|(at, named)| *named = is_named(at));
    };
    let of_elements = |named: &mut [bool], element: &Field, elements: &ArrayRef, offsets: &[i32]| {
        let mut inner = vec![false; elements.len()];
        mark(identifier, element, elements, &mut inner);
        rows(named, &|at| inner[offsets[at] as usize..offsets[at + 1] as usize].contains(&true));
    };
    match field.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            rows(named, &|at| identifier.is_in(texts.value(at).as_bytes()));
        }
        DataType::LargeUtf8 => {
            let texts = column.as_string::<i64>();
            rows(named, &|at| identifier.is_in(texts.value(at).as_bytes()));
        }
        DataType::Binary => {
            let blobs = column.as_binary::<i32>();
            rows(named, &|at| identifier.is_in(blobs.value(at)));
        }
        DataType::LargeBinary => {
            let blobs = column.as_binary::<i64>();
            rows(named, &|at| identifier.is_in(blobs.value(at)));
        }
        DataType::Int32 if is_identifier(field) => {
            let numbers = column.as_primitive::<Int32Type>();
            rows(named, &|at| identifier.is_number(numbers.value(at).into()));
        }
        DataType::Int64 if is_identifier(field) => {
            let numbers = column.as_primitive::<Int64Type>();
            rows(named, &|at| identifier.is_number(numbers.value(at)));
        }
        DataType::Float64 if is_identifier(field) => {
            let numbers = column.as_primitive::<Float64Type>();
            let whole = |at: usize| Some(numbers.value(at)).filter(|n| n.fract() == 0.0 && n.abs() < 1e15);
            rows(named, &|at| whole(at).is_some_and(|number| identifier.is_number(number as i64)));
        }
        DataType::List(element) => {
            let lists = column.as_list::<i32>();
            of_elements(named, element, lists.values(), lists.value_offsets());
        }
        DataType::Map(entries, _) => {
            let maps = column.as_map();
            let all: ArrayRef = std::sync::Arc::new(maps.entries().clone());
            of_elements(named, entries, &all, maps.value_offsets());
        }
        DataType::Struct(members) => {
            let mut inner = vec![false; column.len()];
            for (member, values) in members.iter().zip(column.as_struct().columns()) {
                mark(identifier, member, values, &mut inner);
            }
            rows(named, &|at| inner[at]);
        }
        _ => {}
    }
}
