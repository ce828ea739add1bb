import pandas as pd

ZONE, LIMIT_KMH = "Europe/Vienna", 70
days = [("date", ">=", "2026-03-01"), ("date", "<=", "2026-03-31")]

cars = pd.read_parquet("data/vendor=damoov/kind=device_update", filters=days).assign(vendor="damoov")
cars["kmh"] = cars.speed_mps * 3.6
lorries = pd.read_parquet("data/vendor=jointech/kind=location", filters=days).assign(vendor="jointech")
lorries["kmh"] = lorries.speed_kmh
columns = ["vendor", "device_id", "received_at", "event_at", "kmh"]
positions = pd.concat([cars[columns], lorries[columns]])
fast = positions[positions.kmh > LIMIT_KMH]
observed_at = fast.event_at.fillna(fast.received_at)
day = observed_at.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d").rename("day")
grouped = fast.groupby(["vendor", "device_id", day]).kmh
answer = grouped.agg(positions_above="size", fastest_kmh=lambda kmh: round(kmh.max(), 1)).reset_index()
