-- When a source was not connected: from a `disconnected` to the next `connected` or `reconnected` of the
-- same source. `ended_at` is null where the session ended first. Silence outside of these is silence.
CREATE OR REPLACE VIEW outages AS
WITH events AS (
    SELECT vendor, site, source, session_id, seq, received_at, elapsed_ns,
        payload_text ->> '$.event' AS event,
        coalesce(TRY_CAST(payload_text ->> '$.planned' AS BOOLEAN), false) AS planned
    FROM (
{rows}
    )
), changes AS (
    SELECT *,
        lag(event) OVER session_order AS event_before,
        min(received_at) FILTER (event <> 'disconnected') OVER later AS connected_at,
        min(elapsed_ns) FILTER (event <> 'disconnected') OVER later AS connected_ns
    FROM events
    WHERE event IN ('connected', 'reconnected', 'disconnected')
    WINDOW
        session_order AS (PARTITION BY session_id, source ORDER BY seq),
        later AS (PARTITION BY session_id, source ORDER BY seq
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT vendor, site, source, received_at AS started_at, connected_at AS ended_at,
    (connected_ns - elapsed_ns) / 1e9 AS duration_s, planned
FROM changes
WHERE event = 'disconnected' AND event_before IS DISTINCT FROM 'disconnected';
