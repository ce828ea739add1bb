"""The views across vendors say what the payloads do, read record by record; and what `devices.csv` adds to them."""
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.dataset

os.chdir(sys.argv[1])
raw = pyarrow.dataset.dataset("data", partitioning="hive").to_table(
    columns=["vendor", "session_id", "seq", "received_at", "channel", "payload"]
)
positions, alarms, presence, states = [], [], [], {}
for message in sorted(raw.to_pylist(), key=lambda message: message["seq"]):
    try:
        said = json.loads(message["payload"])
    except ValueError:
        continue
    vendor, seq = message["vendor"], message["seq"]
    row = dict.fromkeys(["device", "target", "lat", "lon", "x", "y", "z", "mps", "deg", "accuracy", "state", "zone"])
    if vendor == "damoov" and said.get("type") == "device_update":
        at = said["position"]
        row |= {"device": said["device_token"], "lat": at["Latitude"], "lon": at["Longitude"], "mps": at["Speed"]}
        positions.append((vendor, seq, *(row | {"deg": at.get("Heading"), "accuracy": at.get("Accuracy")}).values()))
    elif vendor == "delicode" and said.get("type") == "realtime_person_position":
        at = said["position"]
        row |= {"device": str(said["location_id"]), "target": str(said["person_id"])}
        positions.append((vendor, seq, *(row | {"x": at["x"] / 100, "y": at["y"] / 100}).values()))
    elif vendor == "jointech" and ("alarmType" in said or "subAssetID" in said):
        code = said["alarmType"] if "alarmType" in said else said["eventType"]
        # As the vendor's table of sub-locks' events spells its warnings.
        if "alarmType" in said or code in (2, 4, 10, 14, 17, 23, 24, 25):
            alarms.append((vendor, seq, said["assetId"], said.get("subAssetID"), code))
    elif vendor == "jointech" and "gpsTime" in said:
        no_fix = said["latitude"] == 0 and said["longitude"] == 0
        row |= {"device": said["assetId"], "mps": said["speed"] / 3.6, "deg": said["direction"]}
        row |= {} if no_fix else {"lat": said["latitude"], "lon": said["longitude"]}
        positions.append((vendor, seq, *row.values()))
    elif vendor == "sensoro" and "lonlat" in said.get("data", {}):
        lon, lat = said["data"]["lonlat"]
        positions.append((vendor, seq, *(row | {"device": said["sn"], "lat": lat, "lon": lon}).values()))
    elif vendor == "pontosense" and said.get("method") == "location.report":
        sensor = message["channel"].removeprefix("/location/")
        presence.append((seq, sensor, len(said["params"])))
        for target in said["params"]:
            zone = {1: "Bedroom", 2: "Couch"}.get(target.get("zoneId"))
            of_target = {"device": sensor, "target": str(target["id"]), "state": target["state"], "zone": zone}
            metres = {axis: target[axis] / 100 for axis in "xyz"}
            positions.append((vendor, seq, *(row | of_target | metres).values()))
            state, person = target["state"], (sensor, target["id"])
            if state in (99, 100) and states.get(person) != state:
                alarms.append((vendor, seq, *map(str, person), state))
            states[person] = state


def ask(sql):
    db = duckdb.connect()
    db.execute("SET TimeZone = 'Asia/Tokyo'")
    db.execute(Path("views/duckdb.sql").read_text())
    return db.execute(sql).fetchall()


def rounded(rows):
    plain = lambda value: round(value, 9) if isinstance(value, float) else value
    return sorted((tuple(map(plain, row)) for row in rows), key=repr)


found = ask("""
    SELECT vendor, seq, device_id, target_id, latitude, longitude, x_m, y_m, z_m, speed_mps, heading_deg, accuracy_m,
        state_code, zone_name
    FROM positions
""")
assert len(positions) > 15 and len({position[0] for position in positions}) == 5
assert rounded(found) == rounded(positions), (rounded(found), rounded(positions))
found = ask("SELECT vendor, seq, device_id, target_id, alarm_code FROM alarms")
assert {alarm[4] for alarm in alarms} == {2, 4, 40, 45, 99, 100, 10000}
assert rounded(found) == rounded(alarms), (found, alarms)
found = ask("SELECT seq, device_id, people FROM presence")
assert 0 in {report[2] for report in presence}
assert rounded(found) == rounded(presence), (found, presence)

# The columns that everybody relies on come first, in this order.
for view, columns in {
    "positions": "vendor site source session_id seq device_id target_id observed_at received_at time_basis latitude "
    "longitude x_m y_m z_m speed_mps heading_deg accuracy_m state_code state_name zone_name",
    "alarms": "vendor site source session_id seq device_id raised_at received_at alarm_code alarm_name latitude longitude",
    "outages": "vendor site source started_at ended_at duration_s planned",
    "devices": "vendor site source device_id first_seen last_seen messages",
}.items():
    described = [row[0] for row in ask(f"DESCRIBE {view}")]
    assert described[:len(columns.split())] == columns.split(), described

# Rooms: none without the file; then by time, whatever the zone of the session, and never two for one row.
count = "SELECT count(*), count(room) FROM positions"
everything, of_no_room = ask(count)[0]
assert of_no_room == 0
start = ask("SELECT epoch_us(min(received_at)) FROM pontosense_location")[0][0]
moved = ask(f"SELECT strftime(make_timestamp({start} + 3000000), '%Y-%m-%dT%H:%M:%SZ')")[0][0]
sensor = "ATR_GN_P4-250120-09527"
Path("devices.csv").write_text(
    f'\ufeffID;Room;Valid From;valid_to\r\n"{sensor}";"Bedroom; upstairs";;\r\n{sensor};Hall;{moved};\r\n'
    f"{sensor};Hall;{moved};\r\n1;Shop;2026-05-01;2026-05-02 00:00\r\n\r\n",
    encoding="utf-8",
)
rooms = ask("SELECT room, min(seq), count(*) FROM positions WHERE vendor = 'pontosense' GROUP BY room ORDER BY 2")
assert [room for room, _, _ in rooms] == ["Bedroom; upstairs", "Hall", None], rooms
assert ask(count)[0][0] == everything
assert ask("SELECT DISTINCT room FROM positions WHERE vendor = 'delicode' AND device_id = '1'") == [("Shop",)]
assert ask(f"SELECT room FROM devices WHERE device_id = '{sensor}'") == [("Hall",)]
assert {room for room, in ask(f"SELECT room FROM alarms WHERE device_id = '{sensor}'")} <= {"Bedroom; upstairs", "Hall"}
assert {room for room, in ask(f"SELECT room FROM presence WHERE device_id = '{sensor}'")} == {"Bedroom; upstairs", "Hall"}
for text in ("id,room\n", ""):
    Path("devices.csv").write_text(text)
    assert ask(count)[0] == (everything, 0), text
os.remove("devices.csv")

# A condition on the date is met before the files are read: those of other days are not even there.
plan = ask("EXPLAIN SELECT * FROM alarms WHERE \"date\" = DATE '2026-05-01'")[0][1]
assert plan.count("File Filters") >= 3, plan

# Without sessions (somebody copied the data alone) nothing else is lost.
os.rename("sessions", "elsewhere")
assert ask("SELECT count(*) FROM outages") == [(0,)] and ask(count)[0] == (everything, 0)
