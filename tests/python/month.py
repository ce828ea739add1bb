"""Three typed columns of one device and one day, from an archive and from JSON lines, by DuckDB.

Called as `month.py FOLDER VENDOR KIND [AT_LEAST]`: FOLDER has `archive/` and `lines/DATE.jsonl.zst`. Prints one JSON
object; fails where the answers differ, or where the archive is not AT_LEAST times as fast. For an hour of the device it
counts what DuckDB reads of the files, and fails where that is a fiftieth of the month or more (a row group may be a day of it).
"""
import json
import sys
import time
from pathlib import Path

import duckdb
from fsspec.implementations.local import LocalFileSystem

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


class Counting(LocalFileSystem):
    """Local files, and how much of them is read."""

    protocol = "counting"
    read_bytes = 0

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)

        class Reader:
            def read(self, size=-1):
                data = file.f.read(size)
                Counting.read_bytes += len(data)
                return data

            def __getattr__(self, name):
                return getattr(file, name)

        return Reader()


def of_an_hour():
    """The share of the month's bytes that a query for the device's fullest hour of the day reads."""
    (hour_us, expected) = duck.sql(f"""SELECT epoch_us(date_trunc('hour', received_at)) AS hour, count(*) AS messages
        FROM read_parquet('{SEGMENTS}', hive_partitioning = true)
        WHERE device_id = '{device}' AND date = '{DAY}' GROUP BY hour ORDER BY messages DESC, hour LIMIT 1""").fetchall()[0]
    counting = duckdb.connect()
    # It seeks and then reads: two threads at one file get each other's bytes.
    counting.sql("SET threads = 1")
    counting.register_filesystem(Counting(skip_instance_cache=True))
    found = counting.sql(f"""SELECT {', '.join(COLUMNS)} FROM read_parquet('counting://{SEGMENTS}', hive_partitioning = true)
        WHERE device_id = '{device}' AND date = '{DAY}' AND received_at >= make_timestamptz({hour_us})
            AND received_at < make_timestamptz({hour_us}) + INTERVAL 1 HOUR""").fetchall()
    assert len(found) == expected > 0, (len(found), expected)
    return Counting.read_bytes / size(FOLDER / "archive/data", "*.parquet")


def size(folder, pattern):
    return sum(p.stat().st_size for p in Path(folder).rglob(pattern))


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
read = of_an_hour()
print(json.dumps({
    "rows": len(rows), "archive_s": round(fast, 4), "json_lines_s": round(slow, 2), "ratio": round(slow / fast, 1),
    "json_lines_of_the_day_s": round(day_packed, 3), "plain_s": round(day_plain, 3),
    "read_for_an_hour": round(read, 5), "ratio_to_the_day": round(day_plain / fast, 1),
    "archive_bytes": size(FOLDER / "archive/data", "*.parquet"), "json_lines_bytes": size(FOLDER / "lines", "*.zst"),
    "a_day_plain_bytes": plain.stat().st_size, "threads": duck.sql("SELECT current_setting('threads')").fetchall()[0][0],
}), flush=True)
plain.unlink()
assert 0 < read < 0.02, f"{read:.2%} of the month is read for an hour of a device"
if len(sys.argv) > 4:
    assert slow / fast >= float(sys.argv[4]), f"only {slow / fast:.1f} times as fast"
