import pandas as pd

days = [("date", ">=", "2026-03-28"), ("date", "<=", "2026-03-29")]
WARNINGS = [2, 4, 10, 14, 17, 23, 24, 25]  # of sub-locks; their other events are no alarms

alarms = pd.read_parquet("data/vendor=jointech/kind=alarm", filters=days).assign(kind="alarm")
sublocks = pd.read_parquet("data/vendor=jointech/kind=sublock", filters=days).assign(kind="sublock")
warnings = sublocks[sublocks.sublock_event_code.isin(WARNINGS)].rename(columns={"sublock_event_name": "alarm_name"})
columns = ["kind", "alarm_name", "received_at", "event_at"]
timed = pd.concat([alarms[columns], warnings[columns]]).dropna(subset="event_at").assign(vendor="jointech")
timed["lag_s"] = (timed.received_at - timed.event_at).dt.total_seconds()
answer = timed.groupby(["vendor", "kind", "alarm_name"]).lag_s.agg(
    alarms="size",
    median_s="median",
    p95_s=lambda lag_s: lag_s.quantile(0.95),
    least_s="min",
    most_s="max",
).round(1).reset_index()
