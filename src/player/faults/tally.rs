//! What became of the faults, for the report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Fault;

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
pub(in crate::player) struct Tally(BTreeMap<Fault, (u64, Vec<Struck>)>);

impl Tally {
    pub(in crate::player) fn note(&mut self, fault: Fault, struck: Struck) {
        let (count, first) = self.0.entry(fault).or_default();
        *count += 1;
        if first.len() < NAMED_MAX {
            first.push(struck);
        }
    }

    pub(in crate::player) fn into_reports(self) -> Vec<FaultReport> {
        self.0.into_iter().map(|(fault, (count, first))| FaultReport { fault, count, first }).collect()
    }
}
