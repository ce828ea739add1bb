    -- The events that the vendor's table calls warnings; the others are a lock's everyday life.
    SELECT vendor, site, source, session_id, seq, device_id,
        coalesce(event_at, received_at) AS raised_at, received_at,
        sublock_event_code AS alarm_code, sublock_event_name AS alarm_name,
        latitude, longitude,
        sub_asset_id AS target_id, lag_s, kind, "date"
    FROM {view}
    WHERE sublock_event_code IN (2, 4, 10, 14, 17, 23, 24, 25)
