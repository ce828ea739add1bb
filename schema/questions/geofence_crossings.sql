SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE latitude = 48.21;  -- a circle
SET VARIABLE longitude = 16.42;
SET VARIABLE radius_m = 1500;

WITH places AS (
    SELECT vendor, device_id, observed_at, session_id, seq,
        -- Metres, on a sphere.
        2 * 6371008.8 * asin(sqrt(sin(radians(latitude - getvariable('latitude')) / 2) ** 2
            + cos(radians(latitude)) * cos(radians(getvariable('latitude')))
            * sin(radians(longitude - getvariable('longitude')) / 2) ** 2)) <= getvariable('radius_m') AS is_inside
    FROM positions
    WHERE latitude IS NOT NULL AND "date" BETWEEN DATE '2026-03-28' AND DATE '2026-03-29'
), steps AS (
    SELECT *, lag(is_inside) OVER (PARTITION BY vendor, device_id ORDER BY observed_at, session_id, seq) AS was_inside
    FROM places
)
SELECT vendor, device_id, strftime(observed_at AT TIME ZONE getvariable('zone'), '%Y-%m-%d %H:%M:%S') AS local_time,
    CASE WHEN is_inside THEN 'enters' ELSE 'leaves' END AS crossing
FROM steps
WHERE is_inside <> was_inside
ORDER BY vendor, device_id, observed_at;
