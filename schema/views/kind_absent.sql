CREATE OR REPLACE VIEW {view} AS
SELECT {columns},
    CAST(NULL AS DATE) AS "date", '{kind}' AS kind, '{vendor}' AS vendor,
    CAST(NULL AS VARCHAR) AS payload_text, CAST(NULL AS DOUBLE) AS lag_s
WHERE false;
