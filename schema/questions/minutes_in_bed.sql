SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE evening = DATE '2026-03-28';
SET VARIABLE begins = (getvariable('evening') + INTERVAL 20 HOUR) AT TIME ZONE getvariable('zone');
SET VARIABLE ends = (getvariable('evening') + INTERVAL 32 HOUR) AT TIME ZONE getvariable('zone');

SELECT device_id, round(sum(least(coalesce(held_s, 10), 10)) / 60, 2) AS minutes_in_bed
FROM (
    SELECT device_id, list_contains([target.state_code FOR target IN targets], 90) AS is_in_bed,
        (lead(elapsed_ns) OVER (PARTITION BY session_id, device_id ORDER BY seq) - elapsed_ns) / 1e9 AS held_s
    FROM pontosense_location
    WHERE received_at >= getvariable('begins') AND received_at < getvariable('ends')
        AND "date" BETWEEN getvariable('evening') AND getvariable('evening') + 1
)
WHERE is_in_bed
GROUP BY device_id
ORDER BY device_id;
