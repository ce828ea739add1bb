    -- A report says how people are, and says so again each second: an alarm is when the state of somebody becomes
    -- `suspected fall` (99) or `fall` (100), from another or at first sight. A target that was not seen for a minute,
    -- which is as long as a sensor reports unasked, is somebody else.
    SELECT vendor, site, source, session_id, seq, device_id, received_at AS raised_at, received_at,
        state_code AS alarm_code, state_name AS alarm_name,
        CAST(NULL AS DOUBLE) AS latitude, CAST(NULL AS DOUBLE) AS longitude,
        CAST(target_id AS VARCHAR) AS target_id, lag_s, kind, "date"
    FROM (
        SELECT *, lag(state_code) OVER sightings AS state_before, lag(received_at) OVER sightings AS seen_before
        FROM (
            SELECT vendor, kind, "date", site, source, session_id, seq, device_id, received_at, lag_s,
                false AS is_of_the_day_before, unnest(targets, recursive := true)
            FROM {view}
            UNION ALL
            -- Each day with the last minute before it, so that days can be looked at one by one.
            SELECT vendor, kind, "date" + 1 AS "date", site, source, session_id, seq, device_id, received_at, lag_s,
                true AS is_of_the_day_before, unnest(targets, recursive := true)
            FROM {view}
            WHERE epoch_us(received_at) % 86400000000 >= 86340000000
        )
        WINDOW sightings AS (
            PARTITION BY vendor, kind, "date", site, source, device_id, target_id ORDER BY session_id, seq
        )
    )
    WHERE NOT is_of_the_day_before AND state_code IN (99, 100)
        AND (state_before IS DISTINCT FROM state_code OR received_at - seen_before > INTERVAL 60 SECOND)
