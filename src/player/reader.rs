//! Reading ahead: a thread that takes rows from the archive, puts them on the replay's time line and
//! keeps a bounded stock for the scheduler, so that a disk is never waited for at a due time.
//!
//! Several sessions lie on one line as they did in life: by the wall clock at their starts, and by
//! their steady clocks within. A further round of all that is selected begins one gap after the last
//! message of the round before; the gap is the mean distance between messages, so that a loop keeps the
//! average rate. A stretch that is repeated is as long as it was said to be: its rounds follow without a gap.

use std::collections::HashMap;
use std::error::Error as StdError;

use sha2::Sha256;

use super::event::{self, Changes, Happening, Place, Planned, Position, add_to_digest};
use super::stages::Stages;
use super::stock::{Beginning, Stock};
use super::{PlayError, SessionStart};
use crate::message::{Row, SessionId};

/// Between the last message of a round and the first of the next, where one message, or several at
/// the same moment, are all there is: a loop must not spin.
const GAP_OF_ONE_NS: u64 = 1_000_000_000;

/// Reads into `stock` from wherever it says, until it wants nothing more; `open` starts a round. Ends with the
/// first error.
pub(super) fn read<F, I, E>(
    stock: &Stock,
    mut open: F,
    sessions: &[SessionStart],
    mut stages: Stages,
) -> Result<(), PlayError>
where
    F: FnMut(Position) -> Result<I, E>,
    I: Iterator<Item = Result<Row, E>>,
    E: StdError + Send + Sync + 'static,
{
    // Also when this thread unwinds: the scheduler must not wait for ever.
    struct Close<'a>(&'a Stock);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let _close = Close(stock);
    let line = Line { offsets_ns: offsets_ns(sessions) };
    while let Some(beginning) = stock.beginning() {
        stages.wind();
        let ends_at = |recorded_ns| stock.ends_at(recorded_ns);
        let read = line.play(&mut open, beginning, &mut stages, &ends_at, &mut |planned| stock.push(planned));
        if read.map_err(|source| PlayError::Rows { source: Box::new(source) })? {
            stock.complete();
        }
    }
    Ok(())
}

/// Puts rows on the replay's time line.
struct Line {
    /// Where each session begins on the line that starts with the earliest of them.
    offsets_ns: HashMap<SessionId, u64>,
}

/// How a round lies on the time line: what was recorded at `recorded_ns` is at `at_ns`.
#[derive(Clone, Copy)]
struct Laid {
    recorded_ns: u64,
    at_ns: u64,
}

impl Laid {
    fn at_ns(self, recorded_ns: u64) -> u64 {
        self.at_ns.saturating_add(recorded_ns.saturating_sub(self.recorded_ns))
    }
}

/// What follows one another, whatever it is about.
struct Counted {
    index: u64,
    /// Where events carry it.
    digest: Option<Sha256>,
}

impl Counted {
    /// Gives an event that is to be counted its index and, where it carries one, its digest.
    fn count(&mut self, event: &mut Planned) {
        event.index = self.index;
        if let Happening::Message { row, .. } = &event.what {
            self.index += 1;
            if let Some(digest) = &mut self.digest {
                add_to_digest(digest, &row.channel, &row.payload);
            }
        }
        event.digest = self.digest.clone().map(Box::new);
    }
}

