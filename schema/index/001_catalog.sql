-- The catalog of an archive: what is where, so that nothing has to be searched for in the files.
--
-- Everything here is derived: sessions from `sessions/*.json`, segments from `manifests/*.json`, link
-- events from the segments of kind `link`. `telereel reindex` makes it again. Any SQLite client may
-- read it while a recording runs (WAL); only Telereel writes it.
--
-- Units end the names: `_us` microseconds since the Unix epoch (UTC), `_ns` nanoseconds on the
-- session's steady clock since its start.

-- One recording, from start to stop.
CREATE TABLE session (
    session_id    TEXT PRIMARY KEY,   -- UUIDv7: sorts by the time it was made
    name          TEXT NOT NULL,      -- unique within the archive
    site          TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    ended_at_us   INTEGER,            -- null while recording, and after a crash until recovery
    ended         TEXT                -- 'stopped', or 'recovered' where a crash ended it; null as above
) WITHOUT ROWID;
CREATE INDEX session_name ON session (name);

-- One configured vendor connection of a session.
CREATE TABLE source (
    session_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
    position   INTEGER NOT NULL,      -- order in the configuration, from 0
    name       TEXT NOT NULL,         -- the column `source` of the segments
    vendor     TEXT NOT NULL,
    settings   TEXT NOT NULL,         -- JSON: the effective options, without secrets
    PRIMARY KEY (session_id, position)
) WITHOUT ROWID;

-- One sealed Parquet file: all messages of one kind and day out of one journal part.
CREATE TABLE segment (
    path            TEXT PRIMARY KEY, -- relative to the archive, `data/vendor=…/kind=…/date=…/….parquet`
    session_id      TEXT NOT NULL,
    part            INTEGER NOT NULL, -- the journal part it was sealed from; parts follow one another in seq
    vendor          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    date            TEXT NOT NULL,    -- UTC date of received_at
    rows            INTEGER NOT NULL,
    seq_min         INTEGER NOT NULL,
    seq_max         INTEGER NOT NULL, -- inclusive; other kinds' files hold the numbers between
    elapsed_min_ns  INTEGER NOT NULL,
    elapsed_max_ns  INTEGER NOT NULL,
    received_min_us INTEGER NOT NULL,
    received_max_us INTEGER NOT NULL,
    bytes           INTEGER NOT NULL, -- of the file
    payload_bytes   INTEGER NOT NULL  -- of the payloads before compression
) WITHOUT ROWID;
CREATE INDEX segment_session ON segment (session_id, part);

-- What each source contributed to a segment.
CREATE TABLE segment_source (
    path          TEXT NOT NULL REFERENCES segment ON DELETE CASCADE,
    source        TEXT NOT NULL,
    rows          INTEGER NOT NULL,
    payload_bytes INTEGER NOT NULL,
    duplicates    INTEGER NOT NULL,   -- rows with a duplicate_of
    decode_errors INTEGER NOT NULL,   -- rows with a decode_error
    PRIMARY KEY (path, source)
) WITHOUT ROWID;

-- What happened to the connections themselves: the rows of kind `link`.
CREATE TABLE link (
    session_id     TEXT NOT NULL,
    seq            INTEGER NOT NULL,
    source         TEXT NOT NULL,
    connection     INTEGER NOT NULL,  -- the n-th connection of the source in this session, from 0
    received_at_us INTEGER NOT NULL,
    elapsed_ns     INTEGER NOT NULL,
    event          TEXT NOT NULL,     -- connecting connected subscribed renewed refused stalled disconnected …
    reason         TEXT,
    gap_ns         INTEGER,           -- how long nothing was received, with `reconnected`
    payload        TEXT NOT NULL,     -- the row's payload, a JSON object
    PRIMARY KEY (session_id, seq)
) WITHOUT ROWID;

-- A named stretch of a session: seq_from <= seq < seq_to.
CREATE TABLE clip (
    name       TEXT PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
    seq_from   INTEGER NOT NULL,
    seq_to     INTEGER NOT NULL
) WITHOUT ROWID;

-- A note at a moment of a session.
CREATE TABLE mark (
    session_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
    elapsed_ns INTEGER NOT NULL,
    note       TEXT NOT NULL
);
CREATE INDEX mark_session ON mark (session_id, elapsed_ns);
