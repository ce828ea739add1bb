//! Whether every `seq` of a part is there, once.

use std::ops::Range;

use crate::archive::manifest::{Manifest, Removed, SEQ_END_MAX, SeqRange};

/// Which seqs of a part have been seen: of those that rows have a bit each, of the others nothing, whatever a manifest
/// says of them.
pub(in crate::archive) struct Seen {
    start: u64,
    end: u64,
    stretches: Vec<Stretch>,
    pub(in crate::archive) repeated: Vec<SeqRange>,
}

/// So many seqs are looked at together.
const STRETCH: u64 = 1 << 16;

#[derive(Clone, Debug)]
enum Stretch {
    None,
    All,
    Some(Box<[u64]>),
}

impl Stretch {
    fn has(&self, at: u64) -> bool {
        match self {
            Stretch::None => false,
            Stretch::All => true,
            Stretch::Some(bits) => bits[(at / 64) as usize] & (1 << (at % 64)) != 0,
        }
    }

    /// Whether it is new.
    fn add(&mut self, at: u64) -> bool {
        if let Stretch::None = self {
            *self = Stretch::Some(vec![0; (STRETCH / 64) as usize].into());
        }
        let is_new = !self.has(at);
        if let Stretch::Some(bits) = self {
            bits[(at / 64) as usize] |= 1 << (at % 64);
        }
        is_new
    }
}

impl Seen {
    /// A day of more than ten thousand messages a second. What claims more has to say where they are.
    const MANY: u64 = 1 << 30;

    /// Nor would a day have so many.
    const MOST: u64 = SEQ_END_MAX;

    /// None of a manifest that is damaged: it claims more messages than there can be.
    pub(in crate::archive) fn new(manifest: &Manifest) -> Option<Self> {
        let (start, length) = (manifest.seq_start, length(manifest));
        let stretches = || vec![Stretch::None; length.div_ceil(STRETCH) as usize];
        is_credible(manifest).then(|| Self {
            start,
            end: start + length,
            stretches: stretches(),
            repeated: Vec::new(),
        })
    }

    pub(super) fn mark(&mut self, seq: u64) {
        let is_new = seq >= self.start && seq < self.end && {
            let at = seq - self.start;
            self.stretches[(at / STRETCH) as usize].add(at % STRETCH)
        };
        if !is_new {
            self.repeat(seq..seq + 1);
        }
    }

    pub(in crate::archive) fn mark_range(&mut self, range: SeqRange) {
        for part in self.parts(range) {
            let stretch = &mut self.stretches[((part.start - self.start) / STRETCH) as usize];
            let is_whole = part.end == self.end || part.end - part.start == STRETCH;
            match (is_whole && (part.start - self.start).is_multiple_of(STRETCH), &stretch) {
                (true, Stretch::None) => *stretch = Stretch::All,
                (true, Stretch::All) => self.repeat(part),
                (is_whole, _) => {
                    part.clone().for_each(|seq| self.mark(seq));
                    if is_whole {
                        self.stretches[((part.start - self.start) / STRETCH) as usize] = Stretch::All;
                    }
                }
            }
        }
    }

    /// Takes the numbers that are missing where rows were removed as these; says how many there were.
    pub(in crate::archive) fn mark_counted(&mut self, removed: &[Removed]) -> u64 {
        let mut marked = 0;
        for range in
            removed.iter().filter(|removed| removed.rows.is_some()).flat_map(|removed| &removed.ranges)
        {
            for part in self.parts(*range) {
                let missing: Vec<_> = self.missing_in(part).collect();
                for range in missing {
                    marked += range.messages();
                    self.mark_range(range);
                }
            }
        }
        marked
    }

    /// What of a range is of this part, stretch by stretch.
    fn parts(&self, range: SeqRange) -> impl Iterator<Item = Range<u64>> + use<> {
        let (start, end) = (self.start, range.seq_end.min(self.end));
        let mut from = range.seq_start.max(start);
        std::iter::from_fn(move || {
            let to =
                (from < end).then(|| (from - (from - start) % STRETCH).saturating_add(STRETCH).min(end))?;
            Some(std::mem::replace(&mut from, to)..to)
        })
    }

