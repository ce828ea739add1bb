from datetime import date
from math import cos, radians

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE = "Europe/Vienna"
LATITUDE, LONGITUDE, RADIUS_M = 48.21, 16.42, 1500  # a circle


def places(vendor, kind):
    return (
        pl.scan_parquet(f"data/vendor={vendor}/kind={kind}/**/*.parquet", **HIVE)
        .filter(pl.col("date").is_between(date(2026, 3, 28), date(2026, 3, 29)), pl.col("latitude").is_not_null())
        .with_columns(observed_at=pl.coalesce("event_at", "received_at"))
        .select("vendor", "device_id", "observed_at", "session_id", "seq", "latitude", "longitude")
    )


north = (pl.col("latitude") - LATITUDE).radians()
east = (pl.col("longitude") - LONGITUDE).radians()
across = pl.col("latitude").radians().cos() * cos(radians(LATITUDE)) * (east / 2).sin() ** 2
metres = 2 * 6371008.8 * ((north / 2).sin() ** 2 + across).sqrt().arcsin()  # on a sphere
answer = (
    pl.concat([places("damoov", "device_update"), places("jointech", "location")])
    .sort("vendor", "device_id", "observed_at", "session_id", "seq")
    .with_columns(is_inside=metres <= RADIUS_M)
    .with_columns(was_inside=pl.col("is_inside").shift().over("vendor", "device_id"))
    .filter(pl.col("is_inside") != pl.col("was_inside"))
    .select(
        "vendor",
        "device_id",
        pl.col("observed_at").dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S").alias("local_time"),
        pl.when("is_inside").then(pl.lit("enters")).otherwise(pl.lit("leaves")).alias("crossing"),
    )
    .collect()
)
