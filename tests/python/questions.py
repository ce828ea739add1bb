"""Asks the example questions in DuckDB, pandas and Polars, and answers them from the payloads alone.

Called as `questions.py ARCHIVE QUESTIONS`. What is expected is computed here, record by record, from `payload`,
`channel` and the times of arrival, which PyArrow reads; none of our columns, views or roles is used.
"""
import csv
import json
import math
import os
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pandas
import pyarrow.dataset

ARCHIVE, QUESTIONS = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
os.chdir(ARCHIVE)
VIENNA, UTC = ZoneInfo("Europe/Vienna"), timezone.utc

raw = pyarrow.dataset.dataset("data", partitioning="hive").to_table(
    columns=["vendor", "source", "session_id", "seq", "received_at", "elapsed_ns", "channel", "payload"]
)
MESSAGES = sorted(raw.to_pylist(), key=lambda message: (message["session_id"], message["seq"]))
for message in MESSAGES:
    try:
        message["json"] = json.loads(message["payload"])
    except ValueError:
        message["json"] = None


def local(moment):
    return moment.astimezone(VIENNA)


def stamp(moment):
    return local(moment).strftime("%Y-%m-%d %H:%M:%S")


def reports(begins=None, ends=None):
    """Pontosense's reports: sensor, message, targets."""
    for message in MESSAGES:
        if message["channel"].startswith("/location/") and message["json"]["method"] == "location.report":
            if begins is None or begins <= message["received_at"] < ends:
                yield message["channel"].removeprefix("/location/"), message, message["json"]["params"]


NIGHT = datetime(2026, 3, 28, 20, tzinfo=VIENNA).astimezone(UTC), datetime(2026, 3, 29, 8, tzinfo=VIENNA).astimezone(UTC)
assert NIGHT[1] - NIGHT[0] == timedelta(hours=11)
STATES = {99: "suspected fall", 100: "fall"}


def falls_last_night():
    last, found = {}, []
    for sensor, message, targets in reports():
        for target in targets:
            state, at = target["state"], message["received_at"]
            before, seen = last.get((sensor, target["id"]), (None, at))
            if state in STATES and (state != before or at - seen > timedelta(seconds=60)) and NIGHT[0] <= at < NIGHT[1]:
                found.append((at, sensor, str(target["id"]), STATES[state]))
            last[sensor, target["id"]] = state, at
    return [(stamp(at), *rest) for at, *rest in sorted(found)]


def followed(begins, ends, by):
    """Each report with the next one of its sensor, if there is one."""
    strands = {}
    for sensor, message, targets in reports(begins, ends):
        strands.setdefault(by(sensor, message), []).append((message, targets))
    for strand, items in sorted(strands.items()):
        for (message, targets), after in zip(items, [*items[1:], None]):
            yield strand, message, targets, after and after[0]


def minutes_in_bed():
    seconds = {}
    for (sensor, _), message, targets, after in followed(*NIGHT, lambda sensor, m: (sensor, m["session_id"])):
        if any(target["state"] == 90 for target in targets):
            held = (after["elapsed_ns"] - message["elapsed_ns"]) / 1e9 if after else 10
            seconds[sensor] = seconds.get(sensor, 0) + min(held, 10)
    return sorted((sensor, round(s / 60, 2)) for sensor, s in seconds.items())


def empty_room_or_no_data():
    seconds = {}
    for sensor, message, targets, after in followed(*NIGHT, lambda sensor, _: sensor):
        until = after["received_at"] if after else NIGHT[1]
        held = min((until - message["received_at"]).total_seconds(), 10)
        seconds.setdefault(sensor, [0, 0])[0 if targets else 1] += held
    total = (NIGHT[1] - NIGHT[0]).total_seconds()
    return sorted(
        (sensor, round(some / 60, 2), round(none / 60, 2), round((total - some - none) / 60, 2))
        for sensor, (some, none) in seconds.items()
    )


def who_was_in_which_zone():
    zones, seen = {}, {}
    for message in MESSAGES:
        if message["channel"].startswith("/v1/iot/tokens?sn="):
            zones[message["channel"].removeprefix("/v1/iot/tokens?sn=")] = message["json"]["zones"]
        if not message["channel"].startswith("/location/") or local(message["received_at"]).date() != date(2026, 3, 29):
            continue
        sensor = message["channel"].removeprefix("/location/")
        for target in message["json"].get("params", []):
            if target.get("zoneId", 0) >= 1 and sensor in zones:
                name = zones[sensor][target["zoneId"] - 1]["name"]
                seen.setdefault((sensor, str(target["id"]), name), []).append(local(message["received_at"]))
    return sorted(
        (*key, min(at).strftime("%H:%M:%S"), max(at).strftime("%H:%M:%S"), len(at)) for key, at in seen.items()
    )


def places():
    """Vehicles: vendor, device, when, latitude, longitude, km/h."""
    for message in MESSAGES:
        said = message["json"]
        if message["vendor"] == "damoov" and said.get("type") == "device_update":
            at, where = said["position"], datetime.fromtimestamp(said["position"]["Timestamp"], UTC)
            yield "damoov", said["device_token"], where, at["Latitude"], at["Longitude"], at["Speed"] * 3.6
        elif message["channel"].startswith("upload/") and message["channel"].endswith("/location"):
            at = datetime.fromisoformat(said["gpsTime"])
            yield "jointech", said["assetId"], at, said["latitude"], said["longitude"], said["speed"]


def speeding_per_device_and_day():
    days = {}
    for vendor, device, at, _, _, kmh in places():
        if kmh > 70:
            days.setdefault((vendor, device, f"{local(at):%Y-%m-%d}"), []).append(kmh)
    return sorted((*key, len(found), round(max(found), 1)) for key, found in days.items())


