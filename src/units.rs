//! Durations, sizes and moments as people write them in options and configurations.
//!
//! One spelling each: `250ms 1.5s 1m30s 2h 7d`, `64KiB 128MiB`, RFC 3339 with offset. What is refused
//! is answered with what was expected, so that the text can go straight into an error.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

/// Smallest unit first: also the order in which people expect them listed.
const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

/// More than a day needs for a nanosecond.
const DECIMALS_MAX: usize = 18;

pub const DURATION_EXPECTED: &str = "expected a duration such as `250ms`, `1.5s`, `90s`, `10m`, `2h` or `7d`";
pub const SIZE_EXPECTED: &str = "expected a size such as `64KiB`, `128MiB` or `1.5GiB`";
pub const MOMENT_EXPECTED: &str =
    "expected a time such as `2026-03-01T14:30:00Z`, `+90s` (from the session's start) or `-2h` (from now)";

/// Reads `250ms 90s 1.5s 10m 2h 7d`, and several units from the largest to the smallest, as in `1m30s`; decimals in
/// the last of them only.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text;
    let mut total_ns = 0u128;
    // Every unit is smaller than the one before.
    let mut units = &DURATION_UNITS[..];
    loop {
        let (number, after) =
            rest.split_at(rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(0));
        let (name, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let at = units.iter().position(|(unit, _)| *unit == name).ok_or(DURATION_EXPECTED)?;
        let unit_ns = u128::from(units[at].1) * 1_000_000;
        units = &units[..at];
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if decimals.is_empty() || (number.contains('.') && !after.is_empty()) {
            return Err(DURATION_EXPECTED);
        }
        let whole: u64 = whole.parse().map_err(|_| DURATION_EXPECTED)?;
        let scale = 10u128.checked_pow(decimals.len() as u32).filter(|_| decimals.len() <= DECIMALS_MAX);
        let scale = scale.ok_or("expected a duration with fewer decimals")?;
        let parts: u128 = decimals.parse().map_err(|_| DURATION_EXPECTED)?;
        if !(parts * unit_ns).is_multiple_of(scale) {
            return Err("expected a duration no finer than a nanosecond");
        }
        total_ns += u128::from(whole) * unit_ns + parts * unit_ns / scale;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    // Nanoseconds since a start are kept in 64 bits everywhere: 292 years.
    match u64::try_from(total_ns) {
        Ok(ns) if ns <= i64::MAX as u64 => Ok(Duration::from_nanos(ns)),
        _ => Err("expected a shorter duration"),
    }
}

/// Reads `512B 64KiB 128MiB 1.5GiB 2TiB`; of a fraction of a byte what is whole.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) =
        text.split_at(text.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or(SIZE_EXPECTED)?);
    if matches!(unit, "KB" | "kB" | "MB" | "GB" | "TB" | "K" | "M" | "G" | "T") {
        return Err("expected a size in powers of 1024, such as `64KiB`, `128MiB` or `1GiB`");
    }
    let (_, unit_bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(SIZE_EXPECTED)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| SIZE_EXPECTED)?;
    let scale = 10u128.checked_pow(decimals.len() as u32).filter(|_| decimals.len() <= DECIMALS_MAX);
    let scale = scale.ok_or("expected a size with fewer decimals")?;
    let parts: u128 = decimals.parse().map_err(|_| SIZE_EXPECTED)?;
    if *unit_bytes == 1 && number.contains('.') {
        return Err("expected a whole number of bytes");
    }
    let bytes = u128::from(whole) * u128::from(*unit_bytes) + parts * u128::from(*unit_bytes) / scale;
    // Sizes end up in SQLite and Parquet, whose integers are signed.
    u64::try_from(bytes).ok().filter(|bytes| *bytes <= i64::MAX as u64).ok_or("expected a smaller size")
}

