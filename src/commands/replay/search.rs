//! Finding in the recording what a replay is to step to.

use std::sync::Arc;

use crate::archive::{Archive, Filter, ScanOptions, scan};
use crate::cli::Replay;
use crate::commands::selection::Chosen;
use crate::console::replay::{Find, Search};
use crate::message::SessionId;
use crate::player::Position;
use crate::vendors::is_emitted;

/// Looks among what the replay itself has chosen.
pub(super) fn find(archive: &Archive, chosen: &Chosen, args: &Replay) -> Arc<Find> {
    let (archive, chosen, condition) = (archive.clone(), chosen.clone(), args.filters.filter.clone());
    Arc::new(move |search| look(&archive, &chosen, condition.clone(), search))
}

fn look(
    archive: &Archive,
    chosen: &Chosen,
    condition: Option<Filter>,
    Search { condition: wanted, selection, from_ns, to_ns, after }: &Search,
) -> Result<Option<(SessionId, u64)>, String> {
    let failed = |error: crate::archive::ArchiveError| error.to_string();
    let wanted = wanted.as_deref().map(str::parse::<Filter>).transpose();
    let wanted = wanted.map_err(|error| format!("where, {error}"))?;
    let filter = match (wanted, condition) {
        (Some(wanted), Some(condition)) => Some(wanted.and(condition)),
        (wanted, condition) => wanted.or(condition),
    };
    let predicate = match filter {
        None => None,
        Some(filter) => {
            let columns = archive.column_types().map_err(failed)?;
            Some(filter.bind(&columns).map_err(|error| format!("where, {error}"))?)
        }
    };
    let mut options = ScanOptions { predicate, ..chosen.options_at(Position::At(*from_ns)) };
    // What is named reads less, but for kinds that are emitted only where the replay itself was asked for them.
    let is_emitted = |kind: &String| is_emitted("", kind) && kind != "config";
    if options.selection.kinds.is_empty() && selection.kinds.iter().all(is_emitted) {
        options.selection.kinds.clone_from(&selection.kinds);
    }
    for row in scan(archive, &options).map_err(failed)? {
        let row = row.map_err(failed)?;
        if to_ns.is_some_and(|to_ns| chosen.recorded_ns(&row) >= to_ns) {
            break;
        }
        let was_sent = after.is_some_and(|(session_id, seq)| session_id == row.session_id && row.seq <= seq);
        if !was_sent && selection.matches(&row) {
            return Ok(Some((row.session_id, row.seq)));
        }
    }
    Ok(None)
}
