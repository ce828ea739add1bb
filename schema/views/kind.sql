CREATE OR REPLACE VIEW {view} AS
SELECT *,
    TRY(decode(payload)) AS payload_text,
    (epoch_us(received_at) - epoch_us(event_at)) / 1e6 AS lag_s
FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true, union_by_name = true)
WHERE duplicate_of IS NULL;
