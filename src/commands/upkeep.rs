//! What the verbs that change an archive share: nobody else writes meanwhile, what a crash left is done first,
//! Ctrl-C ends them where nothing is half done, and they ask before something goes for good.

use std::io::{BufRead as _, IsTerminal as _, stderr, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::context::Context;
use super::progress::Progress;
use super::signals::{INTERRUPTED, Signals};
use super::{Outcome, Usage};
use crate::archive::{
    Archive, ArchiveError, Lock, RecoverReport, SessionSummary, recover, recover_as_room_allows,
};
use crate::transport::dial::chain;
use crate::units::counted;

/// How soon Ctrl-C is noticed while a question waits.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// An archive that is being changed.
pub(super) struct Upkeep {
    pub(super) archive: Archive,
    _lock: Option<Lock>,
    /// How the verb ends that does what it was asked for: a loss that recovery found is not kept to the log.
    pub(super) outcome: Outcome,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
    _signals: tokio::runtime::Runtime,
}

impl Upkeep {
    /// Locks the archive and does what a crash left to be done. A dry run changes nothing and needs no lock.
    pub(super) fn begin(context: &Context, dry_run: bool) -> anyhow::Result<Self> {
        Self::begin_after(context, dry_run, recover)
    }

    /// The same for a verb that removes: on a full disk it makes the room that the rest of a recovery needs.
    pub(super) fn begin_to_remove(context: &Context, dry_run: bool) -> anyhow::Result<Self> {
        Self::begin_after(context, dry_run, recover_or_postpone)
    }

    fn begin_after(
        context: &Context,
        dry_run: bool,
        recover: fn(&Archive) -> Result<RecoverReport, ArchiveError>,
    ) -> anyhow::Result<Self> {
        let mut outcome = Outcome::Done;
        let (archive, lock) = if dry_run {
            (context.archive()?, None)
        } else {
            let archive = context.archive_to_write()?;
            let lock = archive.lock()?;
            let recovered = recover(&archive)?;
            if recovered.parts > 0 {
                let messages = counted(recovered.messages, "message");
                context.screen.note(format!("sealed {messages} that were left in the journal"));
            }
            if recovered.has_loss() {
                outcome = Outcome::Lossy;
                tracing::error!("{}; `telereel verify` tells more", recovered.loss());
            }
            (archive, Some(lock))
        };
        let interrupted = Arc::new(AtomicBool::new(false));
        let signals = catch(Arc::clone(&interrupted))?;
        Ok(Self {
            archive,
            _lock: lock,
            outcome,
            progress: Progress::spinner(context),
            interrupted,
            _signals: signals,
        })
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Asks whether to go on with `what`, and refuses where nobody can be asked. What is not a yes is an error.
    pub(super) fn confirm(&self, context: &Context, what: &str, yes: bool) -> anyhow::Result<()> {
        if yes {
            return Ok(());
        }
        if !stdin().is_terminal() || !stderr().is_terminal() {
            return Err(
                Usage(format!("this would {what}: give --yes to do it, --dry-run to see more")).into()
            );
        }
        context.screen.note(format!("this will {what}, for good. Go on? [y/N]"));
        match self.progress.hidden_while(|| self.answer())?.as_deref().map(str::trim) {
            Some("y" | "Y" | "yes") => Ok(()),
            Some(_) => bail!("not confirmed: nothing was changed"),
            None => bail!("interrupted: nothing was changed"),
        }
    }

    /// The line that is typed; none if there was Ctrl-C, of which the reading of a line says nothing.
    fn answer(&self) -> anyhow::Result<Option<String>> {
        let stdin = stdin();
        while self.goes_on() {
            let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
            match poll(&mut waiting, Some(&LOOK_AGAIN)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let mut answer = String::new();
                    stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
                    return Ok(Some(answer));
                }
                Err(error) => return Err(error).context("cannot wait for the answer"),
            }
        }
        Ok(None)
    }

    /// These sessions; without names, all.
    pub(super) fn sessions(&self, names: &[String]) -> anyhow::Result<Vec<SessionSummary>> {
        let mut sessions = if names.is_empty() { self.archive.list()? } else { Vec::new() };
        for name in names {
            let session = self.archive.resolve(name)?;
            if sessions.iter().all(|known: &SessionSummary| known.session_id != session.session_id) {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }
}

fn recover_or_postpone(archive: &Archive) -> Result<RecoverReport, ArchiveError> {
    let (recovered, postponed) = recover_as_room_allows(archive)?;
    if let Some(error) = postponed {
        tracing::warn!(
            "{}: what waits in the journal is not sealed yet, nor do its sessions end; when there is room, \
             `telereel recover` does it",
            chain(&error)
        );
    }
    Ok(recovered)
}

/// The first signal asks for an end, the second does not wait for it.
fn catch(interrupted: Arc<AtomicBool>) -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut signals = {
        let _within = runtime.enter();
        Signals::catch()?
    };
    runtime.spawn(async move {
        signals.next().await;
        interrupted.store(true, Ordering::Relaxed);
        signals.next().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(runtime)
}
