//! A moved moment in the spelling of the one before.

use chrono::{DateTime, Datelike as _, Timelike as _};

use crate::decode::declaration::{Field, FieldType};
use crate::decode::time::{self, TimeFormat, UNIX_MS_FROM};
use crate::decode::value::{Converted, convert, timestamp};
use crate::decode::walk::Written;

/// So many digits fit the integers below with room for a shift.
const DIGITS_MAX: usize = 24;

/// A moved time is read again: were it further from where it should be than the coarsest format's unit, it
/// would be read in another way than the old one was.
const OFF_MAX_US: u64 = 1_000_001;

/// The powers of ten between a microsecond and the units of numbers.
const SECOND: u32 = 6;
const MILLISECOND: u32 = 3;

/// The time of `field` that `whole` says with the part that is `written`, moved by `shift_us`; none if it is
/// to stay.
pub(in crate::decode) fn respell(
    field: &Field,
    whole: Written<'_>,
    written: Written<'_>,
    shift_us: i64,
) -> Option<String> {
    let FieldType::Timestamp(format) = field.data_type else { return None };
    let is_local = matches!(written, Written::Text(text) if time::is_local(text));
    match convert(field, whole.scalar()?) {
        Ok(Converted::Int(_)) | Err(_) => {}
        // A sentinel, unless it is null only because nobody knows when it was.
        Ok(_) if is_local => {}
        Ok(_) => return None,
    }
    let new = moved(format, written, shift_us)?;
    let renewed = match written {
        Written::Number(_) => Written::Number(&new),
        Written::Text(_) => Written::Text(&new),
    };
    if let Some(old_us) = timestamp(format, written.scalar()?) {
        let new_us = timestamp(format, renewed.scalar()?)?;
        let off_us = i128::from(new_us) - i128::from(old_us) - i128::from(shift_us);
        if off_us.unsigned_abs() > u128::from(OFF_MAX_US) {
            return None;
        }
    }
    Some(new)
}

fn moved(format: TimeFormat, written: Written<'_>, shift_us: i64) -> Option<String> {
    let (Written::Number(text) | Written::Text(text)) = written;
    let is_text = matches!(written, Written::Text(_));
    match format {
        TimeFormat::Rfc3339 => is_text.then(|| iso(text, shift_us))?,
        TimeFormat::Compact => is_text.then(|| compact(text, shift_us))?,
        TimeFormat::UnixS => number(text, SECOND, shift_us),
        TimeFormat::UnixMs => number(text, MILLISECOND, shift_us),
        TimeFormat::Any => match text.parse::<f64>() {
            Ok(n) if n.abs() < UNIX_MS_FROM => number(text, SECOND, shift_us),
            Ok(_) => number(text, MILLISECOND, shift_us),
            Err(_) => iso(text, shift_us),
        },
        TimeFormat::UnixSOrRfc3339 if is_text => {
            iso(text, shift_us).or_else(|| number(text, SECOND, shift_us))
        }
        TimeFormat::UnixSOrRfc3339 => number(text, SECOND, shift_us),
    }
}

/// A decimal number, cut where its parts end.
struct Decimal<'a> {
    sign: &'a str,
    whole: &'a str,
    /// With its point.
    fraction: Option<&'a str>,
    /// With its `e`.
    exponent: &'a str,
    power: i32,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (sign, rest) = text.split_at(usize::from(text.starts_with(['-', '+'])));
        let (mantissa, exponent) = rest.split_at(rest.find(['e', 'E']).unwrap_or(rest.len()));
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let digits = whole.len() + fraction.map_or(0, str::len);
        if digits == 0 || digits > DIGITS_MAX || !is_digits(whole) || !fraction.is_none_or(is_digits) {
            return None;
        }
        let power: i32 = match exponent.get(1..) {
            Some(power) => power.parse().ok()?,
            None => 0,
        };
        // Nobody writes a time of this century with more.
        (power.unsigned_abs() as usize <= DIGITS_MAX).then_some(Self {
            sign,
            whole,
            fraction,
            exponent,
            power,
        })
    }
}

