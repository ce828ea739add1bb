from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
ZONE, EVENING = "Europe/Vienna", date(2026, 3, 28)
begins = datetime(EVENING.year, EVENING.month, EVENING.day, 20, tzinfo=ZoneInfo(ZONE))
ends = begins + timedelta(hours=12)  # by the clock on the wall: at 8:00, in a night of eleven hours too
begins, ends = begins.astimezone(timezone.utc), ends.astimezone(timezone.utc)

of_target = ["site", "source", "device_id", "target_id"]
seen = (
    pl.scan_parquet("data/vendor=pontosense/kind=location/**/*.parquet", **HIVE)
    .filter(pl.col("date").is_between(EVENING, EVENING + timedelta(days=1)))
    .explode("targets").drop_nulls("targets").unnest("targets")
    .sort("session_id", "seq")
    .with_columns(
        state_before=pl.col("state_code").shift().over(of_target),
        unseen_for=pl.col("received_at") - pl.col("received_at").shift().over(of_target),
    )
)
answer = (
    seen.filter(
        pl.col("state_code").is_in([99, 100]),
        pl.col("state_before").ne_missing(pl.col("state_code")) | (pl.col("unseen_for") > timedelta(seconds=60)),
        pl.col("received_at") >= begins,
        pl.col("received_at") < ends,
    )
    .sort("received_at", "device_id", "target_id")
    .select(
        pl.col("received_at").dt.convert_time_zone(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S").alias("local_time"),
        "device_id",
        pl.col("target_id").cast(pl.String),
        pl.col("state_name").alias("alarm_name"),
    )
    .collect()
)
