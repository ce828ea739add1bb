//! Retention: what is older than a moment goes, or the oldest until the rest fits.
//!
//! Whole files go where they can; a file of which something stays is rewritten without the rest. Rows inside clips
//! stay. Link events and configurations stay as long as anything of their session does: they say how it was
//! recorded. A session of which nothing else is left goes whole.
//!
//! A damaged file goes with all that it held once that is old enough, as its manifest says; until then it stays, and is
//! told. So does what a manifest that cannot be read is about, until its session is over for so long that all of it is
//! old enough.

mod left;
mod oldest;
mod session;

use serde::Serialize;

use self::session::Pruning;
use super::Archive;
use super::clips::Clip;
use super::error::ArchiveError;
use super::layout::PartName;
use super::link::LINK_KIND;
use super::manifest::{ManifestFile, split_covered};
use super::rewrite::{Terms, Watch};
use super::verify::Problem;
use crate::message::SessionId;

pub use self::left::Left;
pub(super) use self::session::alone;

/// The kind that holds what a source was configured with.
const CONFIG_KIND: &str = "config";

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// What was received before this, in microseconds since the Unix epoch.
    pub before_us: Option<i64>,
    /// Of these sources, what was received before another moment than that.
    pub before_of: Vec<(String, i64)>,
    /// The oldest of what is selected, until the rest takes no more bytes.
    pub max_bytes: Option<u64>,
    /// Only of these kinds; empty: of all.
    pub kinds: Vec<String>,
    /// Only of these vendors; empty: of all.
    pub vendors: Vec<String>,
    /// Only say what would be done.
    pub dry_run: bool,
    pub terms: Terms,
}

/// What went of one session, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    pub session: String,
    pub session_id: SessionId,
    /// Nothing of it is left.
    pub whole: bool,
    pub messages: u64,
    /// Of the segments; the same whether it has been done or not.
    pub bytes: u64,
    /// Of the messages, how many were in damaged segments that went whole: nobody has read them.
    pub unread: u64,
    /// What cannot be read: segments that are not old enough to go whole, and manifests. It stays, unless the session
    /// went whole.
    pub damaged: Vec<String>,
}

/// Who is told what became of each session.
pub type Done<'a> = dyn FnMut(&str, Result<Pruned, ArchiveError>) -> Result<(), ArchiveError> + 'a;

impl Archive {
    /// Prunes all sessions that have ended and are sealed, the oldest first; tells `done` of each of which something went, and answers
    /// with what is left, where it went by bytes. The caller holds the archive's lock, and has recovered it as far as there
    /// was room.
    pub fn prune(
        &self,
        options: &PruneOptions,
        watch: &Watch<'_>,
        done: &mut dyn FnMut(Pruned),
    ) -> Result<Option<Left>, ArchiveError> {
        self.prune_each(options, watch, &mut |_, pruned| {
            done(pruned?);
            Ok(())
        })
    }

    /// The same, and `done` is told of each session, by its name, of which something went, or that failed: first what
    /// went, then why it was not all. It goes on at the next session, unless `done` hands an error back.
    pub fn prune_each(
        &self,
        options: &PruneOptions,
        watch: &Watch<'_>,
        done: &mut Done<'_>,
    ) -> Result<Option<Left>, ArchiveError> {
        let mut sessions = self.read_sidecars()?;
        let waiting: Vec<SessionId> = self.parts()?.into_iter().map(|part| part.session_id).collect();
        sessions.retain(|session| session.ended.is_some() && !waiting.contains(&session.session_id));
        sessions.sort_by_key(|session| (session.started_at_us, session.session_id));
        let at_us = options.terms.at_us();
        let (oldest, mut left) = self.oldest(&sessions, options, watch)?;
        for session in &sessions {
            let look = || {
                self.look_into_manifests(|path| {
                    PartName::of(path).is_some_and(|name| name.session_id == session.session_id)
                })
            };
            let (pruned, ended) = match look() {
                Ok(folder) => {
                    let damaged = folder.problems.iter().map(Problem::to_string).collect();
                    let (manifests, _) = split_covered(folder.manifests);
                    let clips = session.clips.clone();
                    Pruning { options, oldest: &oldest, session, clips, damaged, at_us }
                        .run(self, &manifests, watch, &mut left)
                }
                Err(error) => (None, Err(error)),
            };
            // Also of one that failed, or was interrupted, some may have gone.
            if let Some(pruned) = pruned {
                done(&session.name, Ok(pruned))?;
            }
            match ended {
                Err(ArchiveError::Interrupted) => return Err(ArchiveError::Interrupted),
                Err(error) => done(&session.name, Err(error))?,
                Ok(()) => {}
            }
            if !(watch.goes_on)() {
                return Err(ArchiveError::Interrupted);
            }
        }
        Ok(options.max_bytes.map(|_| left))
    }

    fn clips_of(&self, session_id: SessionId) -> Result<Vec<Clip>, ArchiveError> {
        Ok(self.read_sidecar(session_id)?.map(|sidecar| sidecar.clips).unwrap_or_default())
    }
}

impl PruneOptions {
    fn has_age(&self) -> bool {
        self.before_us.is_some() || !self.before_of.is_empty()
    }

    /// What was received of a source before this goes.
    fn before(&self, source: &str) -> i64 {
        let own = self.before_of.iter().find(|(name, _)| name == source).map(|(_, before_us)| *before_us);
        own.or(self.before_us).unwrap_or(i64::MIN)
    }

    /// The earliest and the latest such moment of some sources; of none, that of any.
    fn befores<'a>(&self, sources: impl Iterator<Item = &'a str>) -> (i64, i64) {
        let any = self.before_us.unwrap_or(i64::MIN);
        let wider = |(least, most): (i64, i64), before: i64| (least.min(before), most.max(before));
        sources
            .map(|source| self.before(source))
            .fold(None, |known: Option<(i64, i64)>, before| {
                Some(known.map_or((before, before), |known| wider(known, before)))
            })
            .unwrap_or((any, any))
    }

    fn befores_of(&self, file: &ManifestFile) -> (i64, i64) {
        self.befores(file.sources.iter().map(|source| source.name.as_str()))
    }

    /// Of the kinds and vendors that are asked for.
    fn names(&self, file: &ManifestFile) -> bool {
        let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        named(&self.kinds, &file.kind) && named(&self.vendors, &file.vendor)
    }

    /// What may go by itself: link events and configuration go with their session.
    fn selects(&self, file: &ManifestFile) -> bool {
        let is_kept = file.kind == LINK_KIND || (file.kind == CONFIG_KIND && self.kinds.is_empty());
        !is_kept && self.names(file)
    }
}
