//! The numbers of rows that are taken out, in bounded memory and as few ranges as a manifest should hold.

use crate::archive::manifest::{Removed, SeqRange};

/// More ranges than this are joined with their neighbours: a manifest stays a small file, also where every tenth
/// of fifty million rows is removed.
const RANGES_MAX: usize = 4096;

/// Numbers of rows. Exact up to [`RANGES_MAX`] ranges; past that, ranges that also hold rows which stayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::archive) struct Seqs {
    ranges: Vec<SeqRange>,
    rows: u64,
}

impl Seqs {
    /// Numbers of one file come in their order.
    pub(in crate::archive) fn push(&mut self, seq: u64) {
        self.rows += 1;
        match self.ranges.last_mut() {
            Some(last) if last.seq_end == seq => last.seq_end += 1,
            _ => self.ranges.push((seq..seq + 1).into()),
        }
        if self.ranges.len() > RANGES_MAX {
            self.join_neighbours();
        }
    }

    pub(in crate::archive) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.ranges.extend(other.ranges);
        self.ranges.sort_by_key(|range| range.seq_start);
        let mut joined: Vec<SeqRange> = Vec::with_capacity(self.ranges.len());
        for range in self.ranges.drain(..) {
            match joined.last_mut() {
                Some(last) if range.seq_start <= last.seq_end => {
                    last.seq_end = last.seq_end.max(range.seq_end)
                }
                _ => joined.push(range),
            }
        }
        self.ranges = joined;
        while self.ranges.len() > RANGES_MAX {
            self.join_neighbours();
        }
    }

    pub(in crate::archive) fn rows(&self) -> u64 {
        self.rows
    }

    /// What the manifest says of it; none if nothing is removed.
    pub(in crate::archive) fn into_removed(self, verb: &str, at_us: i64) -> Option<Removed> {
        let covered: u64 = self.ranges.iter().map(|range| range.messages()).sum();
        (self.rows > 0).then(|| Removed {
            verb: verb.to_owned(),
            at_us,
            rows: (covered != self.rows).then_some(self.rows),
            ranges: self.ranges,
        })
    }

    fn join_neighbours(&mut self) {
        let pair = |pair: &[SeqRange]| {
            let (first, last) = (pair[0], pair[pair.len() - 1]);
            SeqRange { seq_start: first.seq_start, seq_end: last.seq_end }
        };
        self.ranges = self.ranges.chunks(2).map(pair).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seqs: impl IntoIterator<Item = u64>) -> Seqs {
        let mut all = Seqs::default();
        seqs.into_iter().for_each(|seq| all.push(seq));
        all
    }

    #[test]
    fn few_ranges_are_exact() {
        let mut seqs = of([1, 2, 5, 9]);
        seqs.add(of([3, 4, 7]));
        let removed = seqs.into_removed("erase", 0).unwrap();
        let ranges: Vec<_> = removed.ranges.iter().map(|r| (r.seq_start, r.seq_end)).collect();
        assert_eq!((ranges, removed.rows), (vec![(1, 6), (7, 8), (9, 10)], None));
        assert_eq!(removed.messages(), 7);
        assert_eq!(Seqs::default().into_removed("erase", 0), None);
    }

    #[test]
    fn many_are_few_ranges_and_a_count() {
        let mut seqs = of((0..100_000).map(|n| n * 3));
        seqs.add(of((0..100_000).map(|n| n * 3 + 1)));
        let removed = seqs.into_removed("erase", 0).unwrap();
        assert!(removed.ranges.len() <= RANGES_MAX);
        assert_eq!((removed.rows, removed.messages()), (Some(200_000), 200_000));
        assert_eq!((removed.ranges[0].seq_start, removed.ranges.last().unwrap().seq_end), (0, 299_999));
    }
}
