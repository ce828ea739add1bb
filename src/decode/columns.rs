//! Columns in the making, which take one row's values at a time.

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, BooleanBuilder, ListArray, StringBuilder, StructArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field as ArrowField, Fields};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::declaration::{CodeTable, Field, FieldType};
use super::fields::{arrow_fields, data_type};
use super::numbers::Numbers;
use super::row::{Row, Value};

/// The columns of one set of fields in the making.
///
/// A column is as long as the last row that had a value for it; its nulls are made up for when the
/// next value comes. So a row costs what it holds, however many columns its kind declares. Columns
/// without any value, most of a large kind's, share one array per type.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    lengths: Vec<usize>,
    rows: usize,
    /// Arrays of nulls only, as long as the longest batch that needed them.
    nulls: Vec<ArrayRef>,
}

#[derive(Debug)]
enum Column {
    Int32(Numbers<Int32Type>),
    Int64(Numbers<Int64Type>),
    /// A code and its name.
    Enumeration(Numbers<Int32Type>, StringBuilder, Arc<CodeTable>),
    LongEnumeration(Numbers<Int64Type>, StringBuilder, Arc<CodeTable>),
    Double(Numbers<Float64Type>),
    Bool(BooleanBuilder),
    Text(StringBuilder),
    Timestamp(Numbers<TimestampMicrosecondType>),
    List(Box<ListColumn>),
}

#[derive(Debug)]
struct ListColumn {
    element: Arc<ArrowField>,
    /// Empty for strings.
    members: Fields,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    items: Columns,
    /// Values of one item.
    stride: usize,
}

impl Columns {
    pub(super) fn new(fields: &[Field]) -> Self {
        Self::of(fields.iter().map(Column::new).collect())
    }

    fn of(columns: Vec<Column>) -> Self {
        Self { lengths: vec![0; columns.len()], columns, rows: 0, nulls: Vec::new() }
    }

    /// Takes one row: the values of some of its slots; the others are null.
    #[inline]
    pub(super) fn push<'a>(&mut self, row: &Row, values: impl Iterator<Item = (usize, &'a Value)>) {
        for (slot, value) in values {
            if !matches!(value, Value::Absent | Value::Null) {
                let column = &mut self.columns[slot];
                if self.lengths[slot] < self.rows {
                    column.append_nulls(self.rows - self.lengths[slot]);
                }
                column.push(row, value);
                self.lengths[slot] = self.rows + 1;
            }
        }
        self.rows += 1;
    }

    /// The columns of all rows taken since, in the order of [`arrow_fields`].
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let Self { columns, lengths, rows, nulls } = self;
        let rows = std::mem::take(rows);
        let mut arrays = Vec::with_capacity(columns.len());
        for (column, length) in columns.iter_mut().zip(lengths) {
            match (std::mem::take(length), column.plain_types()) {
                (0, Some(types)) => arrays.extend(types.iter().map(|one| shared_nulls(nulls, one, rows))),
                (length, _) => {
                    column.append_nulls(rows - length);
                    column.finish(&mut arrays);
                }
            }
        }
        arrays
    }
}

/// An array of `rows` nulls, cut from one of `known` if that is long enough.
fn shared_nulls(known: &mut Vec<ArrayRef>, data_type: &DataType, rows: usize) -> ArrayRef {
    if let Some(nulls) = known.iter().find(|nulls| nulls.data_type() == data_type && nulls.len() >= rows) {
        return nulls.slice(0, rows);
    }
    known.retain(|nulls| nulls.data_type() != data_type);
    let nulls = new_null_array(data_type, rows);
    known.push(Arc::clone(&nulls));
    nulls
}

impl Column {
    fn new(field: &Field) -> Self {
        let names = field.codes.as_ref().filter(|codes| codes.name_column.is_some());
        let list = |element: &Arc<ArrowField>, members: Fields, items: Columns, stride: usize| {
            let valid = NullBufferBuilder::new(0);
            Column::List(Box::new(ListColumn {
                element: element.clone(),
                members,
                offsets: vec![0],
                valid,
                items,
                stride,
            }))
        };
        match (&field.data_type, data_type(field)) {
            (FieldType::Int32, _) => match names {
                Some(codes) => Column::Enumeration(Numbers::new(), StringBuilder::new(), codes.table.clone()),
                None => Column::Int32(Numbers::new()),
            },
            (FieldType::Int64, _) => match names {
                Some(codes) => {
                    Column::LongEnumeration(Numbers::new(), StringBuilder::new(), codes.table.clone())
                }
                None => Column::Int64(Numbers::new()),
            },
            (FieldType::Double, _) => Column::Double(Numbers::new()),
            (FieldType::Bool, _) => Column::Bool(BooleanBuilder::new()),
            (FieldType::Timestamp(_), _) => Column::Timestamp(Numbers::new()),
            (FieldType::Strings { .. }, DataType::List(element)) => {
                let items = Columns::of(vec![Column::Text(StringBuilder::new())]);
                list(&element, Fields::empty(), items, 1)
            }
            (FieldType::Structs { members, .. }, DataType::List(element)) => {
                list(&element, arrow_fields(members).into(), Columns::new(members), members.len())
            }
            _ => Column::Text(StringBuilder::new()),
        }
    }

