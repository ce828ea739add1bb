from datetime import date, timedelta

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE, DAY = "Europe/Vienna", date(2026, 3, 29)

# A target's zone is its place, from 1, among the zones that the sensor was set up with at that time.
configs = (
    pl.scan_parquet("data/vendor=pontosense/kind=config/**/*.parquet", **HIVE)
    .select("source", "device_id", "received_at", "zones")
    .sort("received_at")
)
local = pl.col("received_at").dt.convert_time_zone(ZONE)
answer = (
    pl.scan_parquet("data/vendor=pontosense/kind=location/**/*.parquet", **HIVE)
    .filter(
        pl.col("date").is_between(DAY - timedelta(days=1), DAY + timedelta(days=1)),
        local.dt.date() == DAY,
    )
    .sort("received_at")
    .join_asof(configs, on="received_at", by=["source", "device_id"], check_sortedness=False)
    .explode("targets").drop_nulls("targets").unnest("targets")
    .filter(pl.col("zone_id") >= 1)
    .with_columns(zone_name=pl.col("zones").list.get(pl.col("zone_id") - 1, null_on_oob=True).struct.field("zone_name"))
    .drop_nulls("zone_name")
    .group_by("device_id", pl.col("target_id").cast(pl.String), "zone_name")
    .agg(
        local.min().dt.strftime("%H:%M:%S").alias("first_seen"),
        local.max().dt.strftime("%H:%M:%S").alias("last_seen"),
        pl.len().cast(pl.Int64).alias("reports"),
    )
    .sort("device_id", "target_id", "zone_name")
    .collect()
)
