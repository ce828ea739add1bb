//! Writing: every call is one transaction, and putting the same rows twice changes nothing, so that
//! a seal that was cut can be done again.

use rusqlite::{Transaction, params};

use super::{Index, IndexError, LinkRow, PartRow, SegmentRow, SessionRow};
use crate::message::SessionId;

impl Index {
    /// Puts a session with its sources, in place of what was known about it.
    pub fn put_session(&mut self, session: &SessionRow) -> Result<(), IndexError> {
        self.write("write a session to", |tx| put_session(tx, session))
    }

    /// Puts what a manifest names, in place of what was known about the parts that it covers.
    pub fn put_part(
        &mut self,
        part: &PartRow,
        segments: &[SegmentRow],
        links: &[LinkRow],
    ) -> Result<(), IndexError> {
        self.write("write segments to", |tx| {
            let id = part.session_id.to_string();
            tx.execute(
                "DELETE FROM segment_source WHERE path IN \
                 (SELECT path FROM segment WHERE session_id = ?1 AND part BETWEEN ?2 AND ?3)",
                params![id, part.part, part.part_last],
            )?;
            for table in ["segment", "part"] {
                let sql = format!("DELETE FROM {table} WHERE session_id = ?1 AND part BETWEEN ?2 AND ?3");
                tx.execute(&sql, params![id, part.part, part.part_last])?;
            }
            tx.execute(
                "DELETE FROM link WHERE session_id = ?1 AND seq >= ?2 AND seq < ?3",
                params![id, part.seq_start as i64, part.seq_end as i64],
            )?;
            tx.execute(
                "INSERT INTO part (session_id, part, part_last, generation, seq_start, seq_end) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    id,
                    part.part,
                    part.part_last,
                    part.generation,
                    part.seq_start as i64,
                    part.seq_end as i64
                ],
            )?;
            segments.iter().try_for_each(|segment| put_segment(tx, segment))?;
            put_links(tx, links)
        })
    }

    /// Forgets a session and all that is known of it.
    pub fn remove_session(&mut self, session_id: SessionId) -> Result<(), IndexError> {
        self.write("remove a session from", |tx| {
            let id = session_id.to_string();
            tx.execute(
                "DELETE FROM segment_source WHERE path IN (SELECT path FROM segment WHERE session_id = ?1)",
                [&id],
            )?;
            for table in ["segment", "part", "link", "clip", "mark", "source", "session"] {
                tx.execute(&format!("DELETE FROM {table} WHERE session_id = ?1"), [&id])?;
            }
            Ok(())
        })
    }

    fn write(
        &mut self,
        action: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), IndexError> {
        let failed = |source| IndexError::Query { action, source };
        let tx = self.connection.transaction().map_err(failed)?;
        body(&tx).map_err(failed)?;
        tx.commit().and_then(|()| self.let_all_read()).map_err(failed)
    }
}

fn put_session(tx: &Transaction<'_>, session: &SessionRow) -> rusqlite::Result<()> {
    let id = session.session_id.to_string();
    tx.execute(
        "INSERT INTO session (session_id, name, site, started_at_us, ended_at_us, ended) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (session_id) DO UPDATE SET name = ?2, site = ?3, \
         started_at_us = ?4, ended_at_us = ?5, ended = ?6",
        params![id, session.name, session.site, session.started_at_us, session.ended_at_us, session.ended],
    )?;
    tx.execute("DELETE FROM source WHERE session_id = ?1", [&id])?;
    let mut insert = tx.prepare(
        "INSERT INTO source (session_id, position, name, vendor, settings) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (position, source) in session.sources.iter().enumerate() {
        let settings = source.settings.to_string();
        insert.execute(params![id, position as i64, source.name, source.vendor, settings])?;
    }
    tx.execute("DELETE FROM clip WHERE session_id = ?1", [&id])?;
    for clip in &session.clips {
        tx.execute(
            "INSERT OR REPLACE INTO clip (name, session_id, seq_from, seq_to) VALUES (?1, ?2, ?3, ?4)",
            params![clip.name, id, clip.seq_from as i64, clip.seq_to as i64],
        )?;
    }
    tx.execute("DELETE FROM mark WHERE session_id = ?1", [&id])?;
    for mark in &session.marks {
        tx.execute(
            "INSERT INTO mark (session_id, elapsed_ns, note) VALUES (?1, ?2, ?3)",
            params![id, mark.elapsed_ns as i64, mark.note],
        )?;
    }
    Ok(())
}

fn put_segment(tx: &Transaction<'_>, segment: &SegmentRow) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO segment (path, session_id, part, vendor, kind, date, rows, seq_min, seq_max, \
         elapsed_min_ns, elapsed_max_ns, received_min_us, received_max_us, bytes, payload_bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        segment.path,
        segment.session_id.to_string(),
        segment.part,
        segment.vendor,
        segment.kind,
        segment.date,
        segment.rows as i64,
        segment.seq_min as i64,
        segment.seq_max as i64,
        segment.elapsed_min_ns as i64,
        segment.elapsed_max_ns as i64,
        segment.received_min_us,
        segment.received_max_us,
        segment.bytes as i64,
        segment.payload_bytes as i64,
    ])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO segment_source (path, source, rows, payload_bytes, duplicates, decode_errors) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for source in &segment.sources {
        insert.execute(params![
            segment.path,
            source.source,
            source.rows as i64,
            source.payload_bytes as i64,
            source.duplicates as i64,
            source.decode_errors as i64,
        ])?;
    }
    Ok(())
}

fn put_links(tx: &Transaction<'_>, links: &[LinkRow]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO link (session_id, seq, source, connection, received_at_us, elapsed_ns, \
         event, reason, gap_ns, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for link in links {
        insert.execute(params![
            link.session_id.to_string(),
            link.seq as i64,
            link.source,
            link.connection,
            link.received_at_us,
            link.elapsed_ns as i64,
            link.event,
            link.reason,
            link.gap_ns.map(|ns| ns as i64),
            link.payload,
        ])?;
    }
    Ok(())
}
