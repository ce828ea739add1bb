//! What is counted of the messages of one source and kind, or of one device among them.

use super::buckets::{Bucket, Buckets};
use super::spread::Spread;
use crate::archive::unknown::Examined;
use crate::decode::KnownPaths;

/// A row, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<'b> {
    pub payload: &'b [u8],
    pub clear: Option<&'b [u8]>,
    pub received_us: i64,
    pub elapsed_ns: u64,
    pub event_us: Option<i64>,
    pub is_duplicate: bool,
    pub has_error: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub messages: u64,
    pub bytes: u64,
    pub sizes: Spread,
    pub lag: Spread,
    pub without_event_at: u64,
    pub decode_errors: u64,
    pub duplicates: u64,
    /// Received first and last.
    pub received_us: Option<(i64, i64)>,
    /// The longest time between two messages of a session, and when it began.
    pub silence: Option<(u64, i64)>,
    pub buckets: Buckets,
    pub examined: Examined,
    /// The last message: of which stretch, and when.
    last: Option<(usize, u64, i64)>,
    with_lag_over_time: bool,
}

/// So many messages are all looked at for unknown fields. Of those after them, so many again each time that their
/// number has doubled, and four of these: whatever a filter selects, the whole of it is looked at here and there.
const EXAMINED_FIRST: u64 = 2_048;

impl Group {
    pub(super) fn new(digits: u8, with_lag_over_time: bool) -> Self {
        Self {
            messages: 0,
            bytes: 0,
            sizes: Spread::new(digits),
            lag: Spread::new(digits),
            without_event_at: 0,
            decode_errors: 0,
            duplicates: 0,
            received_us: None,
            silence: None,
            buckets: Buckets::new(),
            examined: Examined::default(),
            last: None,
            with_lag_over_time,
        }
    }

    /// Counts a row of a stretch; those of one stretch come in their order.
    pub(super) fn count(&mut self, row: &Counted<'_>, stretch: usize, step_us: i64) {
        self.messages += 1;
        self.bytes += row.payload.len() as u64;
        self.sizes.record(row.payload.len() as i64);
        self.decode_errors += u64::from(row.has_error);
        self.duplicates += u64::from(row.is_duplicate);
        let at_us = row.received_us;
        let (first_us, last_us) = self.received_us.unwrap_or((at_us, at_us));
        self.received_us = Some((first_us.min(at_us), last_us.max(at_us)));
        let lag_us = row.event_us.map(|event_us| at_us.saturating_sub(event_us));
        let bucket = self.buckets.entry(at_us.div_euclid(step_us)).or_insert_with(|| Bucket {
            messages: 0,
            lag: self.with_lag_over_time.then(|| Spread::new(Spread::COARSE)),
        });
        bucket.messages += 1;
        match lag_us {
            None => self.without_event_at += 1,
            Some(lag_us) => {
                self.lag.record(lag_us);
                if let Some(lag) = &mut bucket.lag {
                    lag.record(lag_us);
                }
            }
        }
        if let Some((of, elapsed_ns, received_us)) = self.last.replace((stretch, row.elapsed_ns, at_us))
            && of == stretch
        {
            let silence_ns = row.elapsed_ns.saturating_sub(elapsed_ns);
            if self.silence.is_none_or(|(longest_ns, _)| silence_ns > longest_ns) {
                self.silence = Some((silence_ns, received_us));
            }
        }
    }

    /// Looks for what the declarations of the kind do not know, before the row is counted.
    pub(super) fn examine(&mut self, row: &Counted<'_>, known: &KnownPaths) {
        if self.messages.is_multiple_of(stride(self.messages)) && !self.examined.is_full() {
            self.examined.look_at(row.payload, row.clear, known);
        }
    }
}

/// Of the messages around the `n`-th, one in so many is looked at.
fn stride(n: u64) -> u64 {
    match n / EXAMINED_FIRST {
        0 => 1,
        times => 4 << times.ilog2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_messages_are_all_looked_at_and_many_here_and_there() {
        let of = |range: std::ops::Range<u64>| range.filter(|n| n.is_multiple_of(stride(*n))).count();
        assert_eq!(of(0..2_048), 2_048);
        assert_eq!(of(2_048..4_096), 512);
        assert_eq!(of(4_096..8_192), 512);
        assert_eq!(of(1_048_576..2_097_152), 512);
    }
}