def geofence_crossings():
    def is_inside(latitude, longitude):
        a, b = math.radians(latitude), math.radians(48.21)
        angle = math.acos(math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(math.radians(longitude - 16.42)))
        return 6371008.8 * angle <= 1500

    was, found = {}, []
    for vendor, device, at, latitude, longitude, _ in sorted(places()):
        inside = is_inside(latitude, longitude)
        if was.get((vendor, device), inside) != inside:
            found.append((vendor, device, stamp(at), "enters" if inside else "leaves"))
        was[vendor, device] = inside
    return found


def data_loss_per_day():
    # By what the scenario says about itself, not by the rules of the view.
    sensor = "ATR_GN_P4-990101-00018"
    crash = max(m["received_at"] for m in MESSAGES if m["received_at"] < datetime(2026, 3, 29, 3, 15, tzinfo=UTC))
    stopped = 15 + round((datetime(2026, 3, 29, 3, 30, tzinfo=UTC) - crash).total_seconds() / 60, 2)
    return [
        ("2026-03-28", "fleet", None, "not connected", 10.0),
        ("2026-03-28", "ward", sensor, "not connected", 45.0),
        ("2026-03-29", "fleet", None, "not connected", 20.0),
        ("2026-03-29", "fleet", None, "not recorded", stopped),
        ("2026-03-29", "locks", None, "not recorded", stopped),
        ("2026-03-29", "shop", None, "not connected", 30.0),
        ("2026-03-29", "shop", None, "not recorded", stopped),
        ("2026-03-29", "ward", None, "not recorded", stopped),
    ]


def alarm_latency():
    names = {("alarm", 1): "Speeding Alarm", ("alarm", 40): "Lock rope cut", ("alarm", 45): "Low power",
             ("sublock", 4): "Lock rope cut warning", ("sublock", 17): "Low battery warning"}
    lags = {}
    for message in MESSAGES:
        kind, said = message["channel"].rpartition("/")[2], message["json"]
        if kind in ("alarm", "sublock") and (name := names.get((kind, said.get("alarmType", said.get("eventType"))))):
            raised_at = datetime.fromisoformat(said.get("dateTime") or said["gpsTime"])
            lags.setdefault(("jointech", kind, name), []).append((message["received_at"] - raised_at).total_seconds())

    def quantile(sorted_lags, share):
        place = share * (len(sorted_lags) - 1)
        low = sorted_lags[math.floor(place)]
        return round(low + (sorted_lags[math.ceil(place)] - low) * (place - math.floor(place)), 1)

    return sorted(
        (*key, len(found), quantile(sorted(found), 0.5), quantile(sorted(found), 0.95), min(found), max(found))
        for key, found in lags.items()
    )


def a_field_without_a_column():
    altitudes = {}
    for message in MESSAGES:
        if message["vendor"] == "damoov" and "position" in message["json"]:
            altitudes.setdefault(message["json"]["device_token"], []).append(message["json"]["position"]["Altitude"])
    return [(device, len(found), max(found)) for device, found in sorted(altitudes.items())]


def dwell_times():
    visits, found = {}, []
    for message in MESSAGES:
        said = message["json"]
        if message["vendor"] != "delicode" or said.get("type") != "realtime_person_position":
            continue
        if 0 <= said["position"]["x"] <= 200 and 0 <= said["position"]["y"] <= 150:
            person, at = (str(said["location_id"]), str(said["person_id"])), message["received_at"]
            visit = visits.get(person)
            if visit is None or at - visit[1] > timedelta(seconds=5):
                visit = visits[person] = [at, at]
                found.append((person, visit))
            visit[1] = at
    return [(*person, stamp(first), (last - first).total_seconds()) for person, (first, last) in found]


def rows(frame):
    """A data frame's rows, with nulls as None and numbers as Python's."""
    frame = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    plain = lambda value: None if pandas.isna(value) else value.item() if hasattr(value, "item") else value
    return [tuple(map(plain, row)) for row in frame.itertuples(index=False)], list(frame.columns)


def by_duckdb(name):
    db = duckdb.connect()
    db.execute("SET TimeZone = 'America/New_York'")  # the answers do not depend on where they are asked
    db.execute(Path("views/duckdb.sql").read_text())
    return rows(db.execute((QUESTIONS / f"{name}.sql").read_text()).df())


def by_python(name, library):
    names = {}
    exec(compile((QUESTIONS / f"{name}.{library}.py").read_text(), f"{name}.{library}.py", "exec"), names)
    return rows(names["answer"])


def typed(text, like):
    return None if text == "" else type(like)(text) if isinstance(like, (int, float)) else text


NAMES = sorted({path.name.partition(".")[0] for path in QUESTIONS.iterdir()})
assert len(NAMES) == 10, NAMES
for name in NAMES:
    expected = globals()[name]()
    assert expected, name
    found, columns = by_duckdb(name)
    assert found == expected, f"{name} in DuckDB:\n{found}\nexpected:\n{expected}"
    for library in ("pandas", "polars"):
        answer = by_python(name, library)
        assert answer == (expected, columns), f"{name} in {library}:\n{answer}\nexpected:\n{expected}\n{columns}"
    page = QUESTIONS / f"{name}.csv"
    if os.environ.get("WRITE_ANSWERS"):
        with page.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *expected])
    with page.open(newline="") as file:
        header, *shown = csv.reader(file)
    assert header == columns, (name, header)
    assert [tuple(map(typed, row, like)) for row, like in zip(shown, expected, strict=True)] == expected, (name, shown)
print(len(NAMES), "questions")
