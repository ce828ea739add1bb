    SELECT vendor, site, source, session_id, seq, device_id, {target_id} AS target_id,
        coalesce(event_at, received_at) AS observed_at, received_at,
        CASE WHEN event_at IS NULL THEN 'received_at' ELSE 'event_at' END AS time_basis,
        {latitude} AS latitude, {longitude} AS longitude, {x_m} AS x_m, {y_m} AS y_m, {z_m} AS z_m,
        {speed_mps} AS speed_mps, {heading_deg} AS heading_deg, {accuracy_m} AS accuracy_m,
        {state_code} AS state_code, {state_name} AS state_name, {zone_name} AS zone_name,
        lag_s, kind, "date"
    FROM {view}
