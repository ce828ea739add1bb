import pandas as pd

ZONE, EVENING = "Europe/Vienna", pd.Timestamp("2026-03-28")
begins = (EVENING + pd.Timedelta(hours=20)).tz_localize(ZONE)
ends = (EVENING + pd.Timedelta(hours=32)).tz_localize(ZONE)
days = [("date", ">=", f"{EVENING:%F}"), ("date", "<=", f"{EVENING + pd.Timedelta(days=1):%F}")]

reports = pd.read_parquet("data/vendor=pontosense/kind=location", filters=days).sort_values(["session_id", "seq"])
reports = reports[(reports.received_at >= begins) & (reports.received_at < ends)]
next_ns = reports.groupby(["session_id", "device_id"]).elapsed_ns.shift(-1)
reports["held_s"] = ((next_ns - reports.elapsed_ns) / 1e9).clip(upper=10).fillna(10)
in_bed = reports.targets.map(lambda targets: any(target["state_code"] == 90 for target in targets))
answer = (reports[in_bed].groupby("device_id").held_s.sum() / 60).round(2).rename("minutes_in_bed").reset_index()
