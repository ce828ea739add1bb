-- Who was heard of, and when first and last; `room` is where it was then.
CREATE OR REPLACE VIEW devices AS
SELECT device.*, room.room
FROM (
    SELECT vendor, site, source, device_id, min(received_at) AS first_seen, max(received_at) AS last_seen,
        count(*) AS messages
    FROM (
{rows}
    )
    WHERE device_id IS NOT NULL
    GROUP BY vendor, site, source, device_id
) AS device
LEFT JOIN device_rooms AS room ON device.device_id = room.id
    AND device.last_seen >= room.valid_from AND device.last_seen < room.valid_to;
