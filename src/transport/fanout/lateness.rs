//! Lateness: when a message was flushed to a socket, minus when it was due.

use hdrhistogram::Histogram;

/// A distribution of lateness in whole microseconds (rounded up), to three digits.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// Made with the first value, since most of an hour's clients may never get one.
    histogram: Option<Histogram<u64>>,
}

impl Lateness {
    pub fn record(&mut self, us: u64) {
        if self.histogram.is_none() {
            // Three digits are within what the crate allows, so this does not fail.
            self.histogram = Histogram::new(3).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // It grows to hold the value (`saturating_record` would not), so this does not fail either.
            let _ = histogram.record(us);
        }
    }

    /// Adds what `other` holds.
    pub fn add(&mut self, other: &Self) {
        match (&mut self.histogram, &other.histogram) {
            (_, None) => {}
            (None, Some(theirs)) => self.histogram = Some(theirs.clone()),
            (Some(ours), Some(theirs)) => {
                // Fails only if `ours` could not grow, and it can.
                let _ = ours.add(theirs);
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The value below or at which `per_mille` of a thousand lie; 0 if nothing was recorded.
    pub fn at_per_mille(&self, per_mille: u32) -> u64 {
        self.histogram.as_ref().map_or(0, |h| h.value_at_quantile(f64::from(per_mille) / 1_000.0))
    }

    /// Of all values, as exact as they are kept.
    pub fn sum(&self) -> u64 {
        let each = self.histogram.iter().flat_map(Histogram::iter_recorded);
        each.fold(0, |sum: u64, v| {
            sum.saturating_add(v.value_iterated_to().saturating_mul(v.count_at_value()))
        })
    }

    pub fn max(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::max)
    }
}

/// Lateness over the course of a replay, in blocks that double their width as it grows: so the first
/// and the last tenth are known at the end without knowing the length beforehand.
#[derive(Debug)]
pub(super) struct Drift {
    blocks: Vec<Lateness>,
    /// Messages per block.
    width: u64,
}

/// Blocks are merged in pairs when there would be more: between 40 and 80 of them make a tenth four
/// to eight blocks.
const BLOCKS_MAX: usize = 80;

impl Default for Drift {
    fn default() -> Self {
        Self { blocks: Vec::new(), width: 1 }
    }
}

impl Drift {
    pub(super) fn record(&mut self, index: u64, late_us: u64) {
        while index / self.width >= BLOCKS_MAX as u64 {
            self.blocks = self
                .blocks
                .chunks(2)
                .map(|pair| {
                    let mut merged = pair[0].clone();
                    pair[1..].iter().for_each(|other| merged.add(other));
                    merged
                })
                .collect();
            self.width *= 2;
        }
        // Below BLOCKS_MAX, as the loop has seen to.
        let block = (index / self.width) as usize;
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, Lateness::default());
        }
        self.blocks[block].record(late_us);
    }

    /// The drift so far, in microseconds.
    pub(super) fn us(&self) -> i64 {
        drift_us(&self.blocks)
    }
}

/// The median lateness of the last tenth of `blocks` minus that of the first tenth, in microseconds:
/// what a clock that runs wrong would let grow. At least one block on each side; 0 without two.
fn drift_us(blocks: &[Lateness]) -> i64 {
    let tenth = blocks.len().div_ceil(10);
    if blocks.len() < 2 {
        return 0;
    }
    let median = |blocks: &[Lateness]| {
        let mut all = Lateness::default();
        blocks.iter().for_each(|block| all.add(block));
        all.at_per_mille(500) as i64
    };
    median(&blocks[blocks.len() - tenth..]) - median(&blocks[..tenth])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_slow_shows_as_drift() {
        for messages in [10u64, 100, 12_345] {
            let mut drift = Drift::default();
            for index in 0..messages {
                drift.record(index, 100 + index * 1_000 / messages);
            }
            let us = drift.us();
            assert!((850..=950).contains(&us), "{messages} messages drift by {us} us");
        }
    }

    #[test]
    fn even_lateness_is_no_drift_however_much_it_scatters() {
        let mut drift = Drift::default();
        for index in 0..10_000u64 {
            drift.record(index, 50 + index * 7_919 % 400);
        }
        assert!(drift.us().abs() <= 20, "{}", drift.us());
        assert_eq!(Drift::default().us(), 0);
    }

    #[test]
    fn a_value_of_any_size_is_kept() {
        let mut lateness = Lateness::default();
        let values = [0, 470, 7_077, 3_600_000_000, u64::MAX];
        for (n, us) in values.into_iter().enumerate() {
            lateness.record(us);
            assert!(lateness.max() >= us && lateness.max() - us <= us / 500, "{us}: {}", lateness.max());
            assert_eq!(lateness.count(), n as u64 + 1);
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_added() {
        let (mut a, mut b) = (Lateness::default(), Lateness::default());
        (1..=500).for_each(|us| a.record(us));
        (501..=1_000).for_each(|us| b.record(us));
        a.add(&b);
        assert_eq!((a.count(), a.at_per_mille(500), a.at_per_mille(990), a.max()), (1_000, 500, 990, 1_000));
    }
}
