from datetime import date

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE, LIMIT_KMH = "Europe/Vienna", 70


def positions(vendor, kind, kmh):
    return (
        pl.scan_parquet(f"data/vendor={vendor}/kind={kind}/**/*.parquet", **HIVE)
        .filter(pl.col("date").is_between(date(2026, 3, 1), date(2026, 3, 31)))
        .select("vendor", "device_id", pl.coalesce("event_at", "received_at").alias("observed_at"), kmh.alias("kmh"))
    )


answer = (
    pl.concat([
        positions("damoov", "device_update", pl.col("speed_mps") * 3.6),
        positions("jointech", "location", pl.col("speed_kmh")),
    ])
    .filter(pl.col("kmh") > LIMIT_KMH)
    .group_by(
        "vendor",
        "device_id",
        pl.col("observed_at").dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%d").alias("day"),
    )
    .agg(
        pl.len().cast(pl.Int64).alias("positions_above"),
        pl.col("kmh").max().round(1).alias("fastest_kmh"),
    )
    .sort("vendor", "device_id", "day")
    .collect()
)
