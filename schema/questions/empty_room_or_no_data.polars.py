from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE, EVENING = "Europe/Vienna", date(2026, 3, 28)
begins = datetime(EVENING.year, EVENING.month, EVENING.day, 20, tzinfo=ZoneInfo(ZONE))
ends = begins + timedelta(hours=12)  # by the clock on the wall: at 8:00, in a night of eleven hours too
begins, ends = begins.astimezone(timezone.utc), ends.astimezone(timezone.utc)

next_at = pl.col("received_at").shift(-1).over("device_id").fill_null(ends)
is_empty = pl.col("targets").list.len().fill_null(0) == 0
held_s = pl.col("held_s")
answer = (
    pl.scan_parquet("data/vendor=pontosense/kind=location/**/*.parquet", **HIVE)
    .filter(
        pl.col("date").is_between(EVENING, EVENING + timedelta(days=1)),
        pl.col("received_at") >= begins,
        pl.col("received_at") < ends,
        pl.col("decode_error").is_null(),
    )
    .sort("received_at")
    .with_columns(held_s=((next_at - pl.col("received_at")).dt.total_microseconds() / 1e6).clip(upper_bound=10))
    .group_by("device_id")
    .agg(
        (held_s.filter(~is_empty).sum() / 60).round(2).alias("minutes_with_people"),
        (held_s.filter(is_empty).sum() / 60).round(2).alias("minutes_empty"),
        (((ends - begins).total_seconds() - held_s.sum()) / 60).round(2).alias("minutes_without_data"),
    )
    .sort("device_id")
    .collect()
)
