-- When nothing could come of a source; `reason` says why. Silence outside of these is silence.
--
-- `not connected`: from a `disconnected`, or from the session's first `connecting` or `refused` where attempts fail
-- from the start, to the next `connected` or `reconnected` of the same source. A `connected` that a `refused` follows
-- was none. `ended_at` is null where the session ended first; `lasted_until` then has the session's end.
--
-- `not recorded`: no recorder ran that had this source, from one session's end (after a crash, its last message) to
-- the next one's start. `planned` where it had been asked to stop. The time after the last session is none.
--
-- A source with a connection for each sensor has outages by sensor: `device_id` says which, and is null where the
-- outage is the whole source's. Connections that take over from one another while data can come (`flowing`)
-- begin and end none.
CREATE OR REPLACE VIEW outages AS
WITH events AS (
    SELECT vendor, site, source, session_id, seq, received_at, elapsed_ns,
        payload_text ->> '$.event' AS event,
        payload_text ->> '$.topics' AS topics,
        payload_text ->> '$.sn' AS device_id,
        coalesce(TRY_CAST(payload_text ->> '$.flowing' AS BOOLEAN), false) AS flowing,
        coalesce(TRY_CAST(payload_text ->> '$.planned' AS BOOLEAN), false) AS planned
    FROM (
{rows}
    )
), attempts AS (
    SELECT *, lead(event) OVER (PARTITION BY session_id, source, device_id ORDER BY seq) AS event_after
    FROM events
    WHERE NOT flowing
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
    WINDOW session_order AS (PARTITION BY session_id, source, device_id ORDER BY seq)
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
        session_order AS (PARTITION BY session_id, source, device_id ORDER BY seq),
        later AS (PARTITION BY session_id, source, device_id ORDER BY seq
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
), recordings AS (
    SELECT vendor, site, source, lead(started_at) OVER starts AS next_started_at,
        -- Of those so far, the one that ended last: they may have run side by side.
        max(coalesce(ended_at, 'infinity')) OVER starts AS recorded_until,
        arg_max(ended, coalesce(ended_at, 'infinity')) OVER starts AS ended,
        arg_max(session_id, coalesce(ended_at, 'infinity')) OVER starts AS session_id
    FROM sessions
    WINDOW starts AS (PARTITION BY vendor, site, source ORDER BY started_at, session_id)
)
SELECT change.vendor, change.site, change.source, change.received_at AS started_at, change.connected_at AS ended_at,
    (change.connected_ns - change.elapsed_ns) / 1e9 AS duration_s, change.planned, change.session_id, change.device_id,
    'not connected' AS reason, coalesce(change.connected_at, session.ended_at) AS lasted_until
FROM changes AS change
LEFT JOIN sessions AS session USING (session_id, source)
WHERE NOT change.is_up AND coalesce(change.was_up, true)
UNION ALL
SELECT vendor, site, source, recorded_until, next_started_at,
    (epoch_us(next_started_at) - epoch_us(recorded_until)) / 1e6, coalesce(ended = 'stopped', false), session_id, NULL,
    'not recorded', next_started_at
FROM recordings
WHERE next_started_at > recorded_until;
