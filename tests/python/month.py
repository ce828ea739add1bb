"""Three typed columns of one device and one day, from an archive and from JSON lines, by DuckDB.

Called as `month.py FOLDER VENDOR KIND [AT_LEAST]`: FOLDER has `archive/` and `lines/DATE.jsonl.zst`. Prints one JSON
object; fails where the answers differ, or where the archive is not AT_LEAST times as fast.
"""
import json
import sys
import time
from pathlib import Path

import duckdb

FOLDER, VENDOR, KIND = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
DAY = "2026-11-17"
# Column, and where it is in the payload.
COLUMNS = {
    "jointech": {"latitude": "$.latitude", "longitude": "$.longitude", "speed_kmh": "$.speed"},
    "damoov": {"latitude": "$.position.Latitude", "longitude": "$.position.Longitude", "speed_mps": "$.position.Speed"},
}[VENDOR]
SEGMENTS = f"{FOLDER}/archive/data/vendor={VENDOR}/kind={KIND}/**/*.parquet"

duck = duckdb.connect()
duck.sql("SET TimeZone = 'UTC'")
(device,) = duck.sql(f"""SELECT device_id FROM read_parquet('{SEGMENTS}', hive_partitioning = true)
    WHERE date = '{DAY}' GROUP BY ALL ORDER BY count(*) DESC, device_id LIMIT 1""").fetchall()[0]


def typed():
    return duck.sql(f"""SELECT seq, {', '.join(COLUMNS)} FROM read_parquet('{SEGMENTS}', hive_partitioning = true)
        WHERE device_id = '{device}' AND date = '{DAY}' ORDER BY seq""").fetchall()


def lines(files):
    values = [f"CAST(payload ->> '{path}' AS DOUBLE)" for path in COLUMNS.values()]
    return duck.sql(f"""SELECT seq, {', '.join(values)} FROM read_json('{files}', format = 'newline_delimited', columns = {{
            'kind': 'VARCHAR', 'seq': 'BIGINT', 'received_at': 'TIMESTAMPTZ', 'device_id': 'VARCHAR', 'payload': 'VARCHAR'}})
        WHERE device_id = '{device}' AND kind = '{KIND}' AND received_at >= TIMESTAMPTZ '{DAY} 00:00:00+00'
            AND received_at < TIMESTAMPTZ '{DAY} 00:00:00+00' + INTERVAL 1 DAY ORDER BY seq""").fetchall()


def best(ask, *args, times=1):
    took, answer = [], None
    for _ in range(times):
        began = time.perf_counter()
        answer = ask(*args)
        took.append(time.perf_counter() - began)
    return min(took), answer


fast, rows = best(typed, times=7)
slow, expected = best(lines, f"{FOLDER}/lines/*.jsonl.zst")
assert rows and len(rows) == len(expected), (len(rows), len(expected))
# Without a fix the vendor sends 0, 0; the column is null.
different = [(a, b) for a, b in zip(rows, expected) if a != b and not (a[1] is None and b[1] == b[2] == 0)]
assert not different, different[:3]

day = FOLDER / "lines" / f"{DAY}.jsonl.zst"
day_packed, _ = best(lines, day)
plain = FOLDER / "day.jsonl"
import zstandard  # noqa: E402  (only for this figure)
with open(day, "rb") as packed, open(plain, "wb") as out:
    zstandard.ZstdDecompressor().copy_stream(packed, out)
day_plain, _ = best(lines, plain)
size = lambda folder, pattern: sum(p.stat().st_size for p in Path(folder).rglob(pattern))  # noqa: E731
print(json.dumps({
    "rows": len(rows), "archive_s": round(fast, 4), "json_lines_s": round(slow, 2), "ratio": round(slow / fast, 1),
    "json_lines_of_the_day_s": round(day_packed, 3), "plain_s": round(day_plain, 3),
    "ratio_to_the_day": round(day_plain / fast, 1),
    "archive_bytes": size(FOLDER / "archive/data", "*.parquet"), "json_lines_bytes": size(FOLDER / "lines", "*.zst"),
    "a_day_plain_bytes": plain.stat().st_size, "threads": duck.sql("SELECT current_setting('threads')").fetchall()[0][0],
}), flush=True)
plain.unlink()
if len(sys.argv) > 4:
    assert slow / fast >= float(sys.argv[4]), f"only {slow / fast:.1f} times as fast"
