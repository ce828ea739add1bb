import numpy as np
import pandas as pd

ZONE = "Europe/Vienna"
LATITUDE, LONGITUDE, RADIUS_M = 48.21, 16.42, 1500  # a circle
days = [("date", ">=", "2026-03-28"), ("date", "<=", "2026-03-29")]

columns = ["device_id", "session_id", "seq", "received_at", "event_at", "latitude", "longitude"]
places = pd.concat([
    pd.read_parquet(f"data/vendor={vendor}/kind={kind}", columns=columns, filters=days).assign(vendor=vendor)
    for vendor, kind in [("damoov", "device_update"), ("jointech", "location")]
], ignore_index=True).dropna(subset="latitude")
places["observed_at"] = places.event_at.fillna(places.received_at)
north, east = np.radians(places.latitude - LATITUDE), np.radians(places.longitude - LONGITUDE)
across = np.cos(np.radians(places.latitude)) * np.cos(np.radians(LATITUDE)) * np.sin(east / 2) ** 2
places["is_inside"] = 2 * 6371008.8 * np.arcsin(np.sqrt(np.sin(north / 2) ** 2 + across)) <= RADIUS_M  # on a sphere
places = places.sort_values(["vendor", "device_id", "observed_at", "session_id", "seq"])
was_inside = places.groupby(["vendor", "device_id"]).is_inside.shift()
crossings = places[was_inside.notna() & (was_inside != places.is_inside)]
answer = pd.DataFrame({
    "vendor": crossings.vendor,
    "device_id": crossings.device_id,
    "local_time": crossings.observed_at.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S"),
    "crossing": np.where(crossings.is_inside, "enters", "leaves"),
})
