    -- A report says how people are, and says so again each second: an alarm is when the state of somebody becomes
    -- `suspected fall` (99) or `fall` (100), from another or at first sight. A target that was not seen for a minute,
    -- which is as long as a sensor reports unasked, is somebody else. So it takes the minutes around falls only; and
    -- each day is told by itself (with the last minute before it), so that a condition on `date` is met early.
    SELECT vendor, site, source, session_id, seq, device_id, received_at AS raised_at, received_at,
        state_code AS alarm_code, state_name AS alarm_name,
        CAST(NULL AS DOUBLE) AS latitude, CAST(NULL AS DOUBLE) AS longitude,
        CAST(target_id AS VARCHAR) AS target_id, lag_s, kind, "date"
    FROM (
        SELECT *, lag(state_code) OVER sightings AS state_before, lag(received_at) OVER sightings AS seen_before
        FROM (
            SELECT report.vendor, kind, fall."date", report.site, report.source, session_id, seq, report.device_id,
                received_at, lag_s, report."date" = fall."date" AS is_of_the_day, unnest(targets, recursive := true)
            FROM {view} AS report
            JOIN pontosense_fall_minutes AS fall ON report.vendor = fall.vendor AND report.site = fall.site
                AND report.source = fall.source AND report.device_id = fall.device_id
                AND report."date" = fall.minute_date AND epoch_us(report.received_at) // 60000000 = fall.minute
        )
        WINDOW sightings AS (
            PARTITION BY vendor, "date", site, source, device_id, target_id ORDER BY session_id, seq
        )
    )
    WHERE is_of_the_day AND state_code IN (99, 100)
        AND (state_before IS DISTINCT FROM state_code OR received_at - seen_before > INTERVAL 60 SECOND)
