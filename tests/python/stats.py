"""Computes anew, from the Parquet files alone, what `telereel stats` says, and looks whether its plot shows the same.

Called as `stats.py TELEREEL ARCHIVE`.
"""
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import duckdb

TELEREEL, ARCHIVE = sys.argv[1:]
os.chdir(ARCHIVE)
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute(Path("views/duckdb.sql").read_text())
db.execute("""CREATE TABLE rows AS
    SELECT vendor, kind, source, session_id, seq, device_id, elapsed_ns, epoch_us(received_at) AS came, epoch_us(event_at) AS event,
        octet_length(payload) AS size, decode_error IS NOT NULL AS failed, duplicate_of IS NOT NULL AS again
    FROM read_parquet('data/**/*.parquet', hive_partitioning = true, union_by_name = true)""")
NAMES = {sidecar["name"]: sidecar["session_id"] for sidecar in (json.loads(p.read_text()) for p in Path("sessions").glob("*.json"))}
END_NS = dict(db.execute("SELECT session_id, max(elapsed_ns) FROM rows GROUP BY ALL").fetchall())


# No file of an archive, so not in it.
OUTSIDE = tempfile.TemporaryDirectory()
PLOT = f"{OUTSIDE.name}/plot.svg"


def stats(*args):
    out = subprocess.run([TELEREEL, "--archive", ".", "stats", "--json", *args], capture_output=True, text=True)
    assert out.returncode == 0, (args, out.stderr)
    return json.loads(out.stdout)


def us(text):
    (found,) = db.execute("SELECT epoch_us(?::TIMESTAMPTZ)", [text]).fetchone()
    return found


def at_rank(values, share):
    return sorted(values)[max(1, math.ceil(len(values) * share)) - 1]


def near(found, wanted, of=1_000):
    return abs(found - wanted) <= abs(wanted) / of


