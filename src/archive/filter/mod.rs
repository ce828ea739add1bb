//! Conditions on rows: what `--where` takes.
//!
//! ```text
//! EXPR       = AND { "or" AND }
//! AND        = NOT { "and" NOT }
//! NOT        = "not" NOT | "(" EXPR ")" | TEST
//! TEST       = COLUMN ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) LITERAL | COLUMN "is" [ "not" ] "null"
//! LITERAL    = 'text' | number | true | false | RFC 3339 time, bare or in quotes
//! ```
//!
//! A quote inside a text is doubled, keywords may be written in capitals. Columns are those of the envelope,
//! the typed ones of every kind, and `vendor`, `kind`, `date`, which are folders.
//!
//! As in SQL a comparison with null is neither true nor false, nor is its `not`; and so is every test of a
//! column that a row's kind does not have, `is null` included. So `speed_kmh > 80` and its `not` are both about
//! messages with a speed, and `speed_kmh > 80 or alarm_code = 40` finds messages of either kind.
//!
//! A [`Filter`] is what somebody typed; bound to the columns of an archive it is a [`Predicate`], which looks at a
//! batch of rows at a time. Both are checked whole before a row is read.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::DataType;

pub use eval::Predicate;
pub(super) use eval::{Folders, SegmentFilter};

use crate::section::nearest;
use crate::units::{Moment, parse_moment};

/// The columns that conditions can be about, and their types.
pub type ColumnTypes = BTreeMap<String, DataType>;

/// A condition as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    expr: Expr,
    text: String,
}

impl fmt::Display for Filter {
    /// As it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {what}")]
pub struct FilterError {
    /// Where in the text, in bytes from 0.
    pub at: usize,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Compare { column: Column, op: Op, op_at: usize, literal: Literal, at: usize },
    IsNull { column: Column, wanted: bool },
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Text(String),
    Integer(i128),
    Double(f64),
    Bool(bool),
    /// Microseconds since the Unix epoch.
    Time(i64),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|expr| Self { expr, text: text.to_owned() })
    }
}

impl Filter {
    /// Both hold.
    pub fn and(self, other: Self) -> Self {
        let text = format!("({self}) and ({other})");
        Self { expr: Expr::All(vec![self.expr, other.expr]), text }
    }

    /// Checks names and types against `columns`.
    pub fn bind(&self, columns: &ColumnTypes) -> Result<Predicate, FilterError> {
        self.bind_like(columns, columns)
    }

    /// As [`Filter::bind`]; where a column does not exist, the nearest of `likely` is offered.
    pub fn bind_like(&self, columns: &ColumnTypes, likely: &ColumnTypes) -> Result<Predicate, FilterError> {
        bind(&self.expr, &Columns { all: columns, likely }).map(Predicate::new)
    }
}

struct Columns<'c> {
    all: &'c ColumnTypes,
    likely: &'c ColumnTypes,
}

fn bind(expr: &Expr, columns: &Columns<'_>) -> Result<eval::Test, FilterError> {
    let all = |list: &[Expr]| list.iter().map(|expr| bind(expr, columns)).collect::<Result<Vec<_>, _>>();
    Ok(match expr {
        Expr::All(list) => eval::Test::All(all(list)?),
        Expr::Any(list) => eval::Test::Any(all(list)?),
        Expr::Not(expr) => eval::Test::Not(Box::new(bind(expr, columns)?)),
        Expr::IsNull { column, wanted } => {
            column.data_type(columns)?;
            eval::Test::IsNull { column: column.name.clone(), wanted: *wanted }
        }
        Expr::Compare { column, op, op_at, literal, at } => {
            let data_type = column.data_type(columns)?;
            let wrong = |at, what| FilterError { at, what };
            let check = check(data_type, *op, literal)
                .map_err(|what| wrong(*at, format!("`{}` {what}", column.name)))?;
            if matches!(check, eval::Check::Bool(_)) && !matches!(op, Op::Equal | Op::NotEqual) {
                return Err(wrong(
                    *op_at,
                    format!("`{}` is true or false: compare it with `=` or `!=`", column.name),
                ));
            }
            eval::Test::Compare { column: column.name.clone(), op: *op, check }
        }
    })
}

impl Column {
    fn data_type<'c>(&self, columns: &Columns<'c>) -> Result<&'c DataType, FilterError> {
        columns.all.get(&self.name).ok_or_else(|| {
            let near = nearest(&self.name, columns.likely.keys().map(String::as_str));
            let near = near.map_or_else(
                || "`telereel schema VENDOR` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            FilterError { at: self.at, what: format!("no column `{}`, {near}", self.name) }
        })
    }
}

/// What a literal means to a column of this type; the error says what the column is.
fn check(data_type: &DataType, op: Op, literal: &Literal) -> Result<eval::Check, String> {
    use eval::Check;
    match (data_type, literal) {
        (DataType::Utf8, Literal::Text(text)) => Ok(Check::Text(text.clone())),
        (DataType::Utf8, _) => Err("is a text: write it in single quotes".into()),
        (DataType::Binary, Literal::Text(text)) if matches!(op, Op::Equal | Op::NotEqual) => {
            Ok(Check::Text(text.clone()))
        }
        (DataType::Binary, _) => {
            Err("is bytes: it can be compared with a text by `=` and `!=`, or be null".into())
        }
        (DataType::Boolean, Literal::Bool(value)) => Ok(Check::Bool(*value)),
        (DataType::Boolean, _) => Err("is true or false".into()),
        (DataType::Timestamp(..), Literal::Time(us)) => Ok(Check::Integer(i128::from(*us))),
        (DataType::Timestamp(..), Literal::Text(text)) => match parse_moment(text) {
            Ok(Moment::At(us)) => Ok(Check::Integer(i128::from(us))),
            Ok(_) => Err("is a time: expected one like 2026-03-01T14:30:00Z".into()),
            Err(error) => Err(format!("is a time: {error}")),
        },
        (DataType::Timestamp(..), _) => Err("is a time: expected one like 2026-03-01T14:30:00Z".into()),
        (DataType::Float64, Literal::Integer(n)) => Ok(Check::Double(*n as f64)),
        (DataType::Float64, Literal::Double(n)) => Ok(Check::Double(*n)),
        (DataType::Int8 | DataType::Int32 | DataType::Int64, Literal::Integer(n)) => Ok(Check::Integer(*n)),
        (DataType::Int8 | DataType::Int32 | DataType::Int64, Literal::Double(n)) => Ok(Check::Between(*n)),
        (DataType::Float64 | DataType::Int8 | DataType::Int32 | DataType::Int64, _) => {
            Err("is a number".into())
        }
        _ => Err("holds several values: it can only be null or not".into()),
    }
}
