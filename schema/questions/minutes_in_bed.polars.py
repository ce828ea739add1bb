from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE, EVENING = "Europe/Vienna", date(2026, 3, 28)
begins = datetime(EVENING.year, EVENING.month, EVENING.day, 20, tzinfo=ZoneInfo(ZONE))
ends = begins + timedelta(hours=12)  # by the clock on the wall: at 8:00, in a night of eleven hours too
begins, ends = begins.astimezone(timezone.utc), ends.astimezone(timezone.utc)

next_ns = pl.col("elapsed_ns").shift(-1).over("session_id", "device_id")
answer = (
    pl.scan_parquet("data/vendor=pontosense/kind=location/**/*.parquet", **HIVE)
    .filter(
        pl.col("date").is_between(EVENING, EVENING + timedelta(days=1)),
        pl.col("received_at") >= begins,
        pl.col("received_at") < ends,
    )
    .sort("session_id", "seq")
    .with_columns(held_s=((next_ns - pl.col("elapsed_ns")) / 1e9).clip(upper_bound=10).fill_null(10))
    .filter(pl.col("targets").list.eval(pl.element().struct.field("state_code") == 90).list.any())
    .group_by("device_id")
    .agg((pl.col("held_s").sum() / 60).round(2).alias("minutes_in_bed"))
    .sort("device_id")
    .collect()
)
