import pandas as pd

ZONE = "Europe/Vienna"
days = [("date", ">=", "2026-03-28"), ("date", "<=", "2026-03-29")]

points = pd.read_parquet("data/vendor=delicode/kind=person_position", filters=days)
points = points[points.x_cm.between(0, 200) & points.y_cm.between(0, 150)]  # in front of the shelf
points = points.sort_values(["received_at", "seq"])
person = ["source", "device_id", "person_id"]
# A visit ends when somebody is not seen here for five seconds.
points["is_arrival"] = ~(points.groupby(person).received_at.diff() <= pd.Timedelta(seconds=5))
points["visit"] = points.groupby(person).is_arrival.cumsum()
visits = points.groupby(["device_id", "person_id", "visit"]).received_at.agg(["min", "max"]).reset_index()
answer = pd.DataFrame({
    "device_id": visits.device_id,
    "target_id": visits.person_id.astype(str),
    "arrived": visits["min"].dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d %H:%M:%S"),
    "seconds": (visits["max"] - visits["min"]).dt.total_seconds().round(1),
}).sort_values(["arrived", "target_id"])
