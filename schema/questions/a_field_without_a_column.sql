SELECT device_id, count(*) AS messages, max(CAST(payload_text ->> '$.position.Altitude' AS DOUBLE)) AS highest_m
FROM damoov_device_update
WHERE "date" BETWEEN DATE '2026-03-28' AND DATE '2026-03-29' AND (payload_text ->> '$.position.Altitude') IS NOT NULL
GROUP BY device_id
ORDER BY device_id;