/// A duration in its largest whole unit, or in milliseconds with decimals: the reverse of [`parse_duration`].
pub fn format_duration(duration: Duration) -> String {
    let (ms, ns) = (duration.as_millis(), duration.subsec_nanos() % 1_000_000);
    if ns > 0 {
        return format!("{ms}.{}ms", format!("{ns:06}").trim_end_matches('0'));
    }
    let whole = |(_, unit_ms): &&(&str, u64)| ms > 0 && ms.is_multiple_of(u128::from(*unit_ms));
    let (name, unit_ms) = DURATION_UNITS.iter().rev().find(whole).unwrap_or(&DURATION_UNITS[1]);
    format!("{}{name}", ms / u128::from(*unit_ms))
}

/// A length of time for people, two units at most: `1 h 4 min`, `12.3 s`, `85 ms`.
pub fn human_duration(ns: u64) -> String {
    let (ms, s) = (ns / 1_000_000, ns / 1_000_000_000);
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms / 100 % 10),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// A size for people: `1.5 MiB`.
pub fn human_size(bytes: u64) -> String {
    let Some((name, unit)) = SIZE_UNITS[..4].iter().rev().find(|(_, unit)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    // 128-bit: a tenth of a tebibyte must not overflow.
    let tenths = u128::from(bytes) * 10 / u128::from(*unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A count with a space between each three digits.
pub fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// So many of what a word names: `1 message`, `2 345 messages`.
pub fn counted(count: u64, word: &str) -> String {
    format!("{} {word}{}", human_count(count), if count == 1 { "" } else { "s" })
}

/// Microseconds since the Unix epoch as RFC 3339 in UTC, to the microsecond.
pub fn format_time_us(us: i64) -> String {
    match DateTime::<Utc>::from_timestamp_micros(us) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
        None => format!("{us} us"),
    }
}

/// The same for tables, to the second.
pub fn format_time_s(us: i64) -> String {
    match DateTime::<Utc>::from_timestamp_micros(us) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => format!("{us} us"),
    }
}

/// A point of a recording as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds since the Unix epoch.
    At(i64),
    /// `+90s`: this long after the session's start.
    AfterStart(Duration),
    /// `-2h`: this long before now.
    BeforeNow(Duration),
}

impl Moment {
    /// Whether it names a time by itself, without a session.
    pub fn is_absolute(self) -> bool {
        !matches!(self, Moment::AfterStart(_))
    }
}

/// Why a text is no [`Moment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MomentError(String);

impl fmt::Display for MomentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MomentError {}

/// Reads an RFC 3339 time with offset, `+90s` or `-2h`.
pub fn parse_moment(text: &str) -> Result<Moment, MomentError> {
    if let Some(rest) = text.strip_prefix('+') {
        return parse_duration(rest).map(Moment::AfterStart).map_err(|e| MomentError(e.into()));
    }
    if let Some(rest) = text.strip_prefix('-') {
        return parse_duration(rest).map(Moment::BeforeNow).map_err(|e| MomentError(e.into()));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Moment::At(time.timestamp_micros()));
    }
    Err(MomentError(match without_offset(text) {
        // A local time means another moment on every machine, so none is guessed.
        Some(time) => {
            let corrected = time.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true);
            let east = corrected.replace('Z', "+02:00");
            format!("the time has no offset from UTC: write `{corrected}`, or `{east}` for a local time")
        }
        None => MOMENT_EXPECTED.into(),
    }))
}

