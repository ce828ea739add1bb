//! Finding in the recording what a replay is to step to.

use std::sync::Arc;

use crate::archive::{Archive, Filter, ScanOptions, scan};
use crate::cli::Replay;
use crate::commands::selection::Chosen;
use crate::console::replay::{Find, Search};
use crate::message::SessionId;
use crate::player::Position;

/// Looks among what the replay itself has chosen.
pub(super) fn find(archive: &Archive, chosen: &Chosen, args: &Replay) -> Arc<Find> {
    let (archive, chosen, condition) = (archive.clone(), chosen.clone(), args.filters.filter.clone());
    Arc::new(move |search| look(&archive, &chosen, condition.clone(), search))
}

fn look(
    archive: &Archive,
    chosen: &Chosen,
    condition: Option<Filter>,
    Search { condition: wanted, selection, from_ns, after }: &Search,
) -> Result<Option<(SessionId, u64)>, String> {
    let mut filter: Filter = wanted.parse().map_err(|error| format!("where, {error}"))?;
    if let Some(condition) = condition {
        filter = filter.and(condition);
    }
    let failed = |error: crate::archive::ArchiveError| error.to_string();
    let columns = archive.column_types().map_err(failed)?;
    let predicate = Some(filter.bind(&columns).map_err(|error| format!("where, {error}"))?);
    let options = ScanOptions { predicate, ..chosen.options_at(Position::At(*from_ns)) };
    for row in scan(archive, &options).map_err(failed)? {
        let row = row.map_err(failed)?;
        let was_sent = after.is_some_and(|(session_id, seq)| session_id == row.session_id && row.seq <= seq);
        if !was_sent && selection.matches(&row) {
            return Ok(Some((row.session_id, row.seq)));
        }
    }
    Ok(None)
}
