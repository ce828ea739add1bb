//! Gaps that are cut: between what is recorded and what is played of it.

/// So many gaps are cut at most, which take 64 MiB: a month of one a second.
const CUTS_MAX: usize = 4 << 20;

/// Where a recording is shortened. Both times are nanoseconds since the earliest session's start; without
/// gaps they are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The ends of the gaps: when the next message was recorded, and by how much all before it is shorter.
    ends: Vec<(u64, u64)>,
}

impl Cuts {
    /// Shortens every gap between two of `moments`, in the order in which they are played, to `longest_ns`; so
    /// also the first, from `zero_ns`, where the clock starts. None: it starts at the first. Of more gaps than can be
    /// kept none is cut, and `None` is answered.
    pub fn new<E>(
        moments: impl Iterator<Item = Result<u64, E>>,
        zero_ns: Option<u64>,
        longest_ns: u64,
    ) -> Result<Option<Self>, E> {
        Self::with_bound(moments, zero_ns, longest_ns, CUTS_MAX)
    }

    fn with_bound<E>(
        moments: impl Iterator<Item = Result<u64, E>>,
        zero_ns: Option<u64>,
        longest_ns: u64,
        cuts_max: usize,
    ) -> Result<Option<Self>, E> {
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut last_ns = zero_ns;
        let mut cut_ns = 0u64;
        for moment_ns in moments {
            let moment_ns = moment_ns?;
            let before_ns = last_ns.unwrap_or(moment_ns);
            let excess_ns = moment_ns.saturating_sub(before_ns).saturating_sub(longest_ns);
            if excess_ns > 0 {
                if ends.len() >= cuts_max {
                    return Ok(None);
                }
                cut_ns = cut_ns.saturating_add(excess_ns);
                ends.push((moment_ns, cut_ns));
            }
            last_ns = Some(before_ns.max(moment_ns));
        }
        Ok(Some(Self { ends }))
    }

    /// Where on the played line a moment of the recording lies; within a gap: no later than its end.
    pub fn played_ns(&self, recorded_ns: u64) -> u64 {
        let after = self.ends.partition_point(|(end_ns, _)| *end_ns <= recorded_ns);
        let cut_before_ns = after.checked_sub(1).map_or(0, |n| self.ends[n].1);
        let played_ns = recorded_ns - cut_before_ns;
        match self.ends.get(after) {
            Some((end_ns, cut_ns)) => played_ns.min(end_ns - cut_ns),
            None => played_ns,
        }
    }

    /// The moment of the recording that is played at `played_ns`. All of what a cut took is at one place, and of
    /// these it is the last: the message that ends the gap.
    pub fn recorded_ns(&self, played_ns: u64) -> u64 {
        let after = self.ends.partition_point(|(end_ns, cut_ns)| end_ns - cut_ns <= played_ns);
        played_ns.saturating_add(after.checked_sub(1).map_or(0, |n| self.ends[n].1))
    }

    /// How many gaps are cut, and by how much in all.
    pub fn total(&self) -> (usize, u64) {
        (self.ends.len(), self.ends.last().map_or(0, |(_, cut_ns)| *cut_ns))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn cuts(moments: &[u64], zero_ns: Option<u64>, longest_ns: u64) -> Cuts {
        let Ok(cuts) = Cuts::new(moments.iter().map(|ns| Ok::<_, Infallible>(*ns)), zero_ns, longest_ns);
        cuts.unwrap()
    }

    #[test]
    fn gaps_are_bounded() {
        let cut = |max| {
            let moments = [0, 10, 20, 30].map(Ok::<u64, Infallible>);
            let Ok(cuts) = Cuts::with_bound(moments.into_iter(), None, 0, max);
            cuts.map(|cuts| cuts.total())
        };
        assert_eq!((cut(2), cut(3)), (None, Some((3, 30))));
    }

    #[test]
    fn long_gaps_are_cut_to_the_stated_length_and_short_ones_stay() {
        let moments = [1_000, 1_010, 2_000, 2_100, 5_000];
        let cuts = cuts(&moments, None, 100);
        let played: Vec<u64> = moments.iter().map(|ns| cuts.played_ns(*ns)).collect();
        assert_eq!(played, [1_000, 1_010, 1_110, 1_210, 1_310]);
        assert_eq!(cuts.total(), (2, 890 + 2_800));
    }

    #[test]
    fn the_first_message_is_no_longer_waited_for_than_any_other() {
        assert_eq!(cuts(&[1_000], Some(200), 100).played_ns(1_000), 300);
        assert_eq!(cuts(&[1_000], None, 100).played_ns(1_000), 1_000);
    }

    #[test]
    fn a_position_is_found_again_and_inside_a_gap_it_is_the_gaps() {
        let moments = [0, 50, 1_000, 1_020, 9_000];
        let cuts = cuts(&moments, None, 100);
        for ns in moments {
            assert_eq!(cuts.recorded_ns(cuts.played_ns(ns)), ns);
        }
        // Between 50 and 1000: the first 100 are played, the rest is at the gap's end.
        assert_eq!((cuts.played_ns(120), cuts.played_ns(150), cuts.played_ns(999)), (120, 150, 150));
        assert_eq!(cuts.recorded_ns(149), 149);
        assert_eq!(cuts.recorded_ns(150), 1_000);
        let mut last = 0;
        for ns in 0..10_000 {
            assert!(cuts.played_ns(ns) >= last, "time never runs back");
            last = cuts.played_ns(ns);
        }
    }

    #[test]
    fn times_that_run_back_make_no_gap() {
        let cuts = cuts(&[1_000, 10, 1_050], None, 100);
        assert_eq!(cuts.total(), (0, 0));
    }

    #[test]
    fn without_cuts_nothing_changes() {
        let none = Cuts::default();
        assert_eq!((none.played_ns(7), none.recorded_ns(7)), (7, 7));
    }
}
