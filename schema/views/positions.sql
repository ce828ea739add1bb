-- Where things were. Degrees (WGS-84) or metres in the site's own frame; `time_basis` names the column
-- that `observed_at` comes from, since not every vendor says when it measured.
CREATE OR REPLACE VIEW positions AS
SELECT * FROM (
{rows}
)
-- Of SENSORO's telemetry hardly any message says where.
WHERE vendor <> 'sensoro' OR latitude IS NOT NULL;