impl Line {
    /// Plays round after round from `beginning` on; false if `emit` wanted no more before the end. `ends_at` is
    /// told where the last row of the selection is, when that is known.
    fn play<F, I, E>(
        &self,
        open: &mut F,
        beginning: Beginning,
        stages: &mut Stages,
        ends_at: &dyn Fn(u64),
        emit: &mut dyn FnMut(Planned) -> bool,
    ) -> Result<bool, E>
    where
        F: FnMut(Position) -> Result<I, E>,
        I: Iterator<Item = Result<Row, E>>,
    {
        let Beginning { mut position, at_ns, mut skip, index, digest, rounds, stretch } = beginning;
        let Stages { past, shape, cuts } = stages;
        let mut counted = Counted { index, digest: Some(digest).filter(|_| !shape.is_empty()) };
        let mut out = |mut event: Planned| {
            counted.count(&mut event);
            event::through(shape, event, emit)
        };
        let mut laid = match position {
            Position::Start => Laid { recorded_ns: 0, at_ns: 0 },
            Position::At(recorded_ns) => Laid { recorded_ns, at_ns: at_ns.unwrap_or(recorded_ns) },
        };
        let stretch_end_ns = stretch.and_then(|stretch| stretch.to_ns);
        // Where a round's first row lies on the time line, wherever in the recording it comes from.
        let mut first_at_ns = None;
        let mut round = 0;
        // Most often that of the row before.
        let mut last_session = None;
        while rounds.includes(round) {
            let from_ns = match position {
                Position::Start => 0,
                Position::At(from_ns) => from_ns,
            };
            if let Position::At(from_ns) = position {
                let place = Place { recorded_ns: from_ns, at_ns: laid.at_ns(from_ns), round };
                if !event::begin(past, place, &mut out) {
                    return Ok(false);
                }
            }
            let mut span: Option<(u64, u64)> = None;
            let mut messages = 0u64;
            let mut is_cut = false;
            let place = match position {
                Position::Start => Position::Start,
                Position::At(from_ns) => Position::At(cuts.recorded_ns(from_ns)),
            };
            for row in open(place)? {
                let row = row?;
                if last_session.is_none_or(|(last, _)| last != row.session_id) {
                    let offset_ns = self.offsets_ns.get(&row.session_id).copied().unwrap_or(0);
                    last_session = Some((row.session_id, offset_ns));
                }
                let offset_ns = last_session.map_or(0, |(_, offset_ns)| offset_ns);
                let recorded_ns = cuts.played_ns(offset_ns.saturating_add(row.elapsed_ns));
                if recorded_ns < from_ns {
                    continue;
                }
                if skip > 0 && recorded_ns == from_ns {
                    skip -= 1;
                    continue;
                }
                skip = 0;
                if stretch_end_ns.is_some_and(|to_ns| recorded_ns >= to_ns) {
                    is_cut = true;
                    break;
                }
                // Never back, whatever is read: the order of the rows is the order of the replay.
                let (first_ns, last_ns) = span.unwrap_or((recorded_ns, recorded_ns));
                let recorded_ns = recorded_ns.max(last_ns);
                span = Some((first_ns, recorded_ns));
                if let Some(at_ns) = first_at_ns.take() {
                    laid = Laid { recorded_ns, at_ns };
                }
                messages += 1;
                let what = Happening::Message { row: Box::new(row), changes: Changes::default() };
                let at_ns = laid.at_ns(recorded_ns);
                let event = Planned { at_ns, recorded_ns, round, index: 0, what, digest: None };
                if !event::through(past, event, &mut out) {
                    return Ok(false);
                }
            }
            if let (Some((_, last_ns)), false) = (span, is_cut) {
                ends_at(last_ns);
            }
            let again = stretch.map_or(Position::Start, |stretch| Position::At(stretch.from_ns));
            match (stretch.zip(stretch_end_ns), span) {
                // One with nothing in it would be repeated in no time.
                (Some((stretch, to_ns)), span) if span.is_some() || round == 0 => {
                    laid = Laid { recorded_ns: stretch.from_ns, at_ns: laid.at_ns(to_ns) };
                }
                (None, Some((first_ns, last_ns))) => {
                    let gap_ns = match (last_ns - first_ns).checked_div(messages - 1) {
                        None | Some(0) => GAP_OF_ONE_NS,
                        Some(mean_ns) => mean_ns,
                    };
                    first_at_ns = Some(laid.at_ns(last_ns).saturating_add(gap_ns));
                }
                // Wound to behind the last message: the next round follows at once.
                (None, None) if position != Position::Start && round == 0 => first_at_ns = Some(laid.at_ns),
                _ => break,
            }
            position = again;
            round += 1;
        }
        Ok(event::end(past, &mut out) && event::end(shape, emit))
    }
}

