-- What vendors raised as alarms.
CREATE OR REPLACE VIEW alarms AS
SELECT * FROM (
{rows}
);
