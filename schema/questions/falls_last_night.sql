SET VARIABLE zone = 'Europe/Vienna';
SET VARIABLE evening = DATE '2026-03-28';  -- last night: current_date - 1
SET VARIABLE begins = (getvariable('evening') + INTERVAL 20 HOUR) AT TIME ZONE getvariable('zone');
SET VARIABLE ends = (getvariable('evening') + INTERVAL 32 HOUR) AT TIME ZONE getvariable('zone');

SELECT strftime(raised_at AT TIME ZONE getvariable('zone'), '%Y-%m-%d %H:%M:%S') AS local_time, device_id, target_id,
    alarm_name
FROM alarms
WHERE vendor = 'pontosense' AND raised_at >= getvariable('begins') AND raised_at < getvariable('ends')
    AND "date" BETWEEN getvariable('evening') AND getvariable('evening') + 1
ORDER BY raised_at, device_id, target_id;
