import pandas as pd

ZONE, DAY = "Europe/Vienna", pd.Timestamp("2026-03-29")
days = [("date", ">=", f"{DAY - pd.Timedelta(days=1):%F}"), ("date", "<=", f"{DAY + pd.Timedelta(days=1):%F}")]

reports = pd.read_parquet("data/vendor=pontosense/kind=location", filters=days)
local = reports.received_at.dt.tz_convert(ZONE)
reports = reports[local.dt.tz_localize(None).dt.normalize() == DAY].sort_values("received_at")
# A target's zone is its place, from 1, among the zones that the sensor was set up with at that time.
configs = pd.read_parquet("data/vendor=pontosense/kind=config", columns=["source", "device_id", "received_at", "zones"])
configs = configs.sort_values("received_at")
reports = pd.merge_asof(reports, configs, on="received_at", by=["source", "device_id"])
seen = reports.explode("targets").dropna(subset=["targets", "zones"]).reset_index(drop=True)
seen = seen.join(pd.DataFrame(seen.targets.tolist())[["target_id", "zone_id"]])
seen = seen[(seen.zone_id >= 1) & (seen.zone_id <= seen.zones.map(len))]
seen["zone_name"] = [zones[int(place) - 1]["zone_name"] for zones, place in zip(seen.zones, seen.zone_id)]
seen["target_id"] = seen.target_id.astype(str)
seen["at"] = seen.received_at.dt.tz_convert(ZONE).dt.strftime("%H:%M:%S")
grouped = seen.sort_values("received_at").groupby(["device_id", "target_id", "zone_name"])
answer = grouped.agg(first_seen=("at", "first"), last_seen=("at", "last"), reports=("at", "size")).reset_index()
