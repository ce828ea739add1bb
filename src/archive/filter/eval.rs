//! Looking at a batch of rows at a time. Each test gives true, false or null for every row.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and_kleene, filter_record_batch, is_not_null, is_null, not, or_kleene};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::Op;

/// A condition whose columns and types are those of an archive.
#[derive(Clone, Debug)]
pub struct Predicate {
    test: Arc<Test>,
    columns: Arc<BTreeSet<String>>,
}

#[derive(Debug)]
pub(super) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    IsNull { column: String, wanted: bool },
    Compare { column: String, op: Op, check: Check },
}

/// What a column is compared with.
#[derive(Debug)]
pub(super) enum Check {
    Text(String),
    Bool(bool),
    Double(f64),
    /// An integer, or microseconds.
    Integer(i128),
    /// A number that is no integer, for a column of integers.
    Between(f64),
}

/// What the rows of a segment have in common and no column holds.
#[derive(Debug)]
pub(in crate::archive) struct Folders {
    pub vendor: Arc<str>,
    pub kind: Arc<str>,
    pub date: String,
}

/// A predicate at work on one segment.
#[derive(Debug)]
pub(in crate::archive) struct SegmentFilter {
    predicate: Predicate,
    folders: Folders,
}

/// Which of true and false a test can give at all.
#[derive(Clone, Copy)]
struct Outcomes {
    can_hold: bool,
    can_fail: bool,
}

impl Predicate {
    pub(super) fn new(test: Test) -> Self {
        let mut columns = BTreeSet::new();
        test.collect_columns(&mut columns);
        Self { test: Arc::new(test), columns: Arc::new(columns) }
    }

    /// The columns that it looks at.
    pub(in crate::archive) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    /// The filter of a segment with these columns; none if no row of it can match.
    pub(in crate::archive) fn of_segment(
        &self,
        folders: Folders,
        has_column: impl Fn(&str) -> bool,
    ) -> Option<SegmentFilter> {
        let can_hold = self.test.outcomes(&folders, &has_column).can_hold;
        can_hold.then(|| SegmentFilter { predicate: self.clone(), folders })
    }
}

impl SegmentFilter {
    /// The rows that match.
    pub(in crate::archive) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        filter_record_batch(batch, &self.holds(batch)?)
    }

    /// Of each row whether it matches; null where that is not known.
    pub(in crate::archive) fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        self.predicate.test.eval(batch, &self.folders)
    }
}

impl Folders {
    fn get(&self, column: &str) -> Option<&str> {
        match column {
            "vendor" => Some(&self.vendor),
            "kind" => Some(&self.kind),
            "date" => Some(&self.date),
            _ => None,
        }
    }
}

impl Test {
    fn collect_columns(&self, columns: &mut BTreeSet<String>) {
        match self {
            Test::All(tests) | Test::Any(tests) => {
                tests.iter().for_each(|test| test.collect_columns(columns))
            }
            Test::Not(test) => test.collect_columns(columns),
            Test::IsNull { column, .. } | Test::Compare { column, .. } => {
                let _ = columns.insert(column.clone());
            }
        }
    }

    fn outcomes(&self, folders: &Folders, has_column: &impl Fn(&str) -> bool) -> Outcomes {
        let of = |test: &Test| test.outcomes(folders, has_column);
        match self {
            Test::All(tests) => Outcomes {
                can_hold: tests.iter().all(|test| of(test).can_hold),
                can_fail: tests.iter().any(|test| of(test).can_fail),
            },
            Test::Any(tests) => Outcomes {
                can_hold: tests.iter().any(|test| of(test).can_hold),
                can_fail: tests.iter().all(|test| of(test).can_fail),
            },
            Test::Not(test) => {
                let Outcomes { can_hold, can_fail } = of(test);
                Outcomes { can_hold: can_fail, can_fail: can_hold }
            }
            Test::IsNull { column, .. } | Test::Compare { column, .. } => match folders.get(column) {
                Some(folder) => self.of_folder(folder),
                None => Outcomes { can_hold: has_column(column), can_fail: has_column(column) },
            },
        }
    }

    fn of_folder(&self, folder: &str) -> Outcomes {
        let holds = match self {
            Test::Compare { op, check: Check::Text(text), .. } => op.holds(folder.cmp(text)),
            Test::IsNull { wanted, .. } => !wanted,
            _ => false,
        };
        Outcomes { can_hold: holds, can_fail: !holds }
    }

