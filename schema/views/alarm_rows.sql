    SELECT vendor, site, source, session_id, seq, device_id,
        coalesce(event_at, received_at) AS raised_at, received_at,
        CAST({alarm_code} AS INTEGER) AS alarm_code, {alarm_name} AS alarm_name,
        {latitude} AS latitude, {longitude} AS longitude,
        {target_id} AS target_id, lag_s, kind, "date"
    FROM {view}
