//! What became of the faults, for the report.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Fault, Faults};

/// Of each fault, so many places are named.
const NAMED_MAX: usize = 10;

/// One fault's part of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultReport {
    pub fault: Fault,
    /// How often it struck what was played.
    pub count: u64,
    /// The first ten.
    pub first: Vec<Struck>,
    /// Places that were asked for and did not come, the first ten, as they are typed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never_met: Vec<String>,
}

/// Where a fault struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Struck {
    /// The emission's number, as in the trace.
    pub index: u64,
    /// The message's number in its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// For how long it was delayed or held, on the recording's time line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<u64>,
}

/// Counts what struck.
#[derive(Clone, Debug, Default)]
pub(in crate::player) struct Tally {
    struck: BTreeMap<Fault, (u64, Vec<Struck>)>,
    /// Places that have not come yet; none where nothing of a fault is left.
    unmet: Vec<Unmet>,
}

#[derive(Clone, Debug)]
struct Unmet {
    fault: Fault,
    places: BTreeSet<u64>,
    seqs: BTreeSet<u64>,
}

impl Tally {
    pub(in crate::player) fn new(faults: Option<&Faults>) -> Self {
        let rules = faults.into_iter().flat_map(|faults| &faults.rules);
        let unmet = rules.map(|rule| Unmet {
            fault: rule.fault,
            places: rule.places.clone(),
            seqs: rule.seqs.clone(),
        });
        let mut tally = Self { unmet: unmet.collect(), ..Self::default() };
        tally.unmet.retain(Unmet::is_left);
        tally
    }

    /// A message came, whatever happened to it.
    pub(in crate::player) fn pass(&mut self, index: u64, seq: u64) {
        self.unmet.retain_mut(|unmet| {
            unmet.places.remove(&index);
            unmet.seqs.remove(&seq);
            unmet.is_left()
        });
    }

    pub(in crate::player) fn note(&mut self, fault: Fault, struck: Struck) {
        let (count, first) = self.struck.entry(fault).or_default();
        *count += 1;
        if first.len() < NAMED_MAX {
            first.push(struck);
        }
    }

    pub(in crate::player) fn into_reports(mut self) -> Vec<FaultReport> {
        for unmet in &self.unmet {
            self.struck.entry(unmet.fault).or_default();
        }
        let never_met = |fault| {
            let unmet = self.unmet.iter().filter(move |unmet| unmet.fault == fault);
            unmet.flat_map(Unmet::names).take(NAMED_MAX).collect()
        };
        let report =
            |(fault, (count, first))| FaultReport { fault, count, first, never_met: never_met(fault) };
        self.struck.into_iter().map(report).collect()
    }
}

impl Unmet {
    fn is_left(&self) -> bool {
        !self.places.is_empty() || !self.seqs.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let places = self.places.iter().map(|place| format!("@{place}"));
        places.chain(self.seqs.iter().map(|seq| format!("@seq{seq}")))
    }
}