    fn eval(&self, batch: &RecordBatch, folders: &Folders) -> Result<BooleanArray, ArrowError> {
        match self {
            Test::All(tests) => join(tests, batch, folders, and_kleene),
            Test::Any(tests) => join(tests, batch, folders, or_kleene),
            Test::Not(test) => not(&test.eval(batch, folders)?),
            Test::IsNull { column, .. } | Test::Compare { column, .. } => {
                if let Some(folder) = folders.get(column) {
                    return Ok(BooleanArray::from(vec![self.of_folder(folder).can_hold; batch.num_rows()]));
                }
                let unknown = || Ok(BooleanArray::new_null(batch.num_rows()));
                match (batch.column_by_name(column), self) {
                    (None, _) => unknown(),
                    (Some(array), Test::IsNull { wanted: true, .. }) => is_null(array),
                    (Some(array), Test::Compare { op, check, .. }) => {
                        check.eval(array, *op).map_or_else(unknown, Ok)
                    }
                    (Some(array), _) => is_not_null(array),
                }
            }
        }
    }
}

fn join(
    tests: &[Test],
    batch: &RecordBatch,
    folders: &Folders,
    with: fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>,
) -> Result<BooleanArray, ArrowError> {
    let Some((first, rest)) = tests.split_first() else {
        return Ok(BooleanArray::new_null(batch.num_rows()));
    };
    let mut joint = first.eval(batch, folders)?;
    for test in rest {
        joint = with(&joint, &test.eval(batch, folders)?)?;
    }
    Ok(joint)
}

impl Check {
    /// None where the column is not of the type that its name has elsewhere.
    fn eval(&self, array: &ArrayRef, op: Op) -> Option<BooleanArray> {
        let integer = |compare: &dyn Fn(i64) -> bool| match array.data_type() {
            DataType::Int8 => {
                Some(BooleanArray::from_unary(array.as_primitive::<Int8Type>(), |n| compare(n.into())))
            }
            DataType::Int32 => {
                Some(BooleanArray::from_unary(array.as_primitive::<Int32Type>(), |n| compare(n.into())))
            }
            DataType::Int64 => Some(BooleanArray::from_unary(array.as_primitive::<Int64Type>(), compare)),
            DataType::Timestamp(..) => {
                let times = array.as_primitive_opt::<TimestampMicrosecondType>()?;
                Some(BooleanArray::from_unary(times, compare))
            }
            _ => None,
        };
        match self {
            Check::Text(text) => match array.data_type() {
                DataType::Binary => {
                    let blobs = array.as_binary_opt::<i32>()?;
                    Some(BooleanArray::from_unary(blobs, |bytes| op.holds(bytes.cmp(text.as_bytes()))))
                }
                _ => {
                    let texts = array.as_string_opt::<i32>()?;
                    Some(BooleanArray::from_unary(texts, |value| op.holds(value.cmp(text))))
                }
            },
            Check::Bool(wanted) => {
                let flags = array.as_boolean_opt()?;
                Some(BooleanArray::from_unary(flags, |flag| op.holds(flag.cmp(wanted))))
            }
            Check::Double(number) => {
                let numbers = array.as_primitive_opt::<Float64Type>()?;
                // Not a number is neither less nor greater, and not equal.
                Some(BooleanArray::from_unary(numbers, |n| match n.partial_cmp(number) {
                    Some(ordering) => op.holds(ordering),
                    None => op == Op::NotEqual,
                }))
            }
            Check::Integer(number) => integer(&|n| op.holds(i128::from(n).cmp(number))),
            // As a float saturates: far beyond every 64-bit integer either way.
            Check::Between(number) => integer(&|n| {
                let whole = number.floor() as i128;
                let is_above = i128::from(n) > whole;
                let ordering = if is_above { Ordering::Greater } else { Ordering::Less };
                // `1e3` is an integer spelled as a float.
                let is_equal = number.fract() == 0.0 && i128::from(n) == whole;
                op.holds(if is_equal { Ordering::Equal } else { ordering })
            }),
        }
    }
}

impl Op {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Op::Equal => ordering.is_eq(),
            Op::NotEqual => ordering.is_ne(),
            Op::Less => ordering.is_lt(),
            Op::LessOrEqual => ordering.is_le(),
            Op::Greater => ordering.is_gt(),
            Op::GreaterOrEqual => ordering.is_ge(),
        }
    }
}
