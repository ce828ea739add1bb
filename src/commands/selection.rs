//! From sessions and filters as they are typed to what is scanned.

use anyhow::bail;

use super::Usage;
use crate::archive::{Archive, Bound, ScanOptions, SessionSummary, scan};
use crate::cli::Filters;
use crate::clock::Now;
use crate::message::{Row, Selection};
use crate::units::{Moment, format_time_s};

/// Names that are listed where nothing is selected.
const NAMED_MAX: usize = 12;

/// What a user chose from an archive.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Oldest first; all sessions where only a stretch of time was named.
    pub(super) sessions: Vec<SessionSummary>,
    pub(super) options: ScanOptions,
}

/// Resolves sessions and times; `now` is what `-2h` counts from.
pub(super) fn choose(
    archive: &Archive,
    names: &[String],
    filters: Filters,
    now: Now,
) -> anyhow::Result<Chosen> {
    let sessions = sessions(archive, names)?;
    let options = ScanOptions {
        sessions: sessions.iter().map(|session| session.session_id).collect(),
        from: filters.from.map(|moment| bound(moment, now)),
        to: filters.to.map(|moment| bound(moment, now)),
        selection: Selection {
            vendors: filters.vendor,
            sources: filters.source,
            kinds: filters.kind,
            devices: filters.device,
            channels: filters.channel,
        },
        data_only: true,
    };
    Ok(Chosen { sessions, options })
}

fn sessions(archive: &Archive, names: &[String]) -> anyhow::Result<Vec<SessionSummary>> {
    let mut sessions = if names.is_empty() { archive.list()? } else { Vec::new() };
    for name in names {
        sessions.push(archive.resolve(name)?);
    }
    sessions.sort_by_key(|session| (session.started_at_us, session.session_id));
    sessions.dedup_by_key(|session| session.session_id);
    Ok(sessions)
}

/// Refuses what names neither a session nor, by its times alone, a stretch of the archive; needs no
/// archive for it.
pub(super) fn check(names: &[String], filters: &Filters) -> Result<(), Usage> {
    if !names.is_empty() {
        return Ok(());
    }
    let mut moments = filters.from.iter().chain(&filters.to);
    if moments.clone().next().is_none() {
        return Err(Usage(
            "which session? Give a name, an id or `latest` (see `telereel list`), or --from and --to".into(),
        ));
    }
    if moments.any(|moment| !moment.is_absolute()) {
        return Err(Usage("a time as in `+90s` counts from a session's start: which session?".into()));
    }
    Ok(())
}

fn bound(moment: Moment, now: Now) -> Bound {
    match moment {
        Moment::At(us) => Bound::Wall(us),
        Moment::AfterStart(duration) => Bound::Elapsed(duration.as_nanos() as u64),
        Moment::BeforeNow(duration) => Bound::Wall(now.wall_us - duration.as_micros() as i64),
    }
}

impl Chosen {
    /// The first message; if there is none, the error says what there is. For before anything is done.
    pub(super) fn require_some(&self, archive: &Archive) -> anyhow::Result<Row> {
        match scan(archive, &self.options)?.next() {
            Some(first) => Ok(first?),
            None => bail!(self.what_there_is(archive)?),
        }
    }

    /// For a selection that is empty: what could have been selected.
    fn what_there_is(&self, archive: &Archive) -> anyhow::Result<String> {
        let (mut sources, mut kinds, mut devices) = (Vec::new(), Vec::new(), Vec::new());
        for session in &self.sessions {
            let info = archive.info(session.session_id)?;
            sources.extend(info.source_counts.iter().map(|s| format!("{} ({})", s.name, s.vendor)));
            kinds.extend(info.kinds.iter().map(|kind| kind.kind.clone()));
            devices.extend(info.devices.iter().map(|device| device.device_id.clone()));
        }
        let start = self.sessions.iter().map(|s| s.started_at_us).min();
        let end = self.sessions.iter().map(|s| s.started_at_us + (s.duration_ns / 1_000) as i64).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Ok("nothing is selected: the archive holds no session yet".into());
        };
        let mut text = format!(
            "nothing is selected; there is:\ntime     {} to {}",
            format_time_s(start),
            format_time_s(end)
        );
        if self.sessions.iter().any(|session| session.ended_at_us.is_none()) {
            text.push_str(", and what is being recorded, once it is sealed");
        }
        for (what, names) in [("sources", sources), ("kinds", kinds), ("devices", devices)] {
            text.push_str(&format!("\n{what:<8} {}", listed(names)));
        }
        Ok(text)
    }
}

fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    match names.len() {
        0 => "none".to_owned(),
        count if count > NAMED_MAX => {
            names.truncate(NAMED_MAX);
            format!("{}, … ({count})", names.join(", "))
        }
        _ => names.join(", "),
    }
}
