//! Starting a recording: everything that can be refused is, before anything is written.

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::Recorder;
use super::begin::{Begun, begin};
use super::lineup::{self, Lineup, Rooms};
use super::reached;
use super::sealer::{self, Sealing};
use super::stats::DamageStatus;
use super::status::{Running, Sessions, Sources, StatusSource};
use super::upkeep::{self, Calendar, Keeping, Plan, Upkeep};
use super::waiting::Waiting;
use super::webhook::{self, Doors, Room};
use crate::archive::{Archive, ArchiveError, is_for_room};
use crate::clock::Clock;
use crate::config::memory::Shares;
use crate::config::{Config, TlsFiles};
use crate::disk::Disk;
use crate::journal::JournalError;
use crate::message::SourceHeader;
use crate::secret::Secret;
use crate::transport::dial::chain;
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
    /// Cancelled, a start that waits for room on the disk ends, with what it could not write.
    pub give_up: CancellationToken,
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
    /// archive is opened (or made) and locked, what a crash left is sealed, and the session begins. While the disk is full
    /// or read-only, it listens and waits.
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
        let headers: Vec<SourceHeader> = config.sources.iter().map(vendors::source_header).collect();
        let is_encrypted = config.webhooks.tls.is_some() || config.console.tls.is_some();
        let places = Places::at_most(if is_encrypted { shares.places_with_tls() } else { shares.places });
        let begin =
            || begin(config, &shares, &headers, options.session.as_deref(), &clock, options.disk.clone());
        let mut waiting: Option<Waiting> = None;
        let begun = loop {
            let error = match begin().await {
                Err(error) if is_for_room(&error) => error,
                // Somebody makes room.
                Err(error @ RecordError::Archive(ArchiveError::Locked { .. })) if waiting.is_some() => error,
                begun => break begun,
            };
            let waits = match &mut waiting {
                Some(waits) => waits,
                None => {
                    tracing::error!("{}: the recording begins when there is room", chain(&error));
                    let console = console.as_ref().map(|(bound, _)| bound);
                    let answers = Waiting::answer(webhooks.as_ref(), console, &places);
                    waiting.insert(answers.map_err(|source| RecordError::Thread { source })?)
                }
            };
            if !waits.wait(&options.give_up).await {
                break Err(error);
            }
        };
        if let Some(waiting) = waiting {
            waiting.end().await;
        }
        let Begun { archive, lock, recovered, newest_us, started, header, mut journal, handle } = begun?;
        let lock = Arc::new(lock);
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
            damage: DamageStatus::of(&recovered),
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
        tokio::spawn(reached::note(running.clone(), end.clone()));
        let lineup = tokio::spawn(started.run(config.archive.session_roll, asked, end.clone()));

        let mut recorder = Self {
            recovered,
            places,
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
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Bound {
    /// A second listener on the same socket.
    pub(super) fn another(&self) -> std::io::Result<TcpListener> {
        let socket = std::os::fd::AsFd::as_fd(&self.listener).try_clone_to_owned()?;
        TcpListener::from_std(socket.into())
    }

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

/// What the bodies under way to one source may take of what all may: a quarter, or two of the longest; but another
/// source's longest has room beside them.
fn bodies_of_source(config: &Config, bodies: usize) -> usize {
    let longest = usize::try_from(config.webhooks.max_body).unwrap_or(usize::MAX);
    (bodies / 4).max(longest.saturating_mul(2)).min(bodies.saturating_sub(longest)).max(1)
}

/// Runs what waits for the disk where it holds up no connection.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RecordError> {
    let thread = |error: tokio::task::JoinError| RecordError::Thread { source: error.into() };
    tokio::task::spawn_blocking(work).await.map_err(thread)
}