/// Where each session begins on the time line that starts with the earliest of them.
pub(super) fn offsets_ns(sessions: &[SessionStart]) -> HashMap<SessionId, u64> {
    let earliest_us = sessions.iter().map(|session| session.started_at_us).min().unwrap_or(0);
    let offset_ns =
        |session: &SessionStart| session.started_at_us.abs_diff(earliest_us).saturating_mul(1_000);
    sessions.iter().map(|session| (session.session_id, offset_ns(session))).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::num::NonZeroU64;

    use super::*;
    use crate::player::tests::row;
    use crate::player::{Cuts, Rounds};

    fn planned(
        rows: &[(u8, u64)],
        sessions: &[SessionStart],
        rounds: Rounds,
        at_most: usize,
    ) -> Vec<(u64, u64)> {
        let open = || {
            Ok::<_, Infallible>(rows.iter().enumerate().map(|(seq, (session, elapsed_ns))| {
                let mut row = row(seq as u64, *elapsed_ns, "x");
                row.session_id = session_id(*session);
                Ok(row)
            }))
        };
        let mut times = Vec::new();
        plan(open, sessions, start(rounds), |planned| {
            times.push((planned.index, planned.at_ns));
            times.len() < at_most
        });
        times
    }

    fn start(rounds: Rounds) -> Beginning {
        Beginning { rounds, ..Beginning::start() }
    }

    fn plan<I: Iterator<Item = Result<Row, Infallible>>>(
        mut open: impl FnMut() -> Result<I, Infallible>,
        sessions: &[SessionStart],
        beginning: Beginning,
        mut emit: impl FnMut(Planned) -> bool,
    ) {
        let line = Line { offsets_ns: offsets_ns(sessions) };
        let mut stages = Stages { past: Vec::new(), shape: Vec::new(), cuts: Cuts::default() };
        line.play(&mut |_| open(), beginning, &mut stages, &|_| {}, &mut emit).unwrap();
    }

    fn session_id(n: u8) -> SessionId {
        SessionId::new(0, [n; 10])
    }

    fn twice() -> Rounds {
        Rounds::Times(NonZeroU64::new(2).unwrap())
    }

    #[test]
    fn rounds_follow_at_the_mean_distance() {
        assert_eq!(
            planned(&[(0, 1_000), (0, 1_100), (0, 1_400)], &[], twice(), 99),
            [(0, 1_000), (1, 1_100), (2, 1_400), (3, 1_600), (4, 1_700), (5, 2_000)]
        );
    }

    #[test]
    fn a_loop_of_one_message_does_not_spin() {
        assert_eq!(planned(&[(0, 7)], &[], twice(), 99), [(0, 7), (1, 1_000_000_007)]);
        assert_eq!(planned(&[(0, 7), (0, 7)], &[], Rounds::Forever, 3).last(), Some(&(2, 1_000_000_007)));
    }

    #[test]
    fn nothing_selected_ends_even_an_endless_loop() {
        assert_eq!(planned(&[], &[], Rounds::Forever, 99), []);
    }

    #[test]
    fn sessions_lie_where_they_began_and_time_never_runs_back() {
        let sessions = [
            SessionStart { session_id: session_id(2), started_at_us: 5_000 },
            SessionStart { session_id: session_id(1), started_at_us: 3_000 },
        ];
        assert_eq!(
            planned(&[(1, 10), (2, 5), (1, 7)], &sessions, Rounds::ONCE, 99),
            [(0, 10), (1, 2_000_005), (2, 2_000_005)]
        );
    }
}