def check_group(group, rows, recorded_us, digits=1_000):
    """One group against its rows: (session_id, seq, elapsed_ns, came, event, size, failed, again)."""
    sizes = [row[5] for row in rows]
    assert group["messages"] == len(rows) and group["bytes"] == sum(sizes), group
    found = group["payload_bytes"]
    assert (found["min"], found["max"]) == (min(sizes), max(sizes)), found
    assert near(found["p50"], at_rank(sizes, 0.5), digits) and near(found["p99"], at_rank(sizes, 0.99), digits), found
    ats = [row[3] for row in rows]
    assert (us(group["first_at"]), us(group["last_at"])) == (min(ats), max(ats)), group
    lags = [row[3] - row[4] for row in rows if row[4] is not None]
    assert group["without_event_at"] == len(rows) - len(lags)
    lag = group["lag_us"]
    assert (lag is None) == (not lags)
    if lags:
        assert (lag["messages"], lag["negative"]) == (len(lags), sum(n < 0 for n in lags)), lag
        assert (lag["min"], lag["max"]) == (min(lags), max(lags)), lag
        assert near(lag["p50"], at_rank(lags, 0.5), digits) and near(lag["p99"], at_rank(lags, 0.99), digits), lag
    assert group["decode_errors"] == sum(row[6] for row in rows) and group["duplicates"] == sum(row[7] for row in rows)
    rows = sorted(rows)
    silences = [b[2] - a[2] for a, b in zip(rows, rows[1:]) if a[0] == b[0]]
    assert group["silence_max_us"] == (max(silences) // 1_000 if silences else None), group
    rate, counts = group["rate"], {}
    for at in ats:
        counts[at // rate["step_us"]] = counts.get(at // rate["step_us"], 0) + 1
    first = us(rate["start"]) // rate["step_us"]
    assert us(rate["start"]) % rate["step_us"] == 0
    assert {first + n: count for n, count in enumerate(rate["messages"]) if count} == counts, (rate, counts)
    assert math.isclose(group["rate_hz"], len(rows) * 1e6 / recorded_us), (group, recorded_us)
    most_hz = max(max(counts.values()) / rate["step_us"], len(rows) / recorded_us) * 1e6
    assert math.isclose(group["rate_max_hz"], most_hz), group


COLUMNS = "session_id, seq, elapsed_ns, came, event, size, failed, again"


def check(args, sessions, where="kind NOT IN ('link', 'control')", recorded_us=None, devices=False):
    """A selection against what `where` selects of these sessions."""
    found = stats(*args, *(["--by", "device", "--top", "1000"] if devices else []))
    chosen = f"({where}) AND session_id IN ({', '.join(repr(s) for s in sessions)})"
    recorded_us = recorded_us or sum(END_NS[s] // 1_000 for s in sessions)
    assert found["recorded_us"] == recorded_us, (found["recorded_us"], recorded_us)
    (count, size) = db.execute(f"SELECT count(*), sum(size) FROM rows WHERE {chosen}").fetchone()
    assert (found["messages"], found["bytes"]) == (count, size), args
    keys = db.execute(f"SELECT DISTINCT source, vendor, kind FROM rows WHERE {chosen} ORDER BY ALL").fetchall()
    assert [(g["source"], g["vendor"], g["kind"]) for g in found["groups"]] == keys, args
    for group, key in zip(found["groups"], keys):
        of = f"SELECT {COLUMNS} FROM rows WHERE {chosen} AND (source, vendor, kind) = (?, ?, ?)"
        check_group(group, db.execute(of, key).fetchall(), recorded_us)
    if devices:
        keys = db.execute(f"SELECT DISTINCT source, vendor, kind, device_id FROM rows WHERE {chosen}").fetchall()
        by_key = {(g["source"], g["vendor"], g["kind"], g["device_id"]): g for g in found["devices"]}
        assert set(by_key) == set(keys) and len(keys) == len(found["devices"])
        for key, group in by_key.items():
            of = f"""SELECT {COLUMNS} FROM rows WHERE {chosen} AND (source, vendor, kind) = (?, ?, ?)
                AND device_id IS NOT DISTINCT FROM ?"""
            check_group(group, db.execute(of, key).fetchall(), recorded_us, digits=100)
    return found


def check_outages(found):
    """The view `outages` says the same of whole sessions."""
    told = sorted((s["source"], o.get("device_id", "-"), o["what"], us(o["from"]), o["lasted_us"], o["planned"])
                  for s in found["sources"] for o in s["outages"])
    ends = {session: (us(w["from"]), w["recorded_us"]) for w in found["sessions"] for session in [w["session_id"]]}
    wanted = []
    for source, device, reason, at, session, lasted, planned in db.execute("""
            SELECT source, device_id, reason, epoch_us(started_at), session_id, (duration_s * 1e6)::BIGINT, planned
            FROM outages""").fetchall():
        if lasted is None:  # to the last message
            lasted = ends[session][0] + ends[session][1] - at
        wanted.append((source, device or "-", reason, at, lasted, planned))
    assert len(wanted) == 6 + 5 and told == sorted(wanted), (told, sorted(wanted))
    for source in found["sources"]:
        of = [o for o in source["outages"] if o["what"] == "not connected"]
        assert source["gaps"] == {
            "count": len(of), "planned": sum(o["planned"] for o in of),
            "longest_us": max((o["lasted_us"] for o in of), default=0), "total_us": sum(o["lasted_us"] for o in of)}


def check_plot(*args):
    """What is drawn, turned back into numbers."""
    found = stats(*args, "--plot", PLOT)
    root = ET.parse(PLOT).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    assert root.find(svg + "title").text and root.find(svg + "desc").text
    pictures = root.findall(svg + "g")
    assert len(pictures) == len(found["groups"])
    for picture, group in zip(pictures, found["groups"]):
        assert (picture.get("data-source"), picture.get("data-kind")) == (group["source"], group["kind"])
        assert picture.get("data-messages") == str(group["messages"])
        top = next(t for t in picture.findall(svg + "text") if t.get("class") == "left" and re.fullmatch(r"[\d.]+/\w+", t.text))
        zero = float(next(line for line in picture.findall(svg + "line") if line.get("class") == "zero").get("y1"))
        number, unit = top.text.split("/")
        hz_per_px = float(number) / {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[unit] / (zero - (float(top.get("y")) - 4))
        (path,) = [p for p in picture.findall(svg + "path") if p.get("class") == "rate"]
        points = [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) (\S+)", path.get("d"))]
        counts = group["rate"]["messages"]
        width = (944 - 64) / len(counts)
        for n, count in enumerate(counts):
            middle = 64 + (n + 0.5) * width
            before = [y for x, y in points if x <= middle]
            hz = (zero - before[-1]) * hz_per_px if before else 0
            assert abs(hz - count * 1e6 / group["rate"]["step_us"]) <= 0.11 * hz_per_px, (group["kind"], n, hz, count)
        source = next(s for s in found["sources"] if s["source"] == group["source"])
        shaded = [r for r in picture.findall(svg + "rect")]
        times = 2 if group["lag_us"] else 1
        assert len(shaded) == times * len(source["outages"]), (group["kind"], len(shaded))
    return found


early, late = NAMES["early"], NAMES["late"]
whole = check([], [early, late], devices=True)
check_outages(whole)
assert {v for g in whole["groups"] for v in [g["vendor"]]} == {"damoov", "delicode", "jointech", "pontosense", "sensoro"}
assert any(g["decode_errors"] for g in whole["groups"]) and any(g["lag_us"] and g["lag_us"]["negative"] for g in whole["groups"])
found = check(["late"], [late], devices=True)
assert found["bucket_us"] == 1_000_000, found["bucket_us"]
check(["late", "--bucket", "7s"], [late])
check(["late", "--kind", "link"], [late], "kind = 'link'")
check(["late", "--vendor", "jointech", "--channel", "*hooks*"], [late], "kind <> 'control' AND kind <> 'link' AND vendor = 'jointech' AND seq IN ("
      "SELECT seq FROM read_parquet('data/vendor=jointech/**/*.parquet', union_by_name = true) WHERE channel LIKE '%hooks%')")
check(["late", "--where", "speed_kmh >= 0"], [late], "kind NOT IN ('link', 'control') AND seq IN ("
      f"SELECT seq FROM read_parquet('data/**/*.parquet', union_by_name = true) WHERE speed_kmh >= 0 AND session_id = '{late}')")
(device,) = db.execute("SELECT any_value(device_id) FROM rows WHERE vendor = 'pontosense'").fetchone()
check(["--device", device], [early, late], f"device_id = '{device}' AND kind NOT IN ('link', 'control')")
check(["late", "--from", "+10s", "--to", "+30s"], [late],
      "elapsed_ns BETWEEN 10e9 AND 30e9 - 1 AND kind NOT IN ('link', 'control')", recorded_us=20_000_000)
(from_ns, to_ns) = db.execute(f"""SELECT min(elapsed_ns) FILTER (elapsed_ns >= 10e9), min(elapsed_ns) FILTER (elapsed_ns >= 30e9)
    FROM rows WHERE session_id = '{late}'""").fetchone()
check(["middle"], [late], "elapsed_ns >= 10e9 AND elapsed_ns < 30e9 AND kind NOT IN ('link', 'control')",
      recorded_us=(to_ns - from_ns) // 1_000)

# What has no column, in all messages of a kind, since there are few.
info = json.loads(subprocess.run([TELEREEL, "--archive", ".", "info", "late", "--json"], capture_output=True, text=True).stdout)
unknown = sorted((f["vendor"], f["kind"], f["path"], f["messages"]) for f in info["unknown_fields"])
told = sorted((f["vendor"], f["kind"], f["path"], f["messages"]) for g in found["groups"] for f in g["unknown_fields"])
assert unknown and told == unknown, (told, unknown)

for selection in ([], ["late"], ["late", "--bucket", "10s"]):
    check_plot(*selection)
assert "not connected" in Path(PLOT).read_text() and "<b>" not in Path(PLOT).read_text()
