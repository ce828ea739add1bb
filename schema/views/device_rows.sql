    SELECT vendor, site, source, device_id, received_at FROM {view}
