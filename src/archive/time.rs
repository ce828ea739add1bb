//! Times in the archive's JSON files: RFC 3339 with microseconds, UTC, for people; `i64` microseconds
//! since the Unix epoch in memory.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serializer, de};

const DAY_US: i64 = 86_400_000_000;

/// `2026-11-22T10:00:00.000000Z`.
pub fn format_us(us: i64) -> String {
    at(us).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Days since the Unix epoch, UTC.
pub(super) fn day_of(us: i64) -> i64 {
    us.div_euclid(DAY_US)
}

/// `2026-11-22`, the UTC date that holds `us`.
pub(super) fn date_of_day(day: i64) -> String {
    at(day.saturating_mul(DAY_US)).format("%Y-%m-%d").to_string()
}

/// A clock that is wrong by more than RFC 3339 has years for is as good as one that was never set.
fn at(us: i64) -> DateTime<Utc> {
    let shown = crate::decode::time_in_range(us).and_then(DateTime::from_timestamp_micros);
    shown.unwrap_or(DateTime::UNIX_EPOCH)
}

/// For `#[serde(with = "rfc3339_us")]`.
pub(super) mod rfc3339_us {
    use super::*;

    pub fn serialize<S: Serializer>(us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_us(*us))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text).map(|t| t.timestamp_micros()).map_err(de::Error::custom)
    }
}

/// The same for `Option<i64>`.
pub(super) mod rfc3339_us_option {
    use super::*;

    pub fn serialize<S: Serializer>(us: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match us {
            Some(us) => super::rfc3339_us::serialize(us, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parse = |t: String| DateTime::parse_from_rfc3339(&t).map(|t| t.timestamp_micros());
        text.map(parse).transpose().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_utc_also_before_1970() {
        assert_eq!(date_of_day(day_of(0)), "1970-01-01");
        assert_eq!(date_of_day(day_of(-1)), "1969-12-31");
        assert_eq!(date_of_day(day_of(DAY_US)), "1970-01-02");
        assert_eq!(date_of_day(day_of(i64::MAX)), "1970-01-01");
        assert_eq!(format_us(1_500_000), "1970-01-01T00:00:01.500000Z");
    }
}