    /// A value of another type than the column's counts as null; the reader makes none.
    #[inline]
    fn push(&mut self, row: &Row, value: &Value) {
        match (self, value) {
            (Column::Int32(column), value) => column.push(int32(value)),
            (Column::Int64(column), value) => column.push(int64(value)),
            (Column::Enumeration(codes, names, table), value) => {
                codes.push(int32(value));
                names.append_option(int64(value).and_then(|code| table.label(code)));
            }
            (Column::LongEnumeration(codes, names, table), value) => {
                codes.push(int64(value));
                names.append_option(int64(value).and_then(|code| table.label(code)));
            }
            (Column::Double(column), Value::Double(double)) => column.push(Some(*double)),
            (Column::Double(column), _) => column.push(None),
            (Column::Bool(column), Value::Bool(bool)) => column.append_value(*bool),
            (Column::Bool(column), _) => column.append_null(),
            (Column::Text(column), Value::Text(range)) => column.append_value(row.text(range)),
            (Column::Text(column), _) => column.append_null(),
            (Column::Timestamp(column), value) => column.push(int64(value)),
            (Column::List(column), value) => column.push(row, value),
        }
    }

    /// The types of its arrays. Not of lists, which have columns inside, and not of times, which are few.
    fn plain_types(&self) -> Option<&'static [DataType]> {
        Some(match self {
            Column::Int32(_) => &[DataType::Int32],
            Column::Int64(_) => &[DataType::Int64],
            Column::Enumeration(..) => &[DataType::Int32, DataType::Utf8],
            Column::LongEnumeration(..) => &[DataType::Int64, DataType::Utf8],
            Column::Double(_) => &[DataType::Float64],
            Column::Bool(_) => &[DataType::Boolean],
            Column::Text(_) => &[DataType::Utf8],
            Column::Timestamp(_) | Column::List(_) => return None,
        })
    }

    fn append_nulls(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        match self {
            Column::Int32(column) => column.push_nulls(count),
            Column::Int64(column) => column.push_nulls(count),
            Column::Enumeration(codes, names, _) => {
                codes.push_nulls(count);
                names.append_nulls(count);
            }
            Column::LongEnumeration(codes, names, _) => {
                codes.push_nulls(count);
                names.append_nulls(count);
            }
            Column::Double(column) => column.push_nulls(count),
            Column::Bool(column) => column.append_nulls(count),
            Column::Text(column) => column.append_nulls(count),
            Column::Timestamp(column) => column.push_nulls(count),
            Column::List(column) => {
                let end = column.offsets.last().copied().unwrap_or(0);
                column.offsets.resize(column.offsets.len() + count, end);
                column.valid.append_n_nulls(count);
            }
        }
    }

    fn finish(&mut self, arrays: &mut Vec<ArrayRef>) {
        match self {
            Column::Int32(column) => arrays.push(Arc::new(column.finish())),
            Column::Int64(column) => arrays.push(Arc::new(column.finish())),
            Column::Enumeration(codes, names, _) => {
                arrays.push(Arc::new(codes.finish()));
                arrays.push(Arc::new(names.finish()));
            }
            Column::LongEnumeration(codes, names, _) => {
                arrays.push(Arc::new(codes.finish()));
                arrays.push(Arc::new(names.finish()));
            }
            Column::Double(column) => arrays.push(Arc::new(column.finish())),
            Column::Bool(column) => arrays.push(Arc::new(column.finish())),
            Column::Text(column) => arrays.push(Arc::new(column.finish())),
            Column::Timestamp(column) => arrays.push(Arc::new(column.finish().with_timezone("UTC"))),
            Column::List(column) => arrays.push(Arc::new(column.finish())),
        }
    }
}

impl ListColumn {
    fn push(&mut self, row: &Row, value: &Value) {
        let mut end = self.offsets.last().copied().unwrap_or(0);
        if let Value::Items(range) = value {
            for item in row.items(range).chunks_exact(self.stride) {
                self.items.push(row, item.iter().enumerate());
                end += 1;
            }
            self.valid.append_non_null();
        } else {
            self.valid.append_null();
        }
        self.offsets.push(end);
    }

    fn finish(&mut self) -> ListArray {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let mut children = self.items.finish();
        let items: ArrayRef = match (self.members.is_empty(), children.pop()) {
            (true, Some(texts)) => texts,
            (_, last) => {
                children.extend(last);
                Arc::new(StructArray::new(self.members.clone(), children, None))
            }
        };
        ListArray::new(self.element.clone(), offsets, items, self.valid.finish())
    }
}

fn int64(value: &Value) -> Option<i64> {
    if let Value::Int(int) = value { Some(*int) } else { None }
}

fn int32(value: &Value) -> Option<i32> {
    int64(value).and_then(|int| i32::try_from(int).ok())
}
