-- What vendors raised as alarms, and what is one by its meaning: sub-locks' warnings, and falls. `alarm_code` is of the
-- table of its vendor and kind, so that only vendor, kind and code together say which alarm it is; `target_id` is the
-- person or the sub-lock that it is about. `lag_s` is null where the vendor does not say when it was.
CREATE OR REPLACE VIEW alarms AS
SELECT alarm.* EXCLUDE (target_id, lag_s, kind, "date"),
    alarm.target_id, room.room, alarm.lag_s, alarm.kind, alarm."date"
FROM (
{rows}
) AS alarm
LEFT JOIN device_rooms AS room ON alarm.device_id = room.id
    AND alarm.raised_at >= room.valid_from AND alarm.raised_at < room.valid_to;
