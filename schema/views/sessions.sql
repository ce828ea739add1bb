-- What was recorded when: a row for each source of each recording. `ended_at` is null while one runs, and after a
-- crash until `telereel recover`; `ended` is `stopped`, or `recovered` after a crash, which counts from its last
-- message.
CREATE OR REPLACE VIEW sessions AS
WITH sidecars AS (
    -- As texts, since read_json wants at least one file, and every file whole.
    SELECT TRY_CAST(content AS JSON) AS sidecar FROM read_text('sessions/*.json')
), sources AS (
    SELECT sidecar, unnest(from_json(sidecar -> '$.sources', '["JSON"]')) AS of_source FROM sidecars
)
SELECT sidecar ->> '$.session_id' AS session_id, sidecar ->> '$.name' AS session_name, sidecar ->> '$.site' AS site,
    of_source ->> '$.name' AS source, of_source ->> '$.vendor' AS vendor,
    CAST(sidecar ->> '$.started_at' AS TIMESTAMP WITH TIME ZONE) AS started_at,
    CAST(sidecar ->> '$.ended_at' AS TIMESTAMP WITH TIME ZONE) AS ended_at,
    sidecar ->> '$.ended' AS ended
FROM sources;
