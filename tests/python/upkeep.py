"""What DuckDB and PyArrow read in an archive against what a naive reader of its payloads computes.

Called as `upkeep.py ARCHIVE rows|newer`; prints numbers as JSON that must not change by upkeep.
"""
import hashlib
import json
import os
import sys

import duckdb
import pyarrow.dataset
import pyarrow.parquet

os.chdir(sys.argv[1])
WHAT = sys.argv[2]
ALL = "read_parquet('data/**/*.parquet', hive_partitioning = true, union_by_name = true)"

duckdb.sql("SET VARIABLE segments = (SELECT list(path ORDER BY path) FROM read_json('segments.jsonl'))")
LISTED = "read_parquet(getvariable('segments'), hive_partitioning = true, union_by_name = true)"
everything = duckdb.sql(f"SELECT session_id, seq, vendor, kind, payload, channel, elapsed_ns FROM {ALL} ORDER BY session_id, seq").fetchall()
listed = duckdb.sql(f"SELECT session_id, seq, vendor, kind, payload, channel, elapsed_ns FROM {LISTED} ORDER BY session_id, seq").fetchall()
assert listed == everything, "the list of segments names another set of files"
assert len({row[:2] for row in everything}) == len(everything), "a row is there twice"

digest = hashlib.sha256()
for row in everything:
    digest.update(repr(row).encode())
session = {name: id for id, name in ((json.load(open(f"sessions/{f}"))["session_id"], json.load(open(f"sessions/{f}"))["name"]) for f in os.listdir("sessions"))}
numbers = {"rows": len(everything), "digest": digest.hexdigest(),
           "walk_rows": sum(row[0] == session.get("walk") for row in everything)}


def naive(kind):
    return [json.loads(row[4]) for row in everything if row[3] == kind]


# Rows are in the order of seq in every file, and every file's statistics are right.
for path in duckdb.sql("SELECT path FROM read_json('segments.jsonl')").fetchall():
    table = pyarrow.parquet.read_table(path[0], partitioning=None)
    seqs = table.column("seq").to_pylist()
    assert seqs == sorted(seqs), path
    groups = pyarrow.parquet.ParquetFile(path[0]).metadata
    column = groups.schema.names.index("seq")
    for group in range(groups.num_row_groups):
        statistics = groups.row_group(group).column(column).statistics
        assert statistics.min <= statistics.max and seqs[0] <= statistics.min and statistics.max <= seqs[-1]

expected = {}
for message in naive("location"):
    of = expected.setdefault(message["assetId"], [0, 0, 0, 0.0])
    of[0] += 1
    of[1] += message["speed"] or 0
    of[2] += message["speed"] is not None
    of[3] = max(of[3], message["latitude"])
found = duckdb.sql(f"""
    SELECT device_id, count(*), CAST(coalesce(sum(speed_kmh), 0) AS DOUBLE), count(speed_kmh), max(latitude)
    FROM {LISTED} WHERE kind = 'location' GROUP BY ALL ORDER BY ALL
""").fetchall() if expected else []
assert [list(row) for row in found] == [[device, *of] for device, of in sorted(expected.items())], (found, expected)

if os.path.isdir("data/vendor=jointech/kind=location"):
    table = pyarrow.dataset.dataset("data/vendor=jointech/kind=location", partitioning="hive").to_table(columns=["device_id", "speed_kmh"])
    assert table.num_rows == len(naive("location"))
    assert sum(v or 0 for v in table.column("speed_kmh").to_pylist()) == sum(of[1] for of in expected.values())

readings = naive("reading")
numbers["readings"] = len(readings)
if WHAT == "newer":
    schema = pyarrow.parquet.read_schema("data/vendor=generic/kind=reading/date=1970-01-01/schema.parquet")
    assert "humidity_percent" in schema.names and "temperature_c" not in schema.names, schema
    found = duckdb.sql(f"SELECT device_id, count(*), sum(humidity_percent), sum((decode_error IS NOT NULL)::INT) FROM {LISTED} WHERE kind = 'reading' GROUP BY 1 ORDER BY 1").fetchall()
    expected = {}
    for reading in readings:
        of = expected.setdefault(reading["id"], [0, 0.0, 0])
        of[0] += 1
        of[1] += reading["h"]
    assert [list(row) for row in found] == [[sensor, *of] for sensor, of in sorted(expected.items())], (found, expected)
elif readings:
    found = duckdb.sql(f"SELECT sum(temperature_c) FROM {LISTED} WHERE kind = 'reading'").fetchall()[0]
    assert found[0] == sum(reading["t"] for reading in readings), found

print(json.dumps(numbers))
