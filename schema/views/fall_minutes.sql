-- The minutes in which somebody is down, and those before them, by the day of the fall: all that `alarms` looks at.
CREATE OR REPLACE VIEW pontosense_fall_minutes AS
SELECT DISTINCT vendor, "date", site, source, device_id, minute,
    CAST(make_timestamp(minute * 60000000) AS DATE) AS minute_date
FROM (
    SELECT vendor, "date", site, source, device_id,
        unnest([epoch_us(received_at) // 60000000, epoch_us(received_at) // 60000000 - 1]) AS minute
    FROM (
        SELECT vendor, "date", site, source, device_id, received_at, unnest(targets, recursive := true)
        FROM pontosense_location
    )
    WHERE state_code IN (99, 100)
);
