SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE day = DATE '2026-03-29';

SELECT device_id, target_id, zone_name,
    strftime(min(received_at) AT TIME ZONE getvariable('zone'), '%H:%M:%S') AS first_seen,
    strftime(max(received_at) AT TIME ZONE getvariable('zone'), '%H:%M:%S') AS last_seen,
    count(*) AS reports
FROM positions
WHERE vendor = 'pontosense' AND zone_name IS NOT NULL
    AND CAST(received_at AT TIME ZONE getvariable('zone') AS DATE) = getvariable('day')
    AND "date" BETWEEN getvariable('day') - 1 AND getvariable('day') + 1
GROUP BY ALL
ORDER BY device_id, target_id, zone_name;
