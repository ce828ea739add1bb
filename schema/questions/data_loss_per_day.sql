SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE first_day = DATE '2026-03-28';
SET VARIABLE last_day = DATE '2026-03-29';

WITH days AS (
    -- From midnight to midnight, which is 23 hours where the clocks go forward.
    SELECT day, day AT TIME ZONE getvariable('zone') AS begins,
        ((day + INTERVAL 1 DAY) AT TIME ZONE getvariable('zone')) AS ends
    FROM generate_series(CAST(getvariable('first_day') AS TIMESTAMP), CAST(getvariable('last_day') AS TIMESTAMP),
        INTERVAL 1 DAY) AS series(day)
)
SELECT strftime(day, '%Y-%m-%d') AS day, source, device_id, reason,
    round(sum(epoch(least(coalesce(lasted_until, now()), ends)) - epoch(greatest(started_at, begins))) / 60, 2)
        AS minutes_lost
FROM outages
JOIN days ON started_at < ends AND coalesce(lasted_until, now()) > begins
WHERE NOT planned OR reason = 'not recorded'
GROUP BY ALL
ORDER BY day, source, reason, device_id NULLS FIRST;
