SELECT vendor, kind, alarm_name, count(*) AS alarms, round(median(lag_s), 1) AS median_s,
    round(quantile_cont(lag_s, 0.95), 1) AS p95_s, round(min(lag_s), 1) AS least_s, round(max(lag_s), 1) AS most_s
FROM alarms
WHERE lag_s IS NOT NULL AND "date" BETWEEN DATE '2026-03-28' AND DATE '2026-03-29'
GROUP BY ALL
ORDER BY vendor, kind, alarm_name;
