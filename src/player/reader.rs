//! Reading ahead: a thread that takes rows from the archive, puts them on the replay's time line and
//! keeps a bounded stock for the scheduler, so that a disk is never waited for at a due time.

use std::collections::{HashMap, VecDeque};
use std::error::Error as StdError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{PlayError, Rounds, SessionStart};
use crate::message::{Row, SessionId};

/// The stock: some seconds of a busy recording. A message of any size fits an empty one.
const BYTES_MAX: usize = 16 << 20;
const ITEMS_MAX: usize = 32_768;

/// What a row costs in memory beside its bytes, with what an allocator needs for each of them.
const ROW_BYTES: usize = size_of::<Planned>() + 128;

/// The same of a header: two strings.
const HEADER_BYTES: usize = 80;

/// Between the last message of a round and the first of the next, where one message, or several at
/// the same moment, are all there is: a loop must not spin.
const GAP_OF_ONE_NS: u64 = 1_000_000_000;

/// A row with its place in the replay.
#[derive(Debug)]
pub(super) struct Planned {
    pub row: Row,
    /// Its place in the replay, from 0, loops counted on.
    pub index: u64,
    /// On the replay's time line, loops added up.
    pub recorded_ns: u64,
    /// The digest over everything up to this row, not finished. Each row carries it, so that a
    /// replay that is stopped has the digest of what was emitted and not of what was read.
    pub digest: Sha256,
}

/// The stock between reader and scheduler.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    stock: Mutex<Stock>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Stock {
    rows: VecDeque<Planned>,
    bytes: usize,
    /// The reader is done: nothing follows.
    complete: bool,
    /// The scheduler is done: nothing is wanted any more.
    abandoned: bool,
}

/// What the scheduler found.
#[derive(Debug)]
pub(super) enum Next {
    /// `waited`: the reader had not kept up.
    Row {
        planned: Box<Planned>,
        waited: bool,
    },
    /// Nothing within the time given.
    NotYet,
    End,
}

impl ReadAhead {
    /// Adds a row, waiting for room; false if it is not wanted any more.
    fn push(&self, planned: Planned) -> bool {
        let bytes = cost(&planned.row);
        let mut stock = self.lock();
        while !stock.abandoned
            && !stock.rows.is_empty()
            && (stock.bytes + bytes > BYTES_MAX || stock.rows.len() >= ITEMS_MAX)
        {
            stock = self.emptied.wait(stock).unwrap_or_else(PoisonError::into_inner);
        }
        if stock.abandoned {
            return false;
        }
        stock.bytes += bytes;
        stock.rows.push_back(planned);
        if stock.rows.len() == 1 {
            self.filled.notify_one();
        }
        true
    }

