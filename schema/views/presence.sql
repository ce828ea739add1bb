-- How many people each report of a room counts: 0 is a room in which nobody is, and no row is no report. How long a
-- report holds is up to you; sensors report about once a second.
CREATE OR REPLACE VIEW presence AS
SELECT report.* EXCLUDE ("date"), room.room, report."date"
FROM (
{rows}
) AS report
LEFT JOIN device_rooms AS room ON report.device_id = room.id
    AND report.received_at >= room.valid_from AND report.received_at < room.valid_to;
