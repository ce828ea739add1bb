//! Starting a recording: everything that can be refused is, before anything is written.

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::Recorder;
use super::lineup::{self, Lineup, Rooms};
use super::sealer::{self, Sealing};
use super::status::{Running, Sessions, Sources, StatusSource};
use super::upkeep::{self, Calendar, Keeping, Plan, Upkeep};
use super::webhook::{self, Doors, Room};
use crate::archive::{self, Archive, ArchiveError, Lock, RecoverReport, SealingBytes};
use crate::clock::{Clock, Now};
use crate::config::memory::Shares;
use crate::config::{Config, TlsFiles};
use crate::disk::{Disk, RealDisk};
use crate::journal::{self, JournalError, JournalOptions};
use crate::message::{SessionHeader, SessionId, SourceHeader};
use crate::secret::Secret;
use crate::transport::http_server::{self, ListenError, Places, ServerTls};
use crate::transport::quota::{Quota, QuotaBytes};
use crate::transport::tls::{self, TlsError};
use crate::vendors;

/// Makes the routes of the `[console]` listener; they need its token, if one is configured.
pub type ConsoleRoutes = fn(StatusSource, Option<Secret>) -> axum::Router;

/// What a start is told beside the configuration.
#[derive(Default)]
pub struct StartOptions {
    /// The session's name; none: named after its start.
    pub session: Option<String>,
    pub clock: Clock,
    /// None: the console's listener is not opened.
    pub console: Option<ConsoleRoutes>,
    pub inherited: Inherited,
    /// None: the system's. A test's own may be full, slow or read-only.
    pub disk: Option<Arc<dyn Disk>>,
}

/// Listeners that are open already and are served in place of the configured addresses.
#[derive(Debug, Default)]
pub struct Inherited {
    pub webhooks: Option<StdTcpListener>,
    pub console: Option<StdTcpListener>,
}

impl fmt::Debug for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartOptions").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Why a recording could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot listen for webhooks (webhooks.listen in the configuration)")]
    ListenWebhooks { source: ListenError },
    #[error("cannot listen for status and console (console.listen in the configuration)")]
    ListenConsole { source: ListenError },
    #[error(
        "console.listen = \"{listen}\" can be reached from other machines: set console.token, or listen on 127.0.0.1"
    )]
    TokenNeeded { listen: String },
    #[error("{of}")]
    Tls { of: String, source: TlsError },
    #[error("sources `{first}` and `{second}` have the same path {path}: give each its own")]
    SamePath { first: String, second: String, path: String },
    #[error("no [[source]] is configured: there is nothing to record")]
    NoSources,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(
        "the journal failed; what was acknowledged is safe in it: mend the cause (a full disk needs room), \
         then `telereel recover` seals it"
    )]
    Journal { source: JournalError },
    #[error("the system gives no random numbers")]
    Random { source: rand::rngs::SysError },
    #[error("cannot start a thread")]
    Thread { source: std::io::Error },
    #[error("the sealing thread died; the data is in the journal, `telereel recover` seals it")]
    SealerDied,
    #[error("the recording is ending: the configuration is not read anew")]
    Ending,
    #[error("stopped before everything was sealed; the data is in the journal, `telereel recover` seals it")]
    Aborted,
}

