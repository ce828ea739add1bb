import pandas as pd

ZONE, EVENING = "Europe/Vienna", pd.Timestamp("2026-03-28")
begins = (EVENING + pd.Timedelta(hours=20)).tz_localize(ZONE)
ends = (EVENING + pd.Timedelta(hours=32)).tz_localize(ZONE)
days = [("date", ">=", f"{EVENING:%F}"), ("date", "<=", f"{EVENING + pd.Timedelta(days=1):%F}")]

reports = pd.read_parquet("data/vendor=pontosense/kind=location", filters=days).sort_values(["session_id", "seq"])
seen = reports.explode("targets").dropna(subset="targets").reset_index(drop=True)
seen = seen.join(pd.DataFrame(seen.targets.tolist()))
before = seen.groupby(["site", "source", "device_id", "target_id"])[["state_code", "received_at"]].shift()
is_news = (before.state_code != seen.state_code) | (seen.received_at - before.received_at > pd.Timedelta(seconds=60))
falls = seen[is_news & seen.state_code.isin([99, 100]) & (seen.received_at >= begins) & (seen.received_at < ends)]
answer = pd.DataFrame({
    "local_time": falls.received_at.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S"),
    "device_id": falls.device_id,
    "target_id": falls.target_id.astype(str),
    "alarm_name": falls.state_name,
}).sort_values(["local_time", "device_id", "target_id"])
