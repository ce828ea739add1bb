-- Where things were. Degrees (WGS-84) or metres in the site's own frame, m/s, and degrees clockwise from north;
-- `time_basis` names the column that `observed_at` comes from, since not every vendor says when it measured. A room
-- in which nobody is has no row here: see `presence`. A condition on `date` (the UTC date of arrival) opens only
-- the folders of these days.
CREATE OR REPLACE VIEW positions AS
SELECT position.* EXCLUDE (lag_s, kind, "date"), room.room, position.lag_s, position.kind, position."date"
FROM (
{rows}
) AS position
LEFT JOIN device_rooms AS room ON position.device_id = room.id
    AND position.observed_at >= room.valid_from AND position.observed_at < room.valid_to
-- Of SENSORO's telemetry hardly any message says where.
WHERE position.vendor <> 'sensoro' OR position.latitude IS NOT NULL;