impl Recorder {
    /// Starts recording. Listeners are bound and files of the configuration read first; then the
    /// archive is opened (or made) and locked, what a crash left is sealed, and the session begins.
    pub async fn start(config: &Config, options: StartOptions) -> Result<Self, RecordError> {
        if config.sources.is_empty() {
            return Err(RecordError::NoSources);
        }
        // A second recorder has the first one's ports as well: told of those, its user would mend the
        // wrong thing.
        if let Ok(archive) = Archive::open(&config.archive.path)
            && archive.is_locked()
        {
            archive.lock()?;
        }
        let to_read = config.sources.clone();
        let setups = run_blocking(move || lineup::set_up(&to_read)).await??;
        check_paths(config)?;
        let Inherited { webhooks, console } = options.inherited;
        let webhooks = bind_webhooks(config, webhooks).await?;
        let console = match options.console {
            Some(routes) => Some((bind_console(config, console).await?, routes)),
            None => None,
        };
        for source in &config.sources {
            for warning in source.warnings() {
                tracing::warn!("{}: {warning}", source.name);
            }
        }
        let clock = options.clock;
        let rng = StdRng::try_from_rng(&mut SysRng).map_err(|source| RecordError::Random { source })?;

        // From here on something is written.
        let shares = Shares::of(config.limits.memory, &config.sources);
        let Opened { archive, lock, recovered, newest_us, before } =
            open_archive(config, &shares, options.disk).await?;
        let lock = Arc::new(lock);
        let headers: Vec<SourceHeader> = config.sources.iter().map(vendors::source_header).collect();
        let started = clock.now();
        let site = &config.archive.site;
        let mut header = new_header(options.session.as_deref(), site, headers.clone(), started, before)?;
        let begun = archive.clone();
        let header = run_blocking(move || begun.begin_session(&mut header).map(|()| header)).await??;

        let journal_options = JournalOptions {
            dir: archive.layout().journal(),
            sync_interval: config.archive.sync_interval,
            part_max_bytes: config.archive.segment_max_bytes,
            part_max_age: config.archive.segment_max_age,
            queue_max_bytes: shares.queue,
            min_free_disk: config.archive.min_free_disk,
        };
        let disk = Arc::clone(archive.disk());
        let (mut journal, handle) =
            journal::start(disk, clock.clone(), journal_options, header.clone(), started.steady_ns)
                .map_err(|source| RecordError::Journal { source })?;
        let sealing = Arc::new(Sealing::new(clock.clone()));
        let parts = journal.closed_parts().ok_or(RecordError::SealerDied)?;
        let sealed = sealer::start(archive.clone(), Arc::clone(&lock), parts, Arc::clone(&sealing))
            .map_err(|source| RecordError::Thread { source })?;

        let keeping = Arc::new(Keeping::new(Plan::of(config)));
        let upkeep = Upkeep::new(archive.clone(), Arc::clone(&keeping), Calendar::new(started, newest_us));
        let running = StatusSource::new(Running {
            clock: clock.clone(),
            root: archive.root().to_owned(),
            archive,
            started,
            journal: handle,
            queue_bytes_max: shares.queue as u64,
            min_free_disk: config.archive.min_free_disk,
            sealing,
            sources: Mutex::new(Sources::new(&headers)),
            sessions: Mutex::new(Sessions::new(header, started.steady_ns)),
            keeping,
        });
        let looked_at = running.clone();
        let upkeep = upkeep::start(upkeep, lock, clock.clone(), move || looked_at.load())
            .map_err(|source| RecordError::Thread { source })?;

        let doors = Doors::default();
        let quota = Quota::new(QuotaBytes {
            message: shares.message,
            large: shares.large,
            queued: shares.queued,
            held: shares.held,
        });
        let rooms = Rooms { quota, bodies_of_source: bodies_of_source(config, shares.bodies) };
        let started = Lineup::start(running.clone(), options.session, setups, doors.clone(), rooms, rng);
        let (requests, asked) = mpsc::channel(1);
        let end = CancellationToken::new();
        let lineup = tokio::spawn(started.run(config.archive.session_roll, asked, end.clone()));

        let mut recorder = Self {
            recovered,
            places: Places::at_most(shares.places),
            bodies: Room::of(shares.bodies),
            webhooks_at: None,
            console_at: None,
            config: config.clone(),
            lineup,
            requests,
            end,
            doors,
            webhooks_tls: ServerTls::default(),
            console_tls: ServerTls::default(),
            webhooks: None,
            console: None,
            stop_webhooks: CancellationToken::new(),
            stop_console: CancellationToken::new(),
            running,
            journal,
            sealed,
            upkeep,
        };
        if let Some(bound) = webhooks {
            recorder.serve_webhooks(bound);
        }
        if let Some((Bound { listener, at, tls }, routes)) = console {
            let router = routes(recorder.running.clone(), config.console.token.clone());
            let places = recorder.places.clone();
            recorder.console_at = Some(at);
            recorder.console_tls.exchange(tls);
            let (tls, stop) = (recorder.console_tls.clone(), recorder.stop_console.clone());
            recorder.console =
                Some(tokio::spawn(http_server::serve_within(listener, tls, router, stop, places)));
        }
        Ok(recorder)
    }

