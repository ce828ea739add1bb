"""What a reader gets from an archive's files: meaning and unit of each column, encodings, Bloom filters.

Called as `layout.py ARCHIVE`, with rows of the five vendors.
"""
import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet as pq

ARCHIVE = Path(sys.argv[1])
kinds = sorted(p for p in ARCHIVE.glob("data/vendor=*/kind=*") if p.name[5:] not in ("link", "control", "other"))
assert len(kinds) > 8, kinds


def fields(schema):
    """All fields, those in lists too."""
    for field in schema:
        yield field
        inner = field.type
        while hasattr(inner, "value_field"):
            inner = inner.value_field.type
        if hasattr(inner, "fields") and not hasattr(field.type, "key_field"):
            yield from fields(inner.fields)


def meaning(folder):
    for file in folder.rglob("*.parquet"):
        schema = pq.read_schema(file)
        for field in fields(schema):
            told = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
            assert told["description"] and int(told["PARQUET:field_id"]) > 0, (file, field.name, told)
            for end, unit in {"_kmh": "km/h", "_mps": "m/s", "_cm": "cm", "_percent": "%", "_c": "°C", "_deg": "°"}.items():
                if field.name.endswith(end):
                    assert told["unit"] == unit, (file, field.name, told)
            assert told["description"] or told["role"], told
        # The types are those that the file has without Arrow's schema: plain ones.
        bare = duckdb.sql(f"SELECT name, type FROM parquet_schema('{file}') WHERE name = 'payload'").fetchall()
        assert bare == [("payload", "BYTE_ARRAY")] and str(schema.field("payload").type) == "binary", bare
    # For readers that do not know Arrow.
    (text,) = duckdb.sql(f"""SELECT decode(value) FROM parquet_kv_metadata('{folder}/date=1970-01-01/schema.parquet')
        WHERE decode(key) = 'telereel.columns'""").fetchall()[0]
    told = json.loads(text)
    assert set(pq.read_schema(folder / "date=1970-01-01/schema.parquet").names) <= set(told), folder
    assert all(column["description"] and column["id"] for column in told.values()), told


def encodings(folder):
    files = [p for p in folder.rglob("*.parquet") if p.name != "schema.parquet"]
    for file in files:
        for name, encodings, bloom in duckdb.sql(f"""SELECT path_in_schema, encodings, bloom_filter_offset
                FROM parquet_metadata('{file}')""").fetchall():
            if name in ("seq", "received_at", "elapsed_ns", "event_at") or name.endswith("_at") and "targets" not in name and "," not in name:
                assert "DELTA_BINARY_PACKED" in encodings and "DICTIONARY" not in encodings, (file, name, encodings)
            if name in ("site", "session_id", "source", "channel", "device_id", "alarm_name", "loc_type_name"):
                assert "DICTIONARY" in encodings, (file, name, encodings)
            if name == "payload":
                assert "DICTIONARY" not in encodings, encodings
            assert (bloom is not None) == (name == "device_id"), (file, name)
        # Rows are in order, and so are the groups' times.
        table = pq.read_table(file, columns=["seq"])
        seqs = table.column("seq").to_pylist()
        assert seqs == sorted(seqs)
        sorting = pq.ParquetFile(file).metadata.row_group(0).sorting_columns
        assert [s.column_index for s in sorting] == [4], sorting
        assert all(pq.ParquetFile(file).metadata.row_group(0).column(c).has_offset_index for c in range(5))


def blooms(folder):
    """The filter has every device that is there, and hardly one that is not."""
    for file in (p for p in folder.rglob("*.parquet") if p.name != "schema.parquet"):
        devices = [d for (d,) in duckdb.sql(f"SELECT DISTINCT device_id FROM '{file}' WHERE device_id IS NOT NULL").fetchall()]
        probe = lambda device: duckdb.execute(  # noqa: E731
            f"SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe('{file}', 'device_id', ?)", [device]).fetchall()[0][0]
        assert not any(probe(device) for device in devices), file
        if devices:
            strangers = sum(probe(f"stranger-{n}") for n in range(100))
            assert strangers >= 90, (file, strangers)


def readers_agree(folder):
    """The same rows and the same types, with the file that has none among them."""
    pattern = f"{folder}/**/*.parquet"
    (rows,) = duckdb.sql(f"SELECT count(*) FROM read_parquet('{pattern}', hive_partitioning = true)").fetchall()[0]
    arrow = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    assert arrow.num_rows == rows
    assert len(pandas.read_parquet(folder)) == rows
    assert polars.read_parquet(pattern, hive_partitioning=True, missing_columns="insert").height == rows


for folder in kinds:
    meaning(folder)
    encodings(folder)
    blooms(folder)
    readers_agree(folder)
speed = pq.read_schema(ARCHIVE / "data/vendor=jointech/kind=location/date=1970-01-01/schema.parquet").field("speed_kmh")
assert speed.metadata[b"unit"] == b"km/h" and speed.metadata[b"role"] == b"measurement", speed.metadata
rope = pq.read_schema(ARCHIVE / "data/vendor=jointech/kind=location/date=1970-01-01/schema.parquet").field("status_lock_rope")
assert rope.metadata[b"codes"] == b"0 inserted, 1 pulled out", rope.metadata
print(len(kinds), "kinds")
