//! Reading: whole rows, in the order in which they are used.

use std::sync::OnceLock;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{OptionalExtension, Row, params};

use super::{
    ClipRow, Index, IndexError, LinkRow, MarkRow, PartRow, SegmentRow, SegmentSourceRow, SessionRow,
    SourceRow,
};
use crate::message::SessionId;

const READ: &str = "read";

/// Type, name and text of what makes each table and index.
type Definitions = Vec<(String, String, Option<String>)>;

const SEGMENT_COLUMNS: &str = "path, session_id, part, vendor, kind, date, rows, seq_min, seq_max, elapsed_min_ns, \
     elapsed_max_ns, received_min_us, received_max_us, bytes, payload_bytes";

impl Index {
    /// All sessions, oldest first.
    pub fn sessions(&self) -> Result<Vec<SessionRow>, IndexError> {
        self.read(|| {
            let mut query = self.connection.prepare(
                "SELECT session_id, name, site, started_at_us, ended_at_us, ended FROM session \
                 ORDER BY started_at_us, session_id",
            )?;
            let mut sessions = query.query_map([], session_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
            for session in &mut sessions {
                self.complete(session)?;
            }
            Ok(sessions)
        })
    }

    /// One session.
    pub fn session(&self, session_id: SessionId) -> Result<Option<SessionRow>, IndexError> {
        self.read(|| {
            let found = self
                .connection
                .query_row(
                    "SELECT session_id, name, site, started_at_us, ended_at_us, ended FROM session \
                     WHERE session_id = ?1",
                    [session_id.to_string()],
                    session_row,
                )
                .optional()?;
            let Some(mut session) = found else { return Ok(None) };
            self.complete(&mut session)?;
            Ok(Some(session))
        })
    }

    /// A session's segments with their sources, ordered by part, kind and date.
    pub fn segments(&self, session_id: SessionId) -> Result<Vec<SegmentRow>, IndexError> {
        self.read(|| {
            let mut query = self.connection.prepare_cached(&format!(
                "SELECT {SEGMENT_COLUMNS} FROM segment WHERE session_id = ?1 \
                 ORDER BY part, vendor, kind, date, path"
            ))?;
            let mut sources = self.connection.prepare_cached(
                "SELECT source, rows, payload_bytes, duplicates, decode_errors FROM segment_source \
                 WHERE path = ?1 ORDER BY source",
            )?;
            let mut segments = query
                .query_map([session_id.to_string()], segment_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for segment in &mut segments {
                segment.sources = sources
                    .query_map([&segment.path], segment_source_row)?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
            }
            Ok(segments)
        })
    }

    /// How many sessions there are, and how many parts.
    pub fn counts(&self) -> Result<(usize, usize), IndexError> {
        self.read(|| {
            let sql = "SELECT (SELECT count(*) FROM session), \
                 (SELECT count(*) FROM part)";
            self.connection
                .query_row(sql, [], |row| Ok((unsigned(row, 0)? as usize, unsigned(row, 1)? as usize)))
        })
    }

    /// All parts, by session and part.
    pub fn parts(&self) -> Result<Vec<PartRow>, IndexError> {
        self.read(|| {
            let mut query = self.connection.prepare(
                "SELECT session_id, part, part_last, generation, seq_start, seq_end FROM part \
                 ORDER BY session_id, part",
            )?;
            query.query_map([], part_row)?.collect()
        })
    }

    /// All segments without their sources, by session and place in it.
    pub fn all_segments(&self) -> Result<Vec<SegmentRow>, IndexError> {
        self.read(|| {
            let sql =
                format!("SELECT {SEGMENT_COLUMNS} FROM segment ORDER BY session_id, part, seq_min, path");
            self.connection.prepare(&sql)?.query_map([], segment_row)?.collect()
        })
    }

    /// The paths of all segments, sorted.
    pub fn segment_paths(&self) -> Result<Vec<String>, IndexError> {
        self.read(|| {
            let mut query = self.connection.prepare("SELECT path FROM segment ORDER BY path")?;
            query.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// A session's link events in order.
    pub fn links(&self, session_id: SessionId) -> Result<Vec<LinkRow>, IndexError> {
        self.read(|| {
            let mut query = self.connection.prepare_cached(
                "SELECT session_id, seq, source, connection, received_at_us, elapsed_ns, event, reason, \
                 gap_ns, payload FROM link WHERE session_id = ?1 ORDER BY seq",
            )?;
            query.query_map([session_id.to_string()], link_row)?.collect()
        })
    }

    /// Shows every text there is, of every table.
    pub fn each_text(&self, look: &mut dyn FnMut(&[u8])) -> Result<(), IndexError> {
        self.read(|| {
            let mut tables =
                self.connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
            let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for table in tables {
                let mut query =
                    self.connection.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))?;
                let columns = query.column_count();
                let mut rows = query.query([])?;
                while let Some(row) = rows.next()? {
                    for column in 0..columns {
                        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)? {
                            look(bytes);
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// SQLite's own check of the file; the first complaint if there is one.
    pub fn integrity(&self) -> Result<Option<String>, IndexError> {
        self.complaint("PRAGMA quick_check(1)")
    }

    /// The same, which takes longer, with what is there twice for the sake of speed; and whether the tables are those
    /// that an index has.
    pub fn whole_integrity(&self) -> Result<Option<String>, IndexError> {
        if let Some(said) = self.complaint("PRAGMA integrity_check(1)")? {
            return Ok(Some(said));
        }
        static KNOWN: OnceLock<Definitions> = OnceLock::new();
        let known = match KNOWN.get() {
            Some(known) => known,
            None => {
                let new = Self::in_memory()?.definitions()?;
                KNOWN.get_or_init(|| new)
            }
        };
        Ok((self.definitions()? != *known).then(|| "its tables are not those of an index".to_owned()))
    }

    fn complaint(&self, pragma: &str) -> Result<Option<String>, IndexError> {
        self.read(|| {
            let said: String = self.connection.query_row(pragma, [], |row| row.get(0))?;
            Ok((said != "ok").then_some(said))
        })
    }

    pub(super) fn definitions(&self) -> Result<Definitions, IndexError> {
        self.read(|| {
            let sql = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name";
            let mut query = self.connection.prepare(sql)?;
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// What other tables hold of a session.
    fn complete(&self, session: &mut SessionRow) -> rusqlite::Result<()> {
        let id = session.session_id.to_string();
        session.sources = self.sources(session.session_id)?;
        let mut clips = self.connection.prepare_cached(
            "SELECT name, seq_from, seq_to FROM clip WHERE session_id = ?1 ORDER BY seq_from, name",
        )?;
        let clip = |row: &Row<'_>| {
            Ok(ClipRow { name: row.get(0)?, seq_from: unsigned(row, 1)?, seq_to: unsigned(row, 2)? })
        };
        session.clips = clips.query_map([&id], clip)?.collect::<rusqlite::Result<_>>()?;
        let mut marks = self.connection.prepare_cached(
            "SELECT elapsed_ns, note FROM mark WHERE session_id = ?1 ORDER BY elapsed_ns, rowid",
        )?;
        let mark = |row: &Row<'_>| Ok(MarkRow { elapsed_ns: unsigned(row, 0)?, note: row.get(1)? });
        session.marks = marks.query_map([&id], mark)?.collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    fn sources(&self, session_id: SessionId) -> rusqlite::Result<Vec<SourceRow>> {
        let mut query = self.connection.prepare_cached(
            "SELECT name, vendor, settings FROM source WHERE session_id = ?1 ORDER BY position",
        )?;
        query
            .query_map(params![session_id.to_string()], |row| {
                let settings: String = row.get(2)?;
                let settings = serde_json::from_str(&settings)
                    .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, e.into()))?;
                Ok(SourceRow { name: row.get(0)?, vendor: row.get(1)?, settings })
            })?
            .collect()
    }

    fn read<T>(&self, body: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, IndexError> {
        body().map_err(|source| IndexError::Query { action: READ, source })
    }
}

fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|e: uuid::Error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|v| v as u64)
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        session_id: session_id(row, 0)?,
        name: row.get(1)?,
        site: row.get(2)?,
        started_at_us: row.get(3)?,
        ended_at_us: row.get(4)?,
        ended: row.get(5)?,
        sources: Vec::new(),
        clips: Vec::new(),
        marks: Vec::new(),
    })
}

fn part_row(row: &Row<'_>) -> rusqlite::Result<PartRow> {
    Ok(PartRow {
        session_id: session_id(row, 0)?,
        part: row.get(1)?,
        part_last: row.get(2)?,
        generation: row.get(3)?,
        seq_start: unsigned(row, 4)?,
        seq_end: unsigned(row, 5)?,
    })
}

fn segment_row(row: &Row<'_>) -> rusqlite::Result<SegmentRow> {
    Ok(SegmentRow {
        path: row.get(0)?,
        session_id: session_id(row, 1)?,
        part: row.get(2)?,
        vendor: row.get(3)?,
        kind: row.get(4)?,
        date: row.get(5)?,
        rows: unsigned(row, 6)?,
        seq_min: unsigned(row, 7)?,
        seq_max: unsigned(row, 8)?,
        elapsed_min_ns: unsigned(row, 9)?,
        elapsed_max_ns: unsigned(row, 10)?,
        received_min_us: row.get(11)?,
        received_max_us: row.get(12)?,
        bytes: unsigned(row, 13)?,
        payload_bytes: unsigned(row, 14)?,
        sources: Vec::new(),
    })
}

fn segment_source_row(row: &Row<'_>) -> rusqlite::Result<SegmentSourceRow> {
    Ok(SegmentSourceRow {
        source: row.get(0)?,
        rows: unsigned(row, 1)?,
        payload_bytes: unsigned(row, 2)?,
        duplicates: unsigned(row, 3)?,
        decode_errors: unsigned(row, 4)?,
    })
}

fn link_row(row: &Row<'_>) -> rusqlite::Result<LinkRow> {
    Ok(LinkRow {
        session_id: session_id(row, 0)?,
        seq: unsigned(row, 1)?,
        source: row.get(2)?,
        connection: row.get(3)?,
        received_at_us: row.get(4)?,
        elapsed_ns: unsigned(row, 5)?,
        event: row.get(6)?,
        reason: row.get(7)?,
        gap_ns: row.get::<_, Option<i64>>(8)?.map(|v| v as u64),
        payload: row.get(9)?,
    })
}
