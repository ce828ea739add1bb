-- The parts of a session, as the manifests that count have them. Upkeep (`compact`, `prune`, `erase`) puts one
-- in the place of several: it covers the journal parts from `part` to `part_last`.
CREATE TABLE part (
    session_id TEXT NOT NULL,
    part       INTEGER NOT NULL,
    part_last  INTEGER NOT NULL,
    generation INTEGER NOT NULL,      -- how often it was written anew; 0: as it was sealed
    seq_start  INTEGER NOT NULL,
    seq_end    INTEGER NOT NULL,      -- exclusive
    PRIMARY KEY (session_id, part)
) WITHOUT ROWID;

-- What older telereels wrote was never written anew.
INSERT INTO part SELECT session_id, part, part, 0, min(seq_min), max(seq_max) + 1 FROM segment
    GROUP BY session_id, part;
