//! The numbers of rows that are taken out, in bounded memory and as few ranges as a manifest should hold.

use crate::archive::manifest::{Removed, SeqRange};

/// More ranges than this are joined with their neighbours: a manifest stays a small file, also where every tenth
/// of fifty million rows is removed.
const RANGES_MAX: usize = 4096;

/// More entries than this are joined with those of the same verb.
const GROUPS_MAX: usize = 64;

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

    /// Numbers that something else has counted.
    pub(in crate::archive) fn of(ranges: Vec<SeqRange>, rows: u64) -> Self {
        let mut seqs = Self::default();
        seqs.add(Self { ranges, rows });
        seqs
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

    fn ranges(&self) -> usize {
        self.ranges.len()
    }

    fn join_neighbours(&mut self) {
        let pair = |pair: &[SeqRange]| {
            let (first, last) = (pair[0], pair[pair.len() - 1]);
            SeqRange { seq_start: first.seq_start, seq_end: last.seq_end }
        };
        self.ranges = self.ranges.chunks(2).map(pair).collect();
    }
}

/// What several manifests say was removed, as one says it: what a verb removed at one time is together; where that is
/// still too much for a small file, all that a verb removed, as of the last time.
pub(super) fn joined(removed: Vec<Removed>) -> Vec<Removed> {
    let mut groups = grouped(removed, |a, b| (&a.verb, a.at_us) == (&b.verb, b.at_us));
    if groups.len() > GROUPS_MAX || groups.iter().map(|(_, seqs)| seqs.ranges()).sum::<usize>() > RANGES_MAX {
        let removed = groups.into_iter().filter_map(into_removed).collect();
        groups = grouped(removed, |a, b| a.verb == b.verb);
    }
    groups.into_iter().filter_map(into_removed).collect()
}

/// Each with the first of those that are the `same`, which has their verb and last time.
type Group = (Removed, Seqs);

fn grouped(removed: Vec<Removed>, same: impl Fn(&Removed, &Removed) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for mut one in removed {
        let rows = one.messages();
        let seqs = Seqs::of(std::mem::take(&mut one.ranges), rows);
        match groups.iter_mut().find(|(first, _)| same(first, &one)) {
            Some((first, known)) => {
                first.at_us = first.at_us.max(one.at_us);
                known.add(seqs);
            }
            None => groups.push((one, seqs)),
        }
    }
    groups
}

fn into_removed((first, seqs): Group) -> Option<Removed> {
    seqs.into_removed(&first.verb, first.at_us)
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

    #[test]
    fn what_a_verb_removed_at_one_time_is_one_entry_and_much_is_few() {
        let removed = |verb: &str, at_us, seqs: std::ops::Range<u64>| Removed {
            verb: verb.to_owned(),
            at_us,
            ranges: vec![seqs.into()],
            rows: None,
        };
        let few = joined(vec![
            removed("prune", 1, 0..5),
            removed("erase", 1, 8..9),
            removed("prune", 1, 5..8),
            removed("prune", 2, 9..10),
        ]);
        assert_eq!(few, [removed("prune", 1, 0..8), removed("erase", 1, 8..9), removed("prune", 2, 9..10)]);

        let many = (0..100).map(|n| removed("prune", n, (n as u64 * 4)..(n as u64 * 4 + 2)));
        let many = joined(many.chain([removed("erase", 7, 2..4)]).collect());
        assert_eq!(many.len(), 2);
        assert_eq!((many[0].at_us, many[0].messages(), many[0].ranges.len()), (99, 200, 100));
        assert_eq!(many[1], removed("erase", 7, 2..4));

        let holes = |at_us| of((0..RANGES_MAX as u64).map(|n| n * 2)).into_removed("prune", at_us).unwrap();
        let joint = joined(vec![holes(1), Removed { ranges: vec![(100_000..100_001).into()], ..holes(2) }]);
        assert_eq!((joint.len(), joint[0].messages()), (1, RANGES_MAX as u64 + 1));
        assert!(joint[0].ranges.len() <= RANGES_MAX && joint[0].rows.is_some());
    }
}
