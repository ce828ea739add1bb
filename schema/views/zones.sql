-- The zones that each sensor was set up with, and from when to when.
CREATE OR REPLACE VIEW pontosense_zones AS
SELECT site, source, device_id, zones, received_at AS valid_from,
    coalesce(lead(received_at) OVER configs, 'infinity') AS valid_to
FROM (
    -- Each recording has them anew; few differ.
    SELECT *, lag(zones) OVER configs AS zones_before, row_number() OVER configs AS place
    FROM pontosense_config
    WINDOW configs AS (PARTITION BY site, source, device_id ORDER BY received_at, session_id, seq)
)
WHERE place = 1 OR zones IS DISTINCT FROM zones_before
WINDOW configs AS (PARTITION BY site, source, device_id ORDER BY received_at, session_id, seq);
