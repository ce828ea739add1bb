import pandas as pd

ZONE, EVENING = "Europe/Vienna", pd.Timestamp("2026-03-28")
begins = (EVENING + pd.Timedelta(hours=20)).tz_localize(ZONE)
ends = (EVENING + pd.Timedelta(hours=32)).tz_localize(ZONE)
days = [("date", ">=", f"{EVENING:%F}"), ("date", "<=", f"{EVENING + pd.Timedelta(days=1):%F}")]

reports = pd.read_parquet("data/vendor=pontosense/kind=location", filters=days).sort_values("received_at")
reports = reports[(reports.received_at >= begins) & (reports.received_at < ends) & reports.decode_error.isna()]
next_at = reports.groupby("device_id").received_at.shift(-1).fillna(ends.tz_convert("UTC"))
reports["held_s"] = (next_at - reports.received_at).dt.total_seconds().clip(upper=10)
people = reports.targets.map(len, na_action="ignore").fillna(0)
held_s = reports.held_s.groupby(reports.device_id)
with_people = reports.held_s.where(people > 0, 0).groupby(reports.device_id).sum()
empty = reports.held_s.where(people == 0, 0).groupby(reports.device_id).sum()
answer = pd.DataFrame({
    "minutes_with_people": (with_people / 60).round(2),
    "minutes_empty": (empty / 60).round(2),
    "minutes_without_data": (((ends - begins).total_seconds() - held_s.sum()) / 60).round(2),
}).reset_index()
