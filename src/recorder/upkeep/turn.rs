//! Upkeep by turns: each is one job, which neither sleeps nor reads a clock of its own.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::{Calendar, Doing, Keeping, Plan};
use crate::archive::{Archive, ArchiveError, CompactOptions, PruneOptions, Watch};
use crate::clock::Now;
use crate::message::SessionId;
use crate::recorder::rfc3339;
use crate::transport::dial::chain;
use crate::units::{counted, human_size};

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is due.
    Idle,
    /// A job is done; there may be more.
    Done,
    /// A job was taken back, and is the next one again.
    GaveWay,
}

#[derive(Clone, Debug)]
enum Job {
    PruneByAge,
    /// Looks for sessions to compact.
    Survey,
    Compact(SessionId, String),
    PruneByBytes,
}

/// See the [module](super). Whoever has it has the archive's lock, and has recovered it.
#[derive(Debug)]
pub struct Upkeep {
    archive: Archive,
    keeping: Arc<Keeping>,
    calendar: Calendar,
    jobs: VecDeque<Job>,
    /// Sessions that are known to be compact; they stay so.
    compact: HashSet<SessionId>,
}

impl Upkeep {
    pub fn new(archive: Archive, keeping: Arc<Keeping>, calendar: Calendar) -> Self {
        Self { archive, keeping, calendar, jobs: VecDeque::new(), compact: HashSet::new() }
    }

    pub(super) fn keeping(&self) -> &Arc<Keeping> {
        &self.keeping
    }

    /// Does one job, if one is due. A new day puts its jobs in the place of those of the day before.
    pub fn turn(&mut self, now: Now, watch: &Watch<'_>) -> Turn {
        let plan = self.keeping.plan();
        let is_due = !plan.is_empty() && self.calendar.is_due(now, plan.settle_us);
        if plan.is_empty() {
            self.jobs.clear();
        } else if is_due {
            self.calendar.run(now);
            self.jobs = [Job::PruneByAge, Job::Survey, Job::PruneByBytes].into();
        }
        let job = self.jobs.pop_front();
        let next_us = self.calendar.next_us(now, plan.settle_us);
        self.keeping.note(|status| {
            if is_due {
                status.last_run_us = Some(now.wall_us);
                status.last_run_at = Some(rfc3339(now.wall_us));
                (status.failed_sessions, status.error) = (0, None);
            }
            status.state = job.as_ref().map_or(Doing::Idle, Job::doing);
            status.next_run_us = Some(next_us);
            status.next_run_at = Some(rfc3339(next_us));
        });
        let Some(job) = job else { return Turn::Idle };
        let done = match &job {
            Job::PruneByAge if plan.prunes_by_age() => self.prune_by_age(&plan, now, watch),
            Job::Survey if plan.compact_daily => self.survey(),
            Job::Compact(session_id, name) => self.compact(*session_id, name, &plan, now, watch),
            Job::PruneByBytes if plan.retain_max_bytes.is_some() => {
                self.prune(&plan.by_bytes(plan.terms(now)), watch)
            }
            _ => Ok(()),
        };
        let turn = match done {
            Ok(()) => Turn::Done,
            Err(ArchiveError::Interrupted) => {
                self.jobs.push_front(job);
                Turn::GaveWay
            }
            Err(error) => {
                failed(&self.keeping, &job.to_string(), &chain(&error));
                Turn::Done
            }
        };
        // Between two jobs it is at the second already, and at one that gave way still: idle is who is done for the day.
        let is_idle = self.jobs.is_empty();
        self.keeping.note(|status| {
            status.waits = turn == Turn::GaveWay;
            if is_idle {
                status.state = Doing::Idle;
            }
        });
        turn
    }

    fn prune_by_age(&self, plan: &Plan, now: Now, watch: &Watch<'_>) -> Result<(), ArchiveError> {
        let time_us = self.calendar.time_us(now);
        if time_us < now.wall_us {
            let text = format!(
                "the clock says {}, long after what was recorded last: ages are measured from {} until the next start; \
                 `telereel prune` goes by the clock",
                rfc3339(now.wall_us),
                rfc3339(time_us)
            );
            tracing::warn!("{text}");
            self.keeping.note(|status| status.error = Some(text));
        }
        self.prune(&plan.by_age(time_us, plan.terms(now)), watch)
    }

    fn prune(&self, options: &PruneOptions, watch: &Watch<'_>) -> Result<(), ArchiveError> {
        let keeping = &*self.keeping;
        let left = self.archive.prune_each(options, watch, &mut |name, pruned| {
            match pruned {
                Ok(pruned) => {
                    let (messages, bytes) = (counted(pruned.messages, "message"), human_size(pruned.bytes));
                    let whole = if pruned.whole { ", all of it" } else { "" };
                    tracing::info!("pruned {messages}, {bytes} of session {name}{whole}");
                    keeping.note(|status| {
                        status.pruned_messages += pruned.messages;
                        status.pruned_bytes += pruned.bytes;
                    });
                    if let Some(what) = pruned.damaged.first() {
                        failed(keeping, &format!("of session {name} not all can be pruned"), what);
                    }
                }
                Err(error) => failed(keeping, &format!("session {name} cannot be pruned"), &chain(&error)),
            }
            Ok(())
        })?;
        if let Some(left) = left {
            let above = left.is_above().then(|| left.to_string());
            if let Some(why) = &above {
                tracing::warn!("more is kept than retain_max_bytes allows: {why}");
            }
            keeping.note(|status| status.above_max = above);
        }
        Ok(())
    }

    /// The oldest first: they go first, too, when they are past their time.
    fn survey(&mut self) -> Result<(), ArchiveError> {
        let sessions = self.archive.list()?;
        self.compact.retain(|known| sessions.iter().any(|session| session.session_id == *known));
        let is_open = |id: &SessionId| !self.compact.contains(id);
        for session in sessions.into_iter().rev() {
            if session.ended.is_some() && session.segments > 0 && is_open(&session.session_id) {
                self.jobs.push_front(Job::Compact(session.session_id, session.name));
            }
        }
        Ok(())
    }

    fn compact(
        &mut self,
        session_id: SessionId,
        name: &str,
        plan: &Plan,
        now: Now,
        watch: &Watch<'_>,
    ) -> Result<(), ArchiveError> {
        let options = CompactOptions { terms: plan.terms(now), ..CompactOptions::default() };
        let compacted = self.archive.compact(session_id, options, watch)?;
        self.compact.insert(session_id);
        if !compacted.already {
            let (before, after) = (compacted.segments_before, compacted.segments_after);
            tracing::info!("compacted session {name}: {before} files became {after}");
            self.keeping.note(|status| status.compacted_sessions += 1);
        }
        Ok(())
    }
}

fn failed(keeping: &Keeping, what: &str, why: &str) {
    let text = format!("{what}: {why}");
    tracing::warn!("upkeep passes over it until tomorrow: {text}");
    keeping.note(|status| {
        status.failed_sessions += 1;
        status.error.get_or_insert(text);
    });
}

impl Job {
    fn doing(&self) -> Doing {
        match self {
            Job::PruneByAge | Job::PruneByBytes => Doing::Pruning,
            Job::Survey | Job::Compact(..) => Doing::Compacting,
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Job::PruneByAge => f.write_str("pruning by age"),
            Job::Survey => f.write_str("looking for sessions to compact"),
            Job::Compact(_, name) => write!(f, "session {name} cannot be compacted"),
            Job::PruneByBytes => f.write_str("pruning by size"),
        }
    }
}