    /// Receives webhooks from now on.
    pub(super) fn serve_webhooks(&mut self, Bound { listener, at, tls }: Bound) {
        let (doors, clock) = (self.doors.clone(), self.running.clock().clone());
        let router = webhook::router(doors, self.config.webhooks.max_body, self.bodies.clone(), clock);
        let places = self.places.clone();
        self.webhooks_at = Some(at);
        self.webhooks_tls.exchange(tls);
        let (tls, stop) = (self.webhooks_tls.clone(), self.stop_webhooks.clone());
        self.webhooks = Some(tokio::spawn(http_server::serve_patiently(listener, tls, router, stop, places)));
    }
}

/// A listener that is bound, with its certificate read.
pub(super) struct Bound {
    listener: TcpListener,
    at: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

impl Bound {
    async fn new(
        listen: &str,
        inherited: Option<StdTcpListener>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, ListenError> {
        let other = |source| ListenError::Other { address: listen.to_owned(), source };
        let listener = match inherited {
            None => http_server::bind(listen).await?,
            Some(listener) => {
                listener.set_nonblocking(true).map_err(other)?;
                TcpListener::from_std(listener).map_err(other)?
            }
        };
        let at = listener.local_addr().map_err(other)?;
        Ok(Self { listener, at, tls })
    }
}

/// Refuses two sources on one path; whether there is any with a path.
pub(super) fn check_paths(config: &Config) -> Result<bool, RecordError> {
    let mut by_path: HashMap<&str, &str> = HashMap::new();
    for source in &config.sources {
        let Some(path) = source.vendor.webhook_path() else { continue };
        if let Some(first) = by_path.insert(path.trim_end_matches('/'), &source.name) {
            let (first, second) = (first.to_owned(), source.name.clone());
            return Err(RecordError::SamePath { first, second, path: path.to_owned() });
        }
    }
    Ok(!by_path.is_empty())
}

/// None if nobody pushes to this recorder. A listener that was handed in is served all the same: whoever comes there
/// is told that nobody receives, and need not wait for an answer.
pub(super) async fn bind_webhooks(
    config: &Config,
    inherited: Option<StdTcpListener>,
) -> Result<Option<Bound>, RecordError> {
    if !check_paths(config)? && inherited.is_none() {
        return Ok(None);
    }
    let tls = server_tls("webhooks.tls", config.webhooks.tls.as_ref())?;
    let bound = Bound::new(&config.webhooks.listen, inherited, tls).await;
    bound.map(Some).map_err(|source| RecordError::ListenWebhooks { source })
}

async fn bind_console(config: &Config, inherited: Option<StdTcpListener>) -> Result<Bound, RecordError> {
    let tls = server_tls("console.tls", config.console.tls.as_ref())?;
    let listen = &config.console.listen;
    let bound = Bound::new(listen, inherited, tls).await;
    let bound = bound.map_err(|source| RecordError::ListenConsole { source })?;
    if !bound.at.ip().is_loopback() && config.console.token.is_none() {
        return Err(RecordError::TokenNeeded { listen: listen.clone() });
    }
    Ok(bound)
}

pub(super) fn server_tls(
    of: &str,
    files: Option<&TlsFiles>,
) -> Result<Option<Arc<ServerConfig>>, RecordError> {
    let Some(files) = files else { return Ok(None) };
    let config = tls::server_config(&files.cert, &files.key);
    config.map(Some).map_err(|source| RecordError::Tls { of: of.to_owned(), source })
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

/// What the bodies under way to one source may take of what all may: a quarter, and two of the longest in any case.
fn bodies_of_source(config: &Config, bodies: usize) -> usize {
    let longest = usize::try_from(config.webhooks.max_body).unwrap_or(usize::MAX);
    (bodies / 4).max(longest.saturating_mul(2)).min(bodies)
}

/// Runs what waits for the disk where it holds up no connection.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RecordError> {
    let thread = |error: tokio::task::JoinError| RecordError::Thread { source: error.into() };
    tokio::task::spawn_blocking(work).await.map_err(thread)
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
