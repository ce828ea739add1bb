        SELECT vendor, site, source, session_id, seq, received_at, elapsed_ns, payload_text FROM {view}
