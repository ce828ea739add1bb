SET VARIABLE zone = 'Europe/Vienna';

WITH points AS (
    SELECT device_id, target_id, received_at,
        -- A visit ends when somebody is not seen here for five seconds.
        coalesce(received_at - lag(received_at) OVER person > INTERVAL 5 SECOND, true) AS is_arrival
    FROM positions
    WHERE vendor = 'delicode' AND "date" BETWEEN DATE '2026-03-28' AND DATE '2026-03-29'
        AND x_m BETWEEN 0 AND 2 AND y_m BETWEEN 0 AND 1.5  -- in front of the shelf
    WINDOW person AS (PARTITION BY source, device_id, target_id ORDER BY received_at, seq)
), visits AS (
    SELECT *, sum(CAST(is_arrival AS INTEGER)) OVER (PARTITION BY device_id, target_id ORDER BY received_at) AS visit
    FROM points
)
SELECT device_id, target_id,
    strftime(min(received_at) AT TIME ZONE getvariable('zone'), '%Y-%m-%d %H:%M:%S') AS arrived,
    round(epoch(max(received_at)) - epoch(min(received_at)), 1) AS seconds
FROM visits
GROUP BY device_id, target_id, visit
ORDER BY arrived, target_id;
