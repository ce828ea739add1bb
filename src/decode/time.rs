//! Moments as vendors spell them, to microseconds since the Unix epoch.
//!
//! Parsed by hand: the general parser of `chrono` costs more than all the rest of a short message.

use serde::Serialize;

/// How a moment is spelled in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2024-02-13T16:33:00.005Z`, any offset; a blank may stand for the `T`.
    Rfc3339,
    /// Seconds since the Unix epoch, a fraction allowed; a number or a text.
    UnixS,
    /// Milliseconds since the Unix epoch.
    UnixMs,
    /// `yyyyMMddHHmmss`, UTC.
    Compact,
    /// Milliseconds or seconds since the Unix epoch, whichever is a plausible moment, or RFC 3339.
    Any,
    /// Either of the first two, for senders that are told which to use. A text without an offset is
    /// somebody's local time: none, and no error.
    UnixSOrRfc3339,
}

/// As seconds this is the year 5138, as milliseconds 1973: what is less are seconds.
pub(super) const UNIX_MS_FROM: f64 = 1e11;

impl TimeFormat {
    pub(super) const ALL: [(&'static str, TimeFormat); 6] = [
        ("rfc3339", TimeFormat::Rfc3339),
        ("unix_s", TimeFormat::UnixS),
        ("unix_ms", TimeFormat::UnixMs),
        ("compact", TimeFormat::Compact),
        ("any", TimeFormat::Any),
        ("unix_s_or_rfc3339", TimeFormat::UnixSOrRfc3339),
    ];

    /// The name as declarations spell it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// 0001-01-01T00:00:00Z and the last microsecond of 9999: what every reader of the files can show.
const RANGE_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The moment in microseconds, if every reader can show it.
pub(crate) fn in_range(us: i64) -> Option<i64> {
    RANGE_US.contains(&us).then_some(us)
}

/// An RFC 3339 time; digits beyond microseconds are cut off.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    let (stamp, rest) = text.split_at_checked(19)?;
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b't' | b' ', _, _, b':', _, _, b':', _, _] = stamp else {
        return None;
    };
    let pair = |at: usize| digits(&stamp[at..at + 2]);
    let seconds = seconds(digits(&stamp[..4])?, pair(5)?, pair(8)?, pair(11)?, pair(14)?, pair(17)?)?;
    let (micros, zone) = fraction(rest)?;
    in_range((seconds - offset_s(zone)?) * 1_000_000 + micros)
}

/// Whether `text` is a date and a time of day without a place on earth: `2021-12-31 19:00:00`.
pub(super) fn is_local(text: &str) -> bool {
    let end = text.bytes().next_back();
    end.is_some_and(|b| b.is_ascii_digit())
        && rfc3339(text).is_none()
        && rfc3339(&format!("{text}Z")).is_some()
}

/// `yyyyMMddHHmmss`, UTC.
pub(super) fn compact(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    if text.len() != 14 {
        return None;
    }
    let pair = |at: usize| digits(&text[at..at + 2]);
    in_range(seconds(digits(&text[..4])?, pair(4)?, pair(6)?, pair(8)?, pair(10)?, pair(12)?)? * 1_000_000)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

/// Seconds since the epoch of a UTC date and time of day; a leap second counts as the next one.
fn seconds(year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from civil, as Howard Hinnant's "chrono-compatible low-level date algorithms" has it.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The microseconds of `.123`, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let kept = count.min(6);
    let scale = 10_i64.pow(6 - u32::try_from(kept).ok()?);
    Some((digits(&rest[..kept])? * scale, &rest[count..]))
}

/// Seconds east of UTC of `Z` or `+08:00`.
fn offset_s(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hour @ .., b':', m1, m2] if hour.len() == 2 => {
            let (hour, minute) = (digits(hour)?, digits(&[*m1, *m2])?);
            let offset = (hour * 60 + minute) * 60;
            (hour <= 23 && minute <= 59).then_some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documented_spellings() {
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339("2024-02-29T16:33:00.005271Z"), Some(1_709_224_380_005_271));
        assert_eq!(rfc3339("2024-02-13T16:33:00.0059999+08:00"), Some(1_707_813_180_005_999));
        assert_eq!(rfc3339("1969-12-31T23:59:59.5Z"), Some(-500_000));
        assert_eq!(compact("20240213163300"), Some(1_707_841_980_000_000));
    }

    #[test]
    fn no_zone_no_time() {
        for bad in [
            "",
            "2024-02-13",
            "2024-02-13T16:33:00",
            "2024-02-13T16:33:00.Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00+8:00",
            "0000-01-01T00:00:00Z",
            "2024-01-01T00:00:00Zz",
            "２024-01-01T00:00:00Z",
        ] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
        for bad in ["", "2024021316330", "2024021316330x", "20240230000000"] {
            assert_eq!(compact(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(us in RANGE_US, east_minutes in -1439_i32..1439) {
            let zone = chrono::FixedOffset::east_opt(east_minutes * 60).unwrap();
            let time = DateTime::from_timestamp_micros(us).unwrap().with_timezone(&zone);
            let text = time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            prop_assume!(text.len() <= 32);
            prop_assume!(!text.starts_with(['+', '-']));
            prop_assert_eq!(rfc3339(&text), Some(us));
        }
    }
}
