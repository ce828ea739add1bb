//! The typed columns of rows of several kinds, one beside the other: a column that several kinds have is one column.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use crate::archive::{Archive, ArchiveError};
use crate::decode::{self, Declaration, Decoder};
use crate::message::Row;

/// Decodes rows of whatever kind, in their order.
pub(super) struct Typed {
    fields: Vec<Field>,
    kinds: Vec<Kind>,
    places: HashMap<(String, String), usize>,
    /// Of each row since the last batch: its kind, and which of that kind's rows it is. None: without columns.
    rows: Vec<Option<(usize, usize)>>,
    /// Where the last row's kind is: most often the next one's as well.
    last: Option<usize>,
}

struct Kind {
    vendor: String,
    name: String,
    decoder: Decoder,
    /// For each of its columns, which of all it is.
    columns: Vec<usize>,
    rows: usize,
}

impl Typed {
    pub(super) fn new(archive: &Archive, kinds: &BTreeSet<(String, String)>) -> Result<Self, ArchiveError> {
        let mut typed = Self {
            fields: Vec::new(),
            kinds: Vec::new(),
            places: HashMap::new(),
            rows: Vec::new(),
            last: None,
        };
        for (vendor, name) in kinds {
            let text = archive.declaration(vendor, name)?;
            let text = text.or_else(|| decode::declaration(vendor, name).map(str::to_owned));
            // What is no declaration any more gives no columns; the payload is there.
            let Some(declaration) = text.and_then(|text| Declaration::parse(&text, name).ok()) else {
                continue;
            };
            let fields = declaration.arrow_fields();
            let columns = fields.iter().map(|field| typed.column(vendor, name, field));
            let kind = Kind {
                vendor: vendor.clone(),
                name: name.clone(),
                columns: columns.collect(),
                decoder: Decoder::new(Some(&declaration)),
                rows: 0,
            };
            typed.places.insert((vendor.clone(), name.clone()), typed.kinds.len());
            typed.kinds.push(kind);
        }
        Ok(typed)
    }

    /// The position of a kind's column among all. Field ids are a kind's own, and mean nothing here.
    fn column(&mut self, vendor: &str, kind: &str, field: &Field) -> usize {
        let data_type = without_ids(field.data_type());
        let mut name = field.name().clone();
        if let Some(known) = self.fields.iter().position(|known| *known.name() == name) {
            if *self.fields[known].data_type() == data_type {
                return known;
            }
            // Two users' declarations that never met: neither is lost.
            name = format!("{vendor}_{kind}_{name}");
        }
        self.fields.push(Field::new(name, data_type, true));
        self.fields.len() - 1
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn push(&mut self, row: &Row) {
        let is_last =
            |at: &usize| *self.kinds[*at].vendor == *row.vendor && *self.kinds[*at].name == *row.kind;
        let at = match self.last.filter(is_last) {
            Some(at) => Some(at),
            None => self.places.get(&(row.vendor.to_string(), row.kind.to_string())).copied(),
        };
        self.last = at;
        self.rows.push(at.map(|at| {
            let kind = &mut self.kinds[at];
            kind.decoder.push_decrypted(&row.channel, &row.payload, row.clear.as_deref());
            kind.rows += 1;
            (at, kind.rows - 1)
        }));
    }

    /// All columns of the rows since the last call.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut of_kinds: Vec<Vec<ArrayRef>> = Vec::new();
        for kind in &mut self.kinds {
            of_kinds.push(kind.decoder.finish());
            kind.rows = 0;
        }
        let rows = std::mem::take(&mut self.rows);
        let column = |(at, field): (usize, &Field)| {
            let nulls = new_null_array(field.data_type(), 1);
            let mut arrays = vec![nulls];
            let mut of_kind = vec![0; self.kinds.len()];
            for (kind, columns) in of_kinds.iter().enumerate() {
                if let Some(own) = self.kinds[kind].columns.iter().position(|column| *column == at) {
                    of_kind[kind] = arrays.len();
                    let array = &columns[own];
                    let is_same = array.data_type() == field.data_type();
                    arrays.push(if is_same { Arc::clone(array) } else { cast(array, field.data_type())? });
                }
            }
            let place = |row: &Option<(usize, usize)>| match row {
                Some((kind, at)) if of_kind[*kind] > 0 => (of_kind[*kind], *at),
                _ => (0, 0),
            };
            let places: Vec<(usize, usize)> = rows.iter().map(place).collect();
            let arrays: Vec<&dyn arrow::array::Array> = arrays.iter().map(|array| &**array).collect();
            interleave(&arrays, &places)
        };
        self.fields.iter().enumerate().map(column).collect()
    }
}

/// A type whose nested fields have no metadata: two kinds that declare the same list differ in its ids only.
fn without_ids(data_type: &DataType) -> DataType {
    let bare = |field: &Field| Field::new(field.name(), without_ids(field.data_type()), field.is_nullable());
    match data_type {
        DataType::List(element) => DataType::List(Arc::new(bare(element))),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|member| bare(member)).collect::<Fields>())
        }
        other => other.clone(),
    }
}
