"""Prints a data set as JSON lines {elapsed_ns, channel, payload}, in the order of arrival.

A folder holds a set: `*.jsonl.gz`, of which each line is a message, or has one in `payload` (with `topic` and
`recv`); where there is none, `*.csv.gz`, whose rows become JSON objects. Gaps longer than a minute are cut to it.
"""
import csv
import gzip
import json
import sys
from datetime import datetime
from pathlib import Path

TIMES = ["recv", "timestamp", "_timestamp", "t_utc", "t_ms", "ts_unix_s"]


def seconds(name, value):
    if name in ("recv", "t_utc"):
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    return float(value) / (1e3 if name in ("t_ms", "_timestamp") else 1)


def messages(folder):
    for path in sorted(folder.glob("*.jsonl.gz")):
        for line in gzip.open(path, "rt", encoding="utf-8"):
            line = line.rstrip("\n")
            row = json.loads(line)
            yield row, row.get("topic", "/"), row["payload"] if isinstance(row.get("payload"), str) and "topic" in row else line
        return
    for path in sorted(folder.glob("*.csv.gz")):
        for row in csv.DictReader(gzip.open(path, "rt", encoding="utf-8", newline="")):
            device = next((row[key] for key in ("device", "mmsi", "asset", "person_id") if key in row), "")
            yield row, f"sets/{device}", json.dumps(row)
        return


elapsed, last = 0.0, None
for row, channel, payload in messages(Path(sys.argv[1])):
    name = next(name for name in TIMES if name in row)
    now = seconds(name, row[name])
    if last is not None:
        elapsed += min(max(now - last, 0.0), 60.0)
    last = now
    print(json.dumps({"elapsed_ns": int(elapsed * 1e9), "channel": channel, "payload": payload}))
