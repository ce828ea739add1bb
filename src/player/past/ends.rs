//! What ends a state and is not played: left out by the selection, it is heard all the same, so that nobody is told
//! of what has ended.

use std::collections::HashMap;
use std::iter::Peekable;
use std::sync::Arc;

use super::Cuts;
use super::state::{OpenRows, RowsBefore};
use crate::message::{Row, SessionId};

/// The rows that end states, beside those that are played.
pub(super) struct Ends {
    /// None: all of them are played.
    open: Option<Arc<OpenRows>>,
    rows: Option<Peekable<RowsBefore>>,
    /// Where each session begins on the line that starts with the earliest of them.
    offsets_ns: HashMap<SessionId, u64>,
    cuts: Cuts,
}

impl Ends {
    pub(super) fn new(open: Option<Arc<OpenRows>>, offsets_ns: HashMap<SessionId, u64>, cuts: Cuts) -> Self {
        Self { open, rows: None, offsets_ns, cuts }
    }

    /// From now on those that are not before this place of what is played.
    pub(super) fn begin(&mut self, played_ns: u64) {
        let open = self.open.as_ref().map(|open| open(self.cuts.recorded_ns(played_ns)));
        self.rows = match open {
            Some(Ok(rows)) => Some(rows.peekable()),
            Some(Err(error)) => {
                tracing::warn!("not all is known of what ends: {error}");
                None
            }
            None => None,
        };
    }

    /// The next of those before `row`, and where in what is played it lies; not `row` itself, which is played.
    pub(super) fn next_before(&mut self, row: &Row) -> Option<(u64, Row)> {
        let until = place(&self.offsets_ns, row);
        loop {
            let is_before = |ended: &Result<Row, _>| match ended {
                Ok(ended) => place(&self.offsets_ns, ended) <= until,
                Err(_) => true,
            };
            let ended = match self.rows.as_mut()?.next_if(is_before)? {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::warn!("not all is known of what ends: {error}");
                    self.rows = None;
                    return None;
                }
            };
            let place = place(&self.offsets_ns, &ended);
            if place != until {
                return Some((self.cuts.played_ns(place.0), ended));
            }
        }
    }
}

/// As rows of several sessions follow one another.
fn place(offsets_ns: &HashMap<SessionId, u64>, row: &Row) -> (u64, SessionId, u64) {
    let offset_ns = offsets_ns.get(&row.session_id).copied().unwrap_or(0);
    (offset_ns.saturating_add(row.elapsed_ns), row.session_id, row.seq)
}
