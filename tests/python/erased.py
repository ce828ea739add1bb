"""Where a text is in an archive, for somebody who knows nothing of it: the bytes of every file, every value of every
column as PyArrow decodes it, every value of every table as SQLite does.

Called as `erased.py ARCHIVE TEXT`; prints the paths of the files that hold it, as JSON.
"""
import json
import os
import sqlite3
import sys

import pyarrow.parquet

ROOT, TEXT = sys.argv[1], sys.argv[2]
NEEDLE = TEXT.encode()


def holds(value):
    if isinstance(value, bytes):
        return NEEDLE in value
    if isinstance(value, dict):
        return any(holds(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple)):
        return any(holds(part) for part in value)
    return value is not None and TEXT in str(value)


def decoded(path):
    if path.endswith(".parquet"):
        file = pyarrow.parquet.ParquetFile(path)
        yield from (file.metadata.metadata or {}).items()
        groups = range(file.metadata.num_row_groups)
        for column in (file.metadata.row_group(g).column(c) for g in groups for c in range(file.metadata.num_columns)):
            if column.statistics is not None and column.statistics.has_min_max:
                yield column.statistics.min, column.statistics.max
        for column in file.read().columns:
            yield from column.to_pylist()
    elif path.endswith(".sqlite"):
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            yield from database.execute(f'SELECT * FROM "{table}"').fetchall()
        database.close()


found, seen = set(), 0
for folder, _, names in os.walk(ROOT):
    for name in names:
        path, seen = os.path.join(folder, name), seen + 1
        if NEEDLE in open(path, "rb").read() or TEXT in path or any(holds(value) for value in decoded(path)):
            found.add(os.path.relpath(path, ROOT))
assert seen > 20, "that is no archive"
print(json.dumps(sorted(found)))