fn without_offset(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, ms) in
            [("250ms", 250), ("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000)]
        {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        for (text, us) in [
            ("1.5s", 1_500_000),
            ("250.5ms", 250_500),
            ("0.25h", 900_000_000),
            ("1m30s", 90_000_000),
            ("1h0.5s", 3_600_500_000),
            ("1d2h3m4s5ms", 93_784_005_000),
        ] {
            let duration = Duration::from_micros(us);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "{text}");
        }
        assert_eq!(format_duration(Duration::from_nanos(1_000_020)), "1.00002ms");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5S",
            ".5s",
            "5.s",
            "1.5.5s",
            "1.5m30s",
            "30s1m",
            "1s1s",
            "1m30",
            "0.0000001ms",
            "1.0000000000000000000000000000000000000000s",
            "99999999999999999999s",
            "999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("0B", 0), ("64KiB", 65_536), ("128MiB", 134_217_728), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "64",
            "64K",
            "64kib",
            "1.GiB",
            ".5GiB",
            "1.5B",
            "1.5.5GiB",
            "1.0000000000000000000GiB",
            "9223372036854775807KiB",
            "8388608TiB",
            "18446744073709551615TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!([parse_size("1.5GiB"), parse_size("0.1KiB")], [Ok(3 << 29), Ok(102)]);
        assert!(parse_size("64MB").unwrap_err().contains("1024"));
    }

    #[test]
    fn moments_have_an_offset_or_are_relative() {
        assert_eq!(parse_moment("1970-01-01T00:00:01.5Z"), Ok(Moment::At(1_500_000)));
        assert_eq!(parse_moment("1970-01-01T02:00:00+02:00"), Ok(Moment::At(0)));
        assert_eq!(parse_moment("+90s"), Ok(Moment::AfterStart(Duration::from_secs(90))));
        assert_eq!(parse_moment("+1.5s"), Ok(Moment::AfterStart(Duration::from_millis(1_500))));
        assert_eq!(parse_moment("-2h"), Ok(Moment::BeforeNow(Duration::from_secs(7_200))));
        for (text, corrected) in [
            ("2026-03-01T14:30:00", "`2026-03-01T14:30:00Z`"),
            ("2026-03-01 14:30", "`2026-03-01T14:30:00Z`"),
            ("2026-03-01T14:30:00.250", "`2026-03-01T14:30:00.250Z`"),
            ("2026-03-01", "`2026-03-01T00:00:00Z`"),
        ] {
            let error = parse_moment(text).unwrap_err().to_string();
            assert!(error.contains(corrected), "{text}: {error}");
        }
        assert_eq!(parse_moment("yesterday").unwrap_err().to_string(), MOMENT_EXPECTED);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(human_size(1_023), "1023 B");
        assert_eq!(human_size(1_572_864), "1.5 MiB");
        assert_eq!(human_count(12_345_678), "12 345 678");
        assert_eq!(human_count(999), "999");
        assert_eq!([0, 1, 1_002].map(|n| counted(n, "line")), ["0 lines", "1 line", "1 002 lines"]);
        assert_eq!(human_duration(12_340_000_000), "12.3 s");
        assert_eq!(human_duration(3_840_000_000_000), "1 h 4 min");
        assert_eq!(format_time_us(1_500_000), "1970-01-01T00:00:01.500000Z");
    }

    #[test]
    fn hostile_figures_are_read_as_they_are_written_or_refused() {
        let right = [
            "250ms",
            "1.5s",
            "1m30s",
            "2h",
            "7d",
            "64KiB",
            "1GiB",
            "+90s",
            "-2h",
            "2026-03-01T14:30:00.5+02:00",
        ];
        let words = ["ms", "s", "m", "h", "d", "B", "KiB", "TiB", ".", "e", "T", "Z", "+", "-", "00:00"];
        crate::fuzz::Target::new("units").cases(6_000).inputs(right).words(&words).run(|bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return false };
            let (duration, size, moment) = (parse_duration(text), parse_size(text), parse_moment(text));
            if let Ok(duration) = duration {
                assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            }
            if let Err(error) = &moment {
                crate::fuzz::assert_words(&error.to_string(), text.len());
            }
            if let Ok(Moment::At(us)) = moment {
                assert!(!format_time_us(us).is_empty());
            }
            duration.is_ok() || size.is_ok() || moment.is_ok()
        });
    }
}
