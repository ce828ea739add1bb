from datetime import date

import polars as pl

HIVE = {"hive_partitioning": True, "missing_columns": "insert"}
WARNINGS = [2, 4, 10, 14, 17, 23, 24, 25]  # of sub-locks; their other events are no alarms


def timed(kind, name):
    return (
        pl.scan_parquet(f"data/vendor=jointech/kind={kind}/**/*.parquet", **HIVE)
        .filter(pl.col("date").is_between(date(2026, 3, 28), date(2026, 3, 29)), pl.col("event_at").is_not_null())
        .with_columns(
            alarm_name=name,
            lag_s=(pl.col("received_at") - pl.col("event_at")).dt.total_microseconds() / 1e6,
        )
    )


warnings = timed("sublock", pl.col("sublock_event_name")).filter(pl.col("sublock_event_code").is_in(WARNINGS))
alarms = timed("alarm", pl.col("alarm_name"))
lag_s = pl.col("lag_s")
answer = (
    pl.concat([table.select("vendor", "kind", "alarm_name", "lag_s") for table in (alarms, warnings)])
    .group_by("vendor", "kind", "alarm_name")
    .agg(
        pl.len().cast(pl.Int64).alias("alarms"),
        lag_s.median().round(1).alias("median_s"),
        lag_s.quantile(0.95, interpolation="linear").round(1).alias("p95_s"),
        lag_s.min().round(1).alias("least_s"),
        lag_s.max().round(1).alias("most_s"),
    )
    .sort("vendor", "kind", "alarm_name")
    .collect()
)
