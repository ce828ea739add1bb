//! The recording's past in a replay: outages that clients feel, gaps that are cut, and what is known of each
//! thing where a replay begins in the middle.
//!
//! Both stages here speak up where a stretch of unbroken playing begins, which is at the replay's start,
//! with each round and wherever it is wound to ([`Onset`]): what is down, and what is known, is said for
//! that place as a whole, so that nothing depends on what was played before.

mod cuts;
mod ends;
mod outages;
mod state;
mod wanted;

pub use self::cuts::Cuts;
pub use self::outages::Outage;
pub(super) use self::outages::OutageStage;
pub use self::state::{RowsBefore, StateKinds, StateOptions, state_kinds};
pub(super) use self::state::{StateKeys, StateStage};
pub use self::wanted::OutagesWanted;
use std::collections::HashMap;

use super::PlayOptions;
use super::event::{Changes, Place, Planned};
use super::prepare::Preparation;
use super::reader::offsets_ns;
use crate::message::{Row, SessionId};
use crate::transport::fanout::{Changed, Emission, StateTable};

/// What becomes of the recording's outages.
#[derive(Clone, Debug, Default)]
pub enum Outages {
    /// Nothing is sent, as nothing was received.
    #[default]
    Silence,
    /// Connections are closed and refused as well.
    Reproduce(Vec<Outage>),
    /// These gaps are shortened, and it is no matter what they came from.
    Skip(Cuts),
}

impl Outages {
    /// How the recording is shortened.
    pub(super) fn cuts(&self) -> Cuts {
        match self {
            Outages::Skip(cuts) => cuts.clone(),
            Outages::Silence | Outages::Reproduce(_) => Cuts::default(),
        }
    }

    /// Where on the line that is played a moment of the recording lies.
    pub(super) fn played_ns(&self, recorded_ns: u64) -> u64 {
        match self {
            Outages::Skip(cuts) => cuts.played_ns(recorded_ns),
            Outages::Silence | Outages::Reproduce(_) => recorded_ns,
        }
    }
}

/// The past at the scheduler.
#[derive(Debug, Default)]
pub(super) struct Past {
    keys: Option<StateKeys>,
    /// What is known is about to be said, as it is where the replay begins or was wound to.
    is_awaited: bool,
    /// What is said next is known: the replay was begun anew where it was.
    is_known: bool,
    offsets_ns: HashMap<SessionId, u64>,
    cuts: Cuts,
}

impl Past {
    pub(super) fn new(options: &PlayOptions) -> Self {
        Self {
            keys: options.state.as_ref().map(|state| StateKeys::new(&state.sources)),
            is_awaited: options.state.is_some(),
            is_known: false,
            offsets_ns: offsets_ns(&options.sessions),
            cuts: options.outages.cuts(),
        }
    }

    /// Whether what is known is about to be said, and it is news.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// The replay is read from another place on, or, where it `stays`, from the one where it is; true if what is
    /// known is another from here on.
    pub(super) fn wound(&mut self, stays: bool) -> bool {
        self.is_known = stays && !self.is_awaited;
        self.is_awaited = self.keys.is_some() && !self.is_known;
        self.is_awaited
    }

    /// What is known is said; whether it is news.
    pub(super) fn is_news(&mut self) -> bool {
        self.is_awaited = false;
        !std::mem::take(&mut self.is_known)
    }

    /// What is `known` at a place of the recording and of the time line, with its bytes as they would have left
    /// had it been played from there.
    pub(super) fn prepared(
        &self,
        known: StateTable,
        (recorded_ns, at_ns): (u64, u64),
        preparation: &mut Preparation,
    ) -> StateTable {
        known.map(|emission| {
            let row = &emission.row;
            let offset_ns = self.offsets_ns.get(&row.session_id).copied().unwrap_or(0);
            let row_ns = self.cuts.played_ns(offset_ns.saturating_add(row.elapsed_ns));
            let left_ns = i128::from(at_ns) - (i128::from(recorded_ns) - i128::from(row_ns));
            let changed = preparation.payload(row, left_ns, Changes::default())?;
            Some(Emission::changed(row.clone(), Some(changed), 0, None).retold())
        })
    }

    /// A message, with what it does to what is known, before its time has come.
    pub(super) fn emission(&mut self, row: Box<Row>, changed: Option<Changed>, index: u64) -> Emission {
        let state = self.keys.as_mut().and_then(|keys| keys.change(&row));
        let mut emission = Emission::changed(row, changed, index, None);
        emission.state = state;
        emission
    }
}

/// Finds where stretches of unbroken playing begin.
#[derive(Debug, Default)]
struct Onset {
    /// Where the replay's clock starts, if not at the first message.
    zero_ns: Option<u64>,
    /// Where the stretch begins that the next event belongs to, if it is of the same round.
    begun: Option<Place>,
    round: Option<u64>,
}

impl Onset {
    fn new(zero_ns: Option<u64>) -> Self {
        Self { zero_ns, begun: None, round: None }
    }

    /// The next event belongs to a stretch that begins here.
    fn begin(&mut self, place: Place) {
        self.begun = Some(place);
        self.round = None;
    }

    /// Whether the next event, of this round, belongs to a stretch whose beginning is known.
    fn is_begun(&self, round: u64) -> bool {
        self.begun.is_some_and(|place| place.round == round)
    }

    /// The stretch that begins with this round needs no event to be known.
    fn pass(&mut self, round: u64) {
        (self.begun, self.round) = (None, Some(round));
    }

    /// Where in the recording and on the time line a stretch begins, if `event` is its first.
    fn of(&mut self, event: &Planned) -> Option<(u64, u64)> {
        if self.round.replace(event.round) == Some(event.round) {
            return None;
        }
        let is_start = event.round == 0 && event.at_ns == event.recorded_ns;
        let zero = self.zero_ns.filter(|zero_ns| is_start && *zero_ns <= event.recorded_ns);
        let begun = self.begun.take().filter(|place| place.round == event.round);
        let begun = begun.map(|place| (place.recorded_ns, place.at_ns));
        Some(begun.or(zero.map(|ns| (ns, ns))).unwrap_or((event.recorded_ns, event.at_ns)))
    }
}
