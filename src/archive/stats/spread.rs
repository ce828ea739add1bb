//! How values are spread, in memory that does not grow with their number.

use hdrhistogram::Histogram;

/// A distribution of whole numbers, negative ones too. Percentiles are those of histograms (to so many digits), least
/// and greatest value are exact.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    digits: u8,
    /// From 0 up. Each is made with its first value.
    up: Option<Histogram<u64>>,
    /// How far below 0.
    down: Option<Histogram<u64>>,
    range: Option<(i64, i64)>,
}

impl Spread {
    /// Of a group: to a thousandth.
    pub(super) const FINE: u8 = 3;
    /// Of one of many: to a hundredth.
    pub(super) const COARSE: u8 = 2;

    pub(super) fn new(digits: u8) -> Self {
        Self { digits, up: None, down: None, range: None }
    }

    pub(super) fn record(&mut self, value: i64) {
        let (least, greatest) = self.range.unwrap_or((value, value));
        self.range = Some((least.min(value), greatest.max(value)));
        let side = if value < 0 { &mut self.down } else { &mut self.up };
        if side.is_none() {
            // Up to five digits are within what the crate allows, so this does not fail.
            *side = Histogram::new(self.digits).ok();
        }
        if let Some(histogram) = side {
            // It grows to hold the value, so this does not fail either.
            let _ = histogram.record(value.unsigned_abs());
        }
    }

    /// Adds what `other` holds.
    pub(super) fn add(&mut self, other: &Self) {
        let (Some((least, greatest)), range) = (other.range, self.range) else { return };
        let (known_least, known_greatest) = range.unwrap_or((least, greatest));
        self.range = Some((known_least.min(least), known_greatest.max(greatest)));
        for (ours, theirs) in [(&mut self.up, &other.up), (&mut self.down, &other.down)] {
            match (ours, theirs) {
                (_, None) => {}
                (ours @ None, Some(theirs)) => *ours = Some(theirs.clone()),
                (Some(ours), Some(theirs)) => {
                    // Fails only if `ours` could not grow, and it can.
                    let _ = ours.add(theirs);
                }
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.negative() + len(&self.up)
    }

    /// How many are below 0.
    pub(super) fn negative(&self) -> u64 {
        len(&self.down)
    }

    pub(super) fn least(&self) -> Option<i64> {
        self.range.map(|(least, _)| least)
    }

    pub(super) fn greatest(&self) -> Option<i64> {
        self.range.map(|(_, greatest)| greatest)
    }

    /// The value below or at which `per_mille` of a thousand lie.
    pub(super) fn at_per_mille(&self, per_mille: u64) -> Option<i64> {
        let (least, greatest) = self.range?;
        let rank = (self.count() * per_mille).div_ceil(1_000).max(1);
        let below = self.negative();
        let value = if rank <= below {
            // The lowest of these is farthest below 0.
            at_rank(self.down.as_ref()?, below - rank + 1).map(|far| -far)
        } else {
            at_rank(self.up.as_ref()?, rank - below)
        };
        Some(value?.clamp(least, greatest))
    }
}

fn len(histogram: &Option<Histogram<u64>>) -> u64 {
    histogram.as_ref().map_or(0, Histogram::len)
}

fn at_rank(histogram: &Histogram<u64>, rank: u64) -> Option<i64> {
    let mut seen = 0;
    for step in histogram.iter_recorded() {
        seen += step.count_since_last_iteration();
        if seen >= rank {
            return Some(i64::try_from(step.value_iterated_to()).unwrap_or(i64::MAX));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            mut values in prop::collection::vec(prop_oneof![-3_000i64..3_000, any::<i32>().prop_map(i64::from)], 1..300),
            per_mille in 0u64..=1_000,
        ) {
            let mut spread = Spread::new(Spread::FINE);
            values.iter().for_each(|value| spread.record(*value));
            values.sort_unstable();
            let rank = (values.len() as u64 * per_mille).div_ceil(1_000).max(1);
            let wanted = values[rank as usize - 1];
            let found = spread.at_per_mille(per_mille).unwrap();
            prop_assert!((found - wanted).abs() <= wanted.abs() / 1_000, "{found} for {wanted}");
            prop_assert_eq!(spread.negative() as usize, values.iter().filter(|value| **value < 0).count());
            prop_assert_eq!((spread.least(), spread.greatest()), (values.first().copied(), values.last().copied()));
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut spread = Spread::new(Spread::COARSE);
        assert_eq!((spread.count(), spread.at_per_mille(500), spread.least()), (0, None, None));
        spread.record(i64::MIN);
        spread.record(i64::MAX);
        assert_eq!(spread.at_per_mille(1_000), Some(i64::MAX));
        assert_eq!((spread.count(), spread.negative(), spread.least()), (2, 1, Some(i64::MIN)));
        assert!(spread.at_per_mille(1).unwrap() < i64::MIN / 100 * 99);
    }
}
