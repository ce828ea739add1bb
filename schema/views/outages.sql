-- When a source was not connected: from a `disconnected`, or from the session's first `connecting` or `refused`
-- where attempts fail from the start, to the next `connected` or `reconnected` of the same source. A
-- `connected` that a `refused` follows was none. `ended_at` is null where the session ended first.
-- Silence outside of these is silence.
CREATE OR REPLACE VIEW outages AS
WITH events AS (
    SELECT vendor, site, source, session_id, seq, received_at, elapsed_ns,
        payload_text ->> '$.event' AS event,
        payload_text ->> '$.topics' AS topics,
        payload_text ->> '$.flowing' AS flowing,
        coalesce(TRY_CAST(payload_text ->> '$.planned' AS BOOLEAN), false) AS planned
    FROM (
{rows}
    )
), attempts AS (
    SELECT *, lead(event) OVER (PARTITION BY session_id, source ORDER BY seq) AS event_after
    FROM events
    WHERE flowing IS NULL -- Of a second connection beside the one that flows.
        AND (event IN ('connecting', 'continued', 'connected', 'reconnected', 'disconnected')
            -- A topic may be refused on a connection that goes on.
            OR (event = 'refused' AND topics IS NULL))
), steps AS (
    SELECT *,
        event IN ('continued', 'connected', 'reconnected') AS is_up,
        lag(event) OVER session_order AS event_before,
        lead(event) OVER session_order AS next_event
    FROM attempts
    WHERE NOT (event = 'connected' AND event_after IS NOT DISTINCT FROM 'refused')
    WINDOW session_order AS (PARTITION BY session_id, source ORDER BY seq)
), changes AS (
    SELECT *,
        lag(is_up) OVER session_order AS was_up,
        min(received_at) FILTER (is_up) OVER later AS connected_at,
        min(elapsed_ns) FILTER (is_up) OVER later AS connected_ns
    FROM steps
    -- Of the attempts only a first one that fails, or is all that there is, begins an outage.
    WHERE event <> 'connecting'
        OR (event_before IS NULL AND (next_event IS NULL OR next_event IN ('refused', 'connecting')))
    WINDOW
        session_order AS (PARTITION BY session_id, source ORDER BY seq),
        later AS (PARTITION BY session_id, source ORDER BY seq
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT vendor, site, source, received_at AS started_at, connected_at AS ended_at,
    (connected_ns - elapsed_ns) / 1e9 AS duration_s, planned, session_id
FROM changes
WHERE NOT is_up AND coalesce(was_up, true);