    /// The next row; waits for the reader for at most `limit`.
    pub(super) fn next(&self, limit: Duration) -> Next {
        let mut stock = self.lock();
        let mut waited = false;
        loop {
            if let Some(planned) = stock.rows.pop_front() {
                stock.bytes -= cost(&planned.row);
                // Woken at half empty, not for each row: a wake-up costs more than a row.
                if stock.bytes <= BYTES_MAX / 2 && stock.rows.len() <= ITEMS_MAX / 2 {
                    self.emptied.notify_one();
                }
                return Next::Row { planned: Box::new(planned), waited };
            }
            if stock.complete {
                return Next::End;
            }
            if waited {
                return Next::NotYet;
            }
            waited = true;
            stock = match self.filled.wait_timeout(stock, limit) {
                Ok((stock, _)) => stock,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    pub(super) fn abandon(&self) {
        let mut stock = self.lock();
        stock.abandoned = true;
        stock.rows = VecDeque::new();
        self.emptied.notify_all();
    }

    fn complete(&self) {
        self.lock().complete = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(row: &Row) -> usize {
    let headers = row.headers.iter().flatten().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
    row.payload.len()
        + row.clear.as_ref().map_or(0, bytes::Bytes::len)
        + row.channel.len()
        + headers.sum::<usize>()
        + ROW_BYTES
}

/// Reads round after round into `ahead`; `open` starts a round. Ends with the first error.
pub(super) fn read<F, I, E>(
    ahead: &ReadAhead,
    open: F,
    sessions: &[SessionStart],
    rounds: Rounds,
) -> Result<(), PlayError>
where
    F: FnMut() -> Result<I, E>,
    I: Iterator<Item = Result<Row, E>>,
    E: StdError + Send + Sync + 'static,
{
    // Also when this thread unwinds: the scheduler must not wait for ever.
    struct Complete<'a>(&'a ReadAhead);
    impl Drop for Complete<'_> {
        fn drop(&mut self) {
            self.0.complete();
        }
    }
    let _complete = Complete(ahead);
    plan(open, sessions, rounds, |planned| ahead.push(planned))
}

/// Puts rows on the replay's time line until `emit` says that it wants no more.
///
/// Several sessions lie on one line as they did in life: by the wall clock at their starts, and by
/// their steady clocks within. A further round begins one gap after the last message of the round
/// before; the gap is the mean distance between messages, so that a loop keeps the average rate.
fn plan<F, I, E>(
    mut open: F,
    sessions: &[SessionStart],
    rounds: Rounds,
    mut emit: impl FnMut(Planned) -> bool,
) -> Result<(), PlayError>
where
    F: FnMut() -> Result<I, E>,
    I: Iterator<Item = Result<Row, E>>,
    E: StdError + Send + Sync + 'static,
{
    let offsets_ns = offsets_ns(sessions);
    let failed = |source: E| PlayError::Rows { source: Box::new(source) };
    let mut digest = Sha256::new();
    let mut index = 0;
    let mut shift_ns = 0u64;
    let mut round = 0u64;
    while rounds.includes(round) {
        let mut first_ns = None;
        let mut last_ns = 0;
        let mut messages = 0u64;
        for row in open().map_err(failed)? {
            let row = row.map_err(failed)?;
            let at_ns = offsets_ns.get(&row.session_id).copied().unwrap_or(0).saturating_add(row.elapsed_ns);
            // Never back, whatever is read: the order of the rows is the order of the replay.
            last_ns = at_ns.max(last_ns);
            first_ns.get_or_insert(at_ns);
            update(&mut digest, row.channel.as_bytes());
            update(&mut digest, &row.payload);
            let recorded_ns = last_ns.saturating_add(shift_ns);
            if !emit(Planned { row, index, recorded_ns, digest: digest.clone() }) {
                return Ok(());
            }
            index += 1;
            messages += 1;
        }
        let Some(first_ns) = first_ns else { return Ok(()) };
        let span_ns = last_ns - first_ns;
        let gap_ns = match span_ns.checked_div(messages - 1) {
            None | Some(0) => GAP_OF_ONE_NS,
            Some(mean_ns) => mean_ns,
        };
        shift_ns = shift_ns.saturating_add(span_ns).saturating_add(gap_ns);
        round += 1;
    }
    Ok(())
}

/// Where each session begins on the time line that starts with the earliest of them.
fn offsets_ns(sessions: &[SessionStart]) -> HashMap<SessionId, u64> {
    let earliest_us = sessions.iter().map(|session| session.started_at_us).min().unwrap_or(0);
    let offset_ns =
        |session: &SessionStart| session.started_at_us.abs_diff(earliest_us).saturating_mul(1_000);
    sessions.iter().map(|session| (session.session_id, offset_ns(session))).collect()
}

/// Each after its length as four bytes, big-endian, so that no two sequences hash alike.
fn update(digest: &mut Sha256, bytes: &[u8]) {
    // A payload is below 4 GiB: the journal's records are.
    digest.update((bytes.len() as u32).to_be_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::num::NonZeroU64;

    use super::*;
    use crate::player::tests::row;

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
        plan(open, sessions, rounds, |planned| {
            times.push((planned.index, planned.recorded_ns));
            times.len() < at_most
        })
        .unwrap();
        times
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

    #[test]
    fn the_digest_tells_where_one_field_ends() {
        let digest = |rows: &[(&'static str, &'static str)]| {
            let open = || {
                Ok::<_, Infallible>(rows.iter().map(|(channel, payload)| {
                    let mut row = row(0, 0, payload);
                    row.channel = (*channel).into();
                    Ok(row)
                }))
            };
            let mut last = None;
            plan(open, &[], Rounds::ONCE, |planned| {
                last = Some(planned.digest);
                true
            })
            .unwrap();
            last.unwrap().finalize()
        };
        let expected = Sha256::digest(b"\0\0\0\x01a\0\0\0\x02bc\0\0\0\0\0\0\0\x01d");
        assert_eq!(digest(&[("a", "bc"), ("", "d")]), expected);
        assert_ne!(digest(&[("ab", "c"), ("", "d")]), expected);
    }
}
