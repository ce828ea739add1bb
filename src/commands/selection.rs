//! From sessions and filters as they are typed to what is scanned.

use anyhow::bail;

use super::Usage;
use crate::archive::{Archive, Bound, ScanOptions, SessionSummary, scan};
use crate::cli::Filters;
use crate::clock::Now;
use crate::message::{Row, Selection};
use crate::section::nearest;
use crate::units::{Moment, format_time_s, human_size};

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
        emitted_only: false,
    };
    let reversed = match (options.from, options.to) {
        (Some(Bound::Wall(from)), Some(Bound::Wall(to))) => from >= to,
        (Some(Bound::Elapsed(from)), Some(Bound::Elapsed(to))) => from >= to,
        _ => false,
    };
    if reversed {
        return Err(Usage("--to is not after --from: nothing lies between them".into()).into());
    }
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

/// What of these sessions cannot be seen yet, and what makes it seen; none if there is nothing.
pub(super) fn unsealed(archive: &Archive, sessions: &[SessionSummary]) -> anyhow::Result<Option<String>> {
    let ids: Vec<_> = sessions.iter().map(|session| session.session_id).collect();
    let bytes = match archive.unsealed_bytes(&ids)? {
        0 => return Ok(None),
        bytes => human_size(bytes),
    };
    let names: Vec<&str> = sessions
        .iter()
        .filter(|session| archive.unsealed_bytes(&[session.session_id]).is_ok_and(|bytes| bytes > 0))
        .map(|session| session.name.as_str())
        .collect();
    let what_then = if archive.is_locked() {
        "a recorder is at work, they are sealed within segment_max_age or when it stops"
    } else {
        "no recorder is at work: `telereel recover` seals them"
    };
    Ok(Some(format!("{bytes} of {} are still in the journal and not shown: {what_then}", names.join(", "))))
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
        let (mut vendors, mut names) = (Vec::new(), Vec::new());
        for session in &self.sessions {
            let info = archive.info(session.session_id)?;
            names.extend(info.source_counts.iter().map(|source| source.name.clone()));
            vendors.extend(info.source_counts.iter().map(|source| source.vendor.clone()));
            sources.extend(info.source_counts.iter().map(|s| format!("{} ({})", s.name, s.vendor)));
            kinds.extend(info.kinds.iter().map(|kind| kind.kind.clone()));
            devices.extend(info.devices.iter().map(|device| device.device_id.clone()));
        }
        let start = self.sessions.iter().map(|s| s.started_at_us).min();
        let end = self.sessions.iter().map(|s| s.started_at_us + (s.duration_ns / 1_000) as i64).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Ok("nothing is selected: the archive holds no session yet".into());
        };
        let selection = &self.options.selection;
        let mut text = "nothing is selected".to_owned();
        for (what, wanted, there) in [
            ("source", &selection.sources, &names),
            ("vendor", &selection.vendors, &vendors),
            ("kind", &selection.kinds, &kinds),
            ("device", &selection.devices, &devices),
        ] {
            for wanted in wanted.iter().filter(|wanted| !there.contains(wanted)) {
                let near = nearest(wanted, there.iter().map(String::as_str))
                    .map(|near| format!(", did you mean `{near}`?"))
                    .unwrap_or_default();
                text.push_str(&format!("; no {what} `{wanted}`{near}"));
            }
        }
        if let Some(unsealed) = unsealed(archive, &self.sessions)? {
            text.push_str(&format!("; {unsealed}"));
        }
        text.push_str(&format!("\nthere is:\ntime     {} to {}", format_time_s(start), format_time_s(end)));
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
