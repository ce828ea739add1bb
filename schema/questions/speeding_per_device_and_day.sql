SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE limit_kmh = 70;

SELECT vendor, device_id, strftime(observed_at AT TIME ZONE getvariable('zone'), '%Y-%m-%d') AS day,
    count(*) AS positions_above, round(max(speed_mps) * 3.6, 1) AS fastest_kmh
FROM positions
WHERE speed_mps * 3.6 > getvariable('limit_kmh')
    AND "date" BETWEEN DATE '2026-03-01' AND DATE '2026-03-31'
GROUP BY ALL
ORDER BY vendor, device_id, day;
