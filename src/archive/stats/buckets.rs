//! Equal stretches of time, aligned to UTC, in which messages are counted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::spread::Spread;
use crate::archive::error::ArchiveError;
use crate::units::format_duration;

/// Each is a whole number of the one before it, so that buckets can be put together afterwards.
const STEPS_S: [i64; 13] = [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];

/// Where nobody asks for a length, there are no more of them.
pub(super) const BUCKETS_AIM: i64 = 120;

/// And where somebody does, no more than these: their counts, and the spread of lag in each, are in memory.
pub(super) const BUCKETS_MAX: i64 = 2_000;

/// What fell into a bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub messages: u64,
    /// Where it is wanted.
    pub lag: Option<Spread>,
}

/// The buckets that anything fell into, by their number since the Unix epoch.
pub(super) type Buckets = BTreeMap<i64, Bucket>;

/// How long a bucket is for what lies between two times (microseconds).
pub(super) fn step_us(wanted: Option<Duration>, (from_us, to_us): (i64, i64)) -> Result<i64, ArchiveError> {
    let Some(wanted) = wanted else { return Ok(fitting(from_us, to_us, BUCKETS_AIM)) };
    let step_us = i64::try_from(wanted.as_micros()).unwrap_or(i64::MAX).max(1);
    match count(from_us, to_us, step_us) {
        1..=BUCKETS_MAX => Ok(step_us),
        buckets => {
            let fits = fitting(from_us, to_us, BUCKETS_MAX).unsigned_abs();
            let fits = format_duration(Duration::from_micros(fits));
            Err(ArchiveError::BucketTooShort { buckets: buckets as u64, max: BUCKETS_MAX as u64, fits })
        }
    }
}

/// The shortest of the usual lengths with which there are no more than `most`.
fn fitting(from_us: i64, to_us: i64, most: i64) -> i64 {
    let days = (0..).map(|power| 86_400_i64.saturating_mul(10_i64.saturating_pow(power)));
    let mut steps_us = STEPS_S.into_iter().chain(days.skip(1)).map(|s| s.saturating_mul(1_000_000));
    steps_us.find(|step_us| count(from_us, to_us, *step_us) <= most).unwrap_or(i64::MAX)
}

pub(super) fn count(from_us: i64, to_us: i64, step_us: i64) -> i64 {
    to_us.div_euclid(step_us).saturating_sub(from_us.div_euclid(step_us)).saturating_add(1)
}

/// Puts ten buckets together at a time.
pub(super) fn coarser(buckets: Buckets) -> Buckets {
    let mut fewer = Buckets::new();
    for (number, bucket) in buckets {
        match fewer.entry(number.div_euclid(10)) {
            Entry::Vacant(empty) => drop(empty.insert(bucket)),
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.messages += bucket.messages;
                if let (Some(known), Some(lag)) = (&mut known.lag, &bucket.lag) {
                    known.add(lag);
                }
            }
        }
    }
    fewer
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    #[test]
    fn lengths_are_round_and_as_many_as_one_can_look_at() {
        let of = |hours: i64| step_us(None, (7, 7 + hours * HOUR_US)).unwrap() / 1_000_000;
        assert_eq!(
            [of(0), of(1), of(8), of(24), of(24 * 30), of(24 * 365)],
            [1, 60, 300, 1_800, 43_200, 864_000]
        );
        // However far apart.
        assert!(step_us(None, (i64::MIN, i64::MAX)).unwrap() > 0);
        assert!(STEPS_S.windows(2).all(|pair| pair[1] % pair[0] == 0));
    }

    #[test]
    fn too_many_are_refused_with_a_length_that_fits() {
        let day = (0, 24 * HOUR_US);
        assert_eq!(step_us(Some(Duration::from_secs(60)), day).unwrap(), 60_000_000);
        let refused = step_us(Some(Duration::from_secs(1)), day).unwrap_err().to_string();
        assert!(refused.contains("86401") && refused.contains("`1m`"), "{refused}");
    }
}
