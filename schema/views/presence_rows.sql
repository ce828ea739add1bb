    SELECT vendor, site, source, session_id, seq, device_id, received_at,
        coalesce(len(targets), 0) AS people, "date"
    FROM {view}
    WHERE decode_error IS NULL
