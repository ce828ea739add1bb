from datetime import date, timedelta

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE = "Europe/Vienna"

person = ["source", "device_id", "person_id"]
at = pl.col("received_at")
answer = (
    pl.scan_parquet("data/vendor=delicode/kind=person_position/**/*.parquet", **HIVE)
    .filter(
        pl.col("date").is_between(date(2026, 3, 28), date(2026, 3, 29)),
        pl.col("x_cm").is_between(0, 200),  # in front of the shelf
        pl.col("y_cm").is_between(0, 150),
    )
    .sort("received_at", "seq")
    # A visit ends when somebody is not seen here for five seconds.
    .with_columns(is_arrival=((at - at.shift().over(person)) > timedelta(seconds=5)).fill_null(True))
    .with_columns(visit=pl.col("is_arrival").cum_sum().over(person))
    .group_by(*person, "visit")
    .agg(at.min().alias("first_at"), at.max().alias("last_at"))
    .select(
        "device_id",
        pl.col("person_id").cast(pl.String).alias("target_id"),
        pl.col("first_at").dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S").alias("arrived"),
        ((pl.col("last_at") - pl.col("first_at")).dt.total_microseconds() / 1e6).round(1).alias("seconds"),
    )
    .sort("arrived", "target_id")
    .collect()
)
