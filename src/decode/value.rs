//! From what JSON holds to what a column holds, without loss or not at all.

use super::declaration::{Field, FieldType, Sentinels};
use super::time::{self, TimeFormat};

/// A value as JSON gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    /// Only above `i64::MAX`.
    Unsigned(u64),
    Double(f64),
    Text(&'a str),
}

/// A value as a column takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Converted<'a> {
    /// A sentinel: there is none.
    Null,
    /// Integers, and microseconds of timestamps.
    Int(i64),
    Double(f64),
    Bool(bool),
    Text(&'a str),
    /// Text that must be printed first.
    Printed(Printed),
}

/// A JSON number or boolean for a column of strings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Printed {
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Double(f64),
}

/// The largest integer up to which every integer is a double.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// As [`str::trim`], but quick where there is nothing to trim: nearly always.
#[inline]
pub(super) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// The value of `field` in `scalar`; the error says what was expected.
#[inline]
pub(super) fn convert<'a>(field: &Field, scalar: Scalar<'a>) -> Result<Converted<'a>, &'static str> {
    let scalar = match scalar {
        Scalar::Text(whole) => {
            if field.sentinels.has_text(whole) {
                return Ok(Converted::Null);
            }
            match &field.split {
                None => Scalar::Text(whole),
                Some(split) => match split.piece(whole) {
                    Some(piece) if field.sentinels.has_text(piece) => return Ok(Converted::Null),
                    Some(piece) => Scalar::Text(piece),
                    // Fewer parts than there could be: fewer tanks, say.
                    None => return Ok(Converted::Null),
                },
            }
        }
        Scalar::Bool(value) => {
            if !field.sentinels.texts.is_empty()
                && field.sentinels.has_text(if value { "true" } else { "false" })
            {
                return Ok(Converted::Null);
            }
            scalar
        }
        other => other,
    };
    let sentinels = &field.sentinels;
    match &field.data_type {
        FieldType::Int32 => match int(scalar) {
            Some(n) if i32::try_from(n).is_ok() => Ok(sentinels.int(n)),
            _ => Err("an integer of 32 bits"),
        },
        FieldType::Int64 => int(scalar).map(|n| sentinels.int(n)).ok_or("an integer"),
        FieldType::Double => double(scalar).map(|n| sentinels.double(n)).ok_or("a number"),
        FieldType::Bool if !field.true_values.is_empty() => {
            let is_one = |n: f64| field.true_values.contains(&n);
            double(scalar).map(|n| Converted::Bool(is_one(n))).ok_or("a number")
        }
        FieldType::Bool => bool(scalar).map(Converted::Bool).ok_or("true or false"),
        FieldType::Timestamp(TimeFormat::UnixSOrRfc3339) if matches!(scalar, Scalar::Text(text) if time::is_local(trim(text))) => {
            Ok(Converted::Null)
        }
        FieldType::Timestamp(format) => {
            timestamp(*format, scalar).map(|us| sentinels.int(us)).ok_or(expected(*format))
        }
        _ => Ok(text(scalar)),
    }
}

impl Sentinels {
    #[inline]
    pub(super) fn has_text(&self, text: &str) -> bool {
        text.len() <= self.text_bytes_max && self.texts.iter().any(|sentinel| **sentinel == *text)
    }

    #[inline]
    fn int(&self, n: i64) -> Converted<'static> {
        let is_one = || n.unsigned_abs() <= EXACT_MAX && self.numbers.contains(&(n as f64));
        if !self.numbers.is_empty() && is_one() { Converted::Null } else { Converted::Int(n) }
    }

    #[inline]
    fn double(&self, n: f64) -> Converted<'static> {
        if self.numbers.contains(&n) { Converted::Null } else { Converted::Double(n) }
    }
}

