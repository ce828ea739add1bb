SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE evening = DATE '2026-03-28';
SET VARIABLE begins = (getvariable('evening') + INTERVAL 20 HOUR) AT TIME ZONE getvariable('zone');
SET VARIABLE ends = (getvariable('evening') + INTERVAL 32 HOUR) AT TIME ZONE getvariable('zone');

WITH reports AS (
    SELECT device_id, people,
        least(10, epoch(coalesce(lead(received_at) OVER (PARTITION BY device_id ORDER BY received_at),
            getvariable('ends'))) - epoch(received_at)) AS held_s
    FROM presence
    WHERE received_at >= getvariable('begins') AND received_at < getvariable('ends')
        AND "date" BETWEEN getvariable('evening') AND getvariable('evening') + 1
)
SELECT device_id,
    round(coalesce(sum(held_s) FILTER (people > 0), 0) / 60, 2) AS minutes_with_people,
    round(coalesce(sum(held_s) FILTER (people = 0), 0) / 60, 2) AS minutes_empty,
    round((epoch(getvariable('ends')) - epoch(getvariable('begins')) - sum(held_s)) / 60, 2) AS minutes_without_data
FROM reports
GROUP BY device_id
ORDER BY device_id;
