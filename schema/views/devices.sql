-- Who was heard of, and when first and last.
CREATE OR REPLACE VIEW devices AS
SELECT vendor, site, source, device_id, min(received_at) AS first_seen, max(received_at) AS last_seen,
    count(*) AS messages
FROM (
{rows}
)
WHERE device_id IS NOT NULL
GROUP BY vendor, site, source, device_id;