/// A number whose unit is ten to the power of `unit` microseconds.
fn number(text: &str, unit: u32, shift_us: i64) -> Option<String> {
    let decimal = Decimal::of(text)?;
    let kept = i32::try_from(decimal.fraction.map_or(0, str::len)).ok()?;
    // How many decimals of the unit the number says, and so many are said of the moved one.
    let decimals = (kept - decimal.power).max(0);
    let digits = format!("{}{}", decimal.whole, decimal.fraction.unwrap_or_default());
    let scale = power_of_ten(u32::try_from(decimals - (kept - decimal.power)).ok()?)?;
    let magnitude = digits.parse::<i128>().ok()?.checked_mul(scale)?;
    let value = if decimal.sign == "-" { -magnitude } else { magnitude };
    let value = match u32::try_from(decimals).ok()? {
        finer if finer >= unit => {
            value.checked_add(i128::from(shift_us).checked_mul(power_of_ten(finer - unit)?)?)?
        }
        coarser => {
            let step = power_of_ten(unit - coarser)?;
            value.checked_mul(step)?.checked_add(i128::from(shift_us))?.div_euclid(step)
        }
    };
    let sign = match (value < 0, decimal.sign) {
        (true, _) => "-",
        (false, "+") => "+",
        (false, _) => "",
    };
    let places = usize::try_from(decimals + decimal.power).ok()?;
    let width = match decimal.whole {
        "" => 0,
        whole if whole.starts_with('0') => whole.len(),
        _ => 1,
    };
    let magnitude = value.unsigned_abs().to_string();
    let mut digits = format!("{magnitude:0>width$}", width = places + width);
    let mut fraction = digits.split_off(digits.len() - places);
    while fraction.len() > kept as usize && fraction.ends_with('0') {
        fraction.pop();
    }
    let point = if decimal.fraction.is_some() || !fraction.is_empty() { "." } else { "" };
    Some(format!("{sign}{digits}{point}{fraction}{}", decimal.exponent))
}

fn power_of_ten(power: u32) -> Option<i128> {
    10_i128.checked_pow(power)
}

/// `2024-02-13T16:33:00.005+08:00`, with or without its fraction and its offset.
fn iso(text: &str, shift_us: i64) -> Option<String> {
    let (stamp, rest) = text.split_at_checked(19)?;
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, zone) = match digits {
        0 => ("", rest),
        digits => (&rest[1..=digits], &rest[1 + digits..]),
    };
    if !is_zone(zone.as_bytes()) {
        return None;
    }
    // The wall moves as the moment does. Read as if it were UTC, and never out of what can be written.
    let wall_us = time::rfc3339(&format!("{stamp}Z"))?;
    let (said, unsaid) = fraction.split_at(fraction.len().min(6));
    let step_us = 10_i64.pow(6 - said.len() as u32);
    let micros = if said.is_empty() { 0 } else { said.parse::<i64>().ok()? * step_us };
    let moved_us = wall_us.checked_add(micros)?.checked_add(shift_us)?;
    let (second, micros) = (moved_us.div_euclid(1_000_000), moved_us.rem_euclid(1_000_000));
    let [date, clock] = civil(second, ["-", ":"])?;
    let separator = &stamp[10..11];
    if said.is_empty() {
        return Some(format!("{date}{separator}{clock}{zone}"));
    }
    let (micros, width) = (micros / step_us, said.len());
    Some(format!("{date}{separator}{clock}.{micros:0width$}{unsaid}{zone}"))
}

/// None of it, `Z`, `+08:00`, `+0800` or `+08`: whatever it says, it stays.
fn is_zone(zone: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    match zone {
        [] | [b'Z' | b'z'] => true,
        [b'+' | b'-', hour @ .., b':', m1, m2] if hour.len() == 2 => {
            hour.iter().chain([m1, m2]).all(is_digit)
        }
        [b'+' | b'-', digits @ ..] => matches!(digits.len(), 2 | 4) && digits.iter().all(is_digit),
        _ => false,
    }
}

/// `yyyyMMddHHmmss`.
fn compact(text: &str, shift_us: i64) -> Option<String> {
    let moved_us = time::compact(text)?.checked_add(shift_us)?;
    let [date, clock] = civil(moved_us.div_euclid(1_000_000), ["", ""])?;
    Some(date + &clock)
}

/// Date and time of day, if four digits are enough for the year.
fn civil(second: i64, [dash, colon]: [&str; 2]) -> Option<[String; 2]> {
    let time = DateTime::from_timestamp(second, 0)?.naive_utc();
    let (year, month, day) = (time.year(), time.month(), time.day());
    (0..=9_999).contains(&year).then(|| {
        [
            format!("{year:04}{dash}{month:02}{dash}{day:02}"),
            format!("{:02}{colon}{:02}{colon}{:02}", time.hour(), time.minute(), time.second()),
        ]
    })
}
