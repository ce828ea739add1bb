//! What a recording needs of the disk to begin: an archive that is ours, what a crash left sealed, a session, its journal.

use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};

use super::start::{RecordError, run_blocking};
use crate::archive::{self, Archive, Lock, RecoverReport, SealingBytes};
use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::config::memory::Shares;
use crate::disk::{Disk, RealDisk};
use crate::journal::{self, Journal, JournalHandle, JournalOptions};
use crate::message::{SessionHeader, SessionId, SourceHeader};

/// A session that has begun.
pub(super) struct Begun {
    pub(super) archive: Archive,
    pub(super) lock: Lock,
    pub(super) recovered: RecoverReport,
    pub(super) newest_us: Option<i64>,
    pub(super) started: Now,
    pub(super) header: SessionHeader,
    pub(super) journal: Journal,
    pub(super) handle: JournalHandle,
}

/// Opens the archive, seals what a crash has left, and begins a session. Where that fails it can be done again, however
/// often: of a session that could not begin, nothing is left.
pub(super) async fn begin(
    config: &Config,
    shares: &Shares,
    sources: &[SourceHeader],
    session: Option<&str>,
    clock: &Clock,
    disk: Option<Arc<dyn Disk>>,
) -> Result<Begun, RecordError> {
    let Opened { archive, lock, recovered, newest_us, before } = open_archive(config, shares, disk).await?;
    let journal_options = JournalOptions {
        dir: archive.layout().journal(),
        sync_interval: config.archive.sync_interval,
        part_max_bytes: config.archive.segment_max_bytes,
        part_max_age: config.archive.segment_max_age,
        queue_max_bytes: shares.queue,
        min_free_disk: config.archive.min_free_disk,
    };
    let started = clock.now();
    let mut header = new_header(session, &config.archive.site, sources.to_vec(), started, before)?;
    let (begun, clock) = (archive.clone(), clock.clone());
    let (header, (journal, handle)) = run_blocking(move || {
        let disk = Arc::clone(begun.disk());
        begun.begin_session(&mut header)?;
        let journal = journal::start(disk, clock, journal_options, header.clone(), started.steady_ns);
        let journal = journal.map_err(|source| {
            begun.take_back_session(header.session_id);
            RecordError::Journal { source }
        })?;
        Ok::<_, RecordError>((header, journal))
    })
    .await??;
    Ok(Begun { archive, lock, recovered, newest_us, started, header, journal, handle })
}

/// An archive that is ours, and as good as it gets.
struct Opened {
    archive: Archive,
    lock: Lock,
    recovered: RecoverReport,
    /// When the newest of what it holds was received.
    newest_us: Option<i64>,
    /// The session that began last.
    before: Option<SessionId>,
}

async fn open_archive(
    config: &Config,
    shares: &Shares,
    disk: Option<Arc<dyn Disk>>,
) -> Result<Opened, RecordError> {
    let root: PathBuf = config.archive.path.clone();
    let site = config.archive.site.clone();
    let group_readable = config.archive.group_readable;
    let disk = disk.unwrap_or_else(|| Arc::new(RealDisk { group_readable }));
    let sealing = SealingBytes {
        rows_waiting: shares.rows_waiting,
        batches: shares.batches,
        row_groups: shares.row_groups,
    };
    run_blocking(move || {
        let archive = Archive::create_or_open_on(disk, &root, &site)?.sealing_within(sealing);
        let lock = archive.lock()?;
        let recovered = archive::recover(&archive)?;
        let newest_us = archive.newest_received_us()?;
        let before = archive.newest_session()?;
        Ok(Opened { archive, lock, recovered, newest_us, before })
    })
    .await?
}

/// A session that begins now, after all others. Without a name of the user's it is named after its start.
pub fn new_header(
    name: Option<&str>,
    site: &str,
    sources: Vec<SourceHeader>,
    now: Now,
    before: Option<SessionId>,
) -> Result<SessionHeader, RecordError> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|source| RecordError::Random { source })?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => named_after(now.wall_us),
    };
    Ok(SessionHeader {
        session_id: SessionId::after(before, now.wall_us, rng.random()),
        name,
        site: site.to_owned(),
        started_at_us: now.wall_us,
        sources,
    })
}

/// `2026-11-22T014951Z`: sorts, and needs no quotes in a shell or a file name.
fn named_after(wall_us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(wall_us) {
        Some(time) => time.format("%Y-%m-%dT%H%M%SZ").to_string(),
        None => "session".to_owned(),
    }
}
