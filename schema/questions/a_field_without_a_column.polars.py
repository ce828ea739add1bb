from datetime import date

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}

answer = (
    pl.scan_parquet("data/vendor=damoov/kind=device_update/**/*.parquet", **HIVE)
    .filter(pl.col("date").is_between(date(2026, 3, 28), date(2026, 3, 29)))
    .with_columns(
        altitude_m=pl.col("payload").cast(pl.String).str.json_path_match("$.position.Altitude").cast(pl.Float64)
    )
    .drop_nulls("altitude_m")
    .group_by("device_id")
    .agg(pl.len().cast(pl.Int64).alias("messages"), pl.col("altitude_m").max().alias("highest_m"))
    .sort("device_id")
    .collect()
)