    /// Out of place counts as repeated: it belongs to another part, which has it.
    fn repeat(&mut self, seqs: Range<u64>) {
        match self.repeated.last_mut() {
            Some(last) if last.seq_end == seqs.start => last.seq_end = seqs.end,
            _ => self.repeated.push(seqs.into()),
        }
    }

    pub(in crate::archive) fn missing(&self) -> impl Iterator<Item = SeqRange> + '_ {
        self.missing_in(self.start..self.end)
    }

    fn missing_in(&self, seqs: Range<u64>) -> impl Iterator<Item = SeqRange> + '_ {
        let mut seq = seqs.start;
        // The end of what is there from a seq on, or of what is not.
        let end_of = move |mut seq: u64, there: bool| {
            while seq < seqs.end {
                let at = seq - self.start;
                let stretch = &self.stretches[(at / STRETCH) as usize];
                if stretch.has(at % STRETCH) != there {
                    break;
                }
                let is_mixed = matches!(stretch, Stretch::Some(_));
                seq = if is_mixed {
                    seq + 1
                } else {
                    (seq - at % STRETCH).saturating_add(STRETCH).min(seqs.end)
                };
            }
            seq
        };
        std::iter::from_fn(move || {
            let from = end_of(seq, true);
            seq = end_of(from, false);
            (from < seq).then(|| (from..seq).into())
        })
    }
}

/// Whether a manifest claims no more messages than there can be.
pub(in crate::archive) fn is_credible(manifest: &Manifest) -> bool {
    let length = length(manifest);
    length <= Seen::MANY || (length <= Seen::MOST && known(manifest) == length)
}

/// How many messages a manifest claims.
pub(in crate::archive) fn length(manifest: &Manifest) -> u64 {
    manifest.seq_end.saturating_sub(manifest.seq_start)
}

/// Of how many messages a manifest says what became of them.
pub(in crate::archive) fn known(manifest: &Manifest) -> u64 {
    let rows = manifest.files.iter().map(|file| file.rows);
    let lost = manifest.lost.iter().map(|range| range.messages());
    let removed = manifest.removed.iter().map(Removed::messages);
    rows.chain(lost).chain(removed).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(seqs: Range<u64>) -> Seen {
        let stretches = vec![Stretch::None; (seqs.end - seqs.start).div_ceil(STRETCH) as usize];
        Seen { start: seqs.start, end: seqs.end, stretches, repeated: Vec::new() }
    }

    fn missing(seen: &Seen) -> Vec<(u64, u64)> {
        seen.missing().map(|range| (range.seq_start, range.seq_end)).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_there_twice_is_told_across_borders() {
        let end = 10 + 3 * STRETCH + 5;
        let mut seen = seen(10..end);
        assert_eq!(missing(&seen), [(10, end)]);
        seen.mark_range((12..10 + 2 * STRETCH + 1).into());
        assert_eq!(missing(&seen), [(10, 12), (10 + 2 * STRETCH + 1, end)]);
        [10, 11, 12, 10 + STRETCH, 9, end].into_iter().for_each(|seq| seen.mark(seq));
        let repeated: Vec<_> = seen.repeated.iter().map(|r| (r.seq_start, r.seq_end)).collect();
        assert_eq!(repeated, [(12, 13), (10 + STRETCH, 11 + STRETCH), (9, 10), (end, end + 1)]);
        let at_us = 0;
        let ranges = vec![(0..u64::MAX).into()];
        let removed = [Removed { verb: "prune".into(), at_us, ranges, rows: Some(1) }];
        assert_eq!(seen.mark_counted(&removed), end - (10 + 2 * STRETCH + 1));
        assert_eq!(missing(&seen), []);
        seen.repeated.clear();
        seen.mark_range((0..u64::MAX).into());
        assert_eq!(seen.repeated, [SeqRange { seq_start: 10, seq_end: end }]);
    }

    #[test]
    fn what_is_only_claimed_takes_no_memory() {
        let mut seen = seen(0..Seen::MOST);
        let counted = allocation_counter::measure(|| {
            (0..1_000).for_each(|_| seen.mark_range((5..Seen::MOST).into()));
        });
        assert!(counted.bytes_max < 1 << 20, "{counted:?}");
        assert_eq!(missing(&seen), [(0, 5)]);
    }
}
