import json

import pandas as pd

days = [("date", ">=", "2026-03-28"), ("date", "<=", "2026-03-29")]

updates = pd.read_parquet("data/vendor=damoov/kind=device_update", columns=["device_id", "payload"], filters=days)
updates["altitude_m"] = updates.payload.map(lambda payload: json.loads(payload)["position"].get("Altitude"))
known = updates.dropna(subset="altitude_m")
answer = known.groupby("device_id").altitude_m.agg(messages="size", highest_m="max").reset_index()