fn int(scalar: Scalar<'_>) -> Option<i64> {
    let whole = |n: f64| (n.fract() == 0.0 && n.abs() <= EXACT_MAX as f64).then_some(n as i64);
    match scalar {
        Scalar::Bool(value) => Some(i64::from(value)),
        Scalar::Int(n) => Some(n),
        Scalar::Unsigned(_) => None,
        Scalar::Double(n) => whole(n),
        Scalar::Text(text) => {
            let text = trim(text);
            text.parse().ok().or_else(|| whole(number(text)?))
        }
    }
}

fn double(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Bool(value) => Some(if value { 1.0 } else { 0.0 }),
        Scalar::Int(n) if n.unsigned_abs() <= EXACT_MAX => Some(n as f64),
        Scalar::Int(n) => ((n as f64) as i128 == i128::from(n)).then_some(n as f64),
        Scalar::Unsigned(n) => ((n as f64) as u128 == u128::from(n)).then_some(n as f64),
        Scalar::Double(n) => Some(n),
        Scalar::Text(text) => number(trim(text)),
    }
}

/// A finite number in decimal; Rust's own parser would also take `inf` and `nan`.
fn number(text: &str) -> Option<f64> {
    let plain = |c: u8| c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'+' | b'e' | b'E');
    if !text.bytes().all(plain) {
        return None;
    }
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

fn bool(scalar: Scalar<'_>) -> Option<bool> {
    match scalar {
        Scalar::Bool(value) => Some(value),
        Scalar::Text("true") => Some(true),
        Scalar::Text("false") => Some(false),
        other => match int(other) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
    }
}

fn text(scalar: Scalar<'_>) -> Converted<'_> {
    match scalar {
        Scalar::Text(text) => Converted::Text(text),
        Scalar::Bool(value) => Converted::Printed(Printed::Bool(value)),
        Scalar::Int(n) => Converted::Printed(Printed::Int(n)),
        Scalar::Unsigned(n) => Converted::Printed(Printed::Unsigned(n)),
        Scalar::Double(n) => Converted::Printed(Printed::Double(n)),
    }
}

pub(super) fn timestamp(format: TimeFormat, scalar: Scalar<'_>) -> Option<i64> {
    let scaled = |scale: i64| match (int(scalar), scalar) {
        (_, Scalar::Bool(_)) => None,
        (Some(n), _) => time::in_range(n.checked_mul(scale)?),
        (None, scalar) => {
            let us = (double(scalar)? * scale as f64).round();
            (us.abs() <= EXACT_MAX as f64 * 64.0).then_some(us as i64).and_then(time::in_range)
        }
    };
    match (format, scalar) {
        (TimeFormat::Rfc3339, Scalar::Text(text)) => time::rfc3339(trim(text)),
        (TimeFormat::Compact, Scalar::Text(text)) => time::compact(trim(text)),
        (TimeFormat::UnixS, _) => scaled(1_000_000),
        (TimeFormat::UnixMs, _) => scaled(1_000),
        (TimeFormat::Any, scalar) => match (double(scalar), scalar) {
            (Some(n), _) => scaled(if n.abs() < time::UNIX_MS_FROM { 1_000_000 } else { 1_000 }),
            (None, Scalar::Text(text)) => time::rfc3339(trim(text)),
            (None, _) => None,
        },
        (TimeFormat::UnixSOrRfc3339, Scalar::Text(text)) => {
            time::rfc3339(trim(text)).or_else(|| scaled(1_000_000))
        }
        (TimeFormat::UnixSOrRfc3339, _) => scaled(1_000_000),
        _ => None,
    }
}

fn expected(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Rfc3339 => "a time like 2024-02-13T16:33:00Z",
        TimeFormat::UnixS => "seconds since 1970",
        TimeFormat::UnixMs => "milliseconds since 1970",
        TimeFormat::Compact => "a time like 20240213163300",
        TimeFormat::Any => "milliseconds or seconds since 1970, or a time like 2024-02-13T16:33:00Z",
        TimeFormat::UnixSOrRfc3339 => "seconds since 1970, or a time like 2024-02-13T16:33:00Z",
    }
}
