"""Exports read by other programs, and other programs' files read back.

Called with a folder that holds `rows.jsonl`: the same rows must come out of every reader.
"""
import base64
import csv
import json
import subprocess
import tarfile

import duckdb
import pandas
import polars
import pyarrow.parquet
from mcap.reader import make_reader
from mcap.writer import Writer

from common import FOLDER, free_port, listening, telereel

telereel("import", "rows.jsonl", "--session", "rows")
telereel("clip", "rows", "part", "--from", "+1s", "--to", "+3s")
rows = [json.loads(line) for line in telereel("export", "rows", "--to", "-").splitlines()]
assert len(rows) == 1200


def payload(row):
    return base64.b64decode(row["payload_base64"]) if "payload_base64" in row else row["payload"].encode()


payloads = [payload(row) for row in rows]
alarms = sum(row["kind"] == "alarm" for row in rows)

# Parquet: one file, all columns, in four readers.
telereel("export", "rows", "--to", "rows.parquet")
table = pyarrow.parquet.read_table(FOLDER / "rows.parquet")
assert table["payload"].to_pylist() == payloads
assert table["seq"].to_pylist() == [row["seq"] for row in rows]
assert set(table["vendor"].to_pylist()) == {"jointech", "generic"}
frame = pandas.read_parquet(FOLDER / "rows.parquet")
assert (frame.alarm_code == 40).sum() == alarms and frame.alarm_code.isna().sum() == len(rows) - alarms
lazy = polars.scan_parquet(FOLDER / "rows.parquet")
found = lazy.filter(polars.col("kind") == "alarm").select("latitude", "device_id").unique().collect()
assert found.rows() == [(60.1, "8200123456")], found
count, day, name = duckdb.sql(
    f"SELECT count(*), min(date), any_value(alarm_name) FROM '{FOLDER}/rows.parquet' WHERE vendor = 'jointech'"
).fetchall()[0]
assert (count, str(day)) == (alarms, "2026-11-22") and name, (count, day, name)

# CSV by Python's own module; what is no text is base64.
telereel("export", "rows", "--to", "rows.csv")
with open(FOLDER / "rows.csv", newline="", encoding="utf-8") as file:
    table = list(csv.DictReader(file))
assert [base64.b64decode(r["payload_base64"]) if r["payload_base64"] else r["payload"].encode() for r in table] == payloads
assert sum(r["alarm_code"] == "40" for r in table) == alarms

# MCAP: payloads are the messages, in order, on a topic for each source, kind and channel.
telereel("export", "rows", "--to", "rows.mcap")
with open(FOLDER / "rows.mcap", "rb") as file:
    reader = make_reader(file, validate_crcs=True)
    summary = reader.get_summary()
    assert summary.statistics.message_count == len(rows)
    assert summary.statistics.channel_count == len(summary.channels) == 3, summary.channels
    topics = {channel.topic: channel.message_encoding for channel in summary.channels.values()}
    assert topics["/locks/alarm/upload/AK/8200123456/alarm"] == "json", topics
    assert topics["/door/message/in"] == "application/octet-stream", topics
    messages = list(reader.iter_messages())
    assert [message.data for _, _, message in messages] == payloads
    schema, channel, message = messages[0]
    assert (schema.name, schema.encoding) == ("jointech.alarm", "jsonschema")
    assert json.loads(schema.data)["type"] == "object"
    assert channel.metadata["telereel.vendor"] == "jointech"
    assert message.log_time == duckdb.sql(
        f"SELECT epoch_ns(received_at) FROM '{FOLDER}/rows.parquet' WHERE seq = 0").fetchall()[0][0]
    # Only the alarms, by the index.
    only = list(reader.iter_messages(topics=["/locks/alarm/upload/AK/8200123456/alarm"]))
    assert len(only) == alarms
    assert sum(1 for _ in reader.iter_attachments()) == summary.statistics.attachment_count
    names = [metadata.name for metadata in reader.iter_metadata()]
    assert names == ["telereel.session"], names

# A reel is a tar of an archive: without Telereel it opens in DuckDB.
telereel("export", "part", "--to", "part.reel")
with tarfile.open(FOLDER / "part.reel") as reel:
    assert reel.getnames()[0] == "archive.json"
    reel.extractall(FOLDER / "unpacked", filter="data")
count = duckdb.sql(
    f"SELECT count(*) FROM read_parquet('{FOLDER}/unpacked/data/**/*.parquet', hive_partitioning = true, "
    "union_by_name = true)").fetchall()[0][0]
assert count == 200, count
telereel("--archive", "unpacked", "reindex")
telereel("--archive", "unpacked", "verify")

# Everything that comes back is what went.
for name in ["rows.csv", "rows.mcap", "part.reel"]:
    other = "back-" + name
    telereel("--archive", other, "import", name)
    telereel("--archive", other, "verify")
    back = [json.loads(line) for line in telereel("--archive", other, "export", "latest", "--to", "-").splitlines()]
    assert back == (rows[100:300] if name == "part.reel" else rows), name

# MCAP of others.
with open(FOLDER / "drive.mcap", "wb") as file:
    writer = Writer(file)
    writer.start()
    schema = writer.register_schema("pose", "jsonschema", b'{"type":"object"}')
    poses = writer.register_channel("/pose", "json", schema)
    raw = writer.register_channel("/raw", "cdr", 0)
    for n in range(500):
        at = 1_795_347_440_000_000_000 + n * 1_000_000
        writer.add_message(poses, at, b'{"x": %d}' % n, at)
        writer.add_message(raw, at, bytes([n % 256, 255]), at)
    writer.finish()
told = json.loads(telereel("import", "drive.mcap", "--source", "car-7", "--json"))
assert told["messages"] == 1000, told
drive = [json.loads(line) for line in telereel("cat", "drive").splitlines()]
assert drive[2]["payload"] == '{"x": 1}' and drive[2]["channel"] == "/pose" and drive[2]["source"] == "car-7"
assert drive[2]["received_at"] == "2026-11-22T11:37:20.001000Z" and drive[2]["elapsed_ns"] == 1_000_000, drive[2]
assert payload(drive[3]) == b"\x01\xff" and drive[3]["is_binary"], drive[3]

# What mosquitto_sub prints of a real broker, in its ways. The broker keeps what comes between the two calls: nobody
# has to guess when a subscription stands.
port = free_port()
(FOLDER / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
broker = subprocess.Popen(["mosquitto", "-c", str(FOLDER / "mosquitto.conf")], stderr=subprocess.DEVNULL)
HEX = '{"tst":"%U","topic":"%t","qos":%q,"retain":%r,"payload_hex":"%x"}'
WAYS = {"j": ("%j", "mqttv311"), "j5": ("%j", "mqttv5"), "hex": (HEX, "mqttv311")}
SENT = [b'{"x":-0.0}', 'hi "q" \\ é'.encode(), b'\xff\xfe\x01"x', b"", b"l1\nl2\t\x7f\x1f"]


def subscribe(name, *more):
    form, version = WAYS[name]
    session = ["-c", "-i", name, "-V", version, *(["-x", "3600"] if version == "mqttv5" else [])]
    asked = ["mosquitto_sub", "-p", str(port), "-t", "#", "-q", "1", "-F", form, *session, *more]
    return subprocess.run(asked, check=True, capture_output=True, timeout=60).stdout


def publish(body, *more):
    how = ["-s"] if body else ["-n"]
    subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a/ü", "-q", "1", *how, *more], input=body, check=True)


try:
    listening(port)
    publish(b"1", "-r")
    for name in WAYS:
        subscribe(name, "-E")
    for body in SENT:
        publish(body)
    for name in WAYS:
        # The retained one is sent with each subscription.
        (FOLDER / f"{name}.jsonl").write_bytes(subscribe(name, "-C", str(len(SENT) + 1)))
finally:
    broker.terminate()
    broker.wait()
for name in WAYS:
    telereel("import", f"{name}.jsonl", "--source", "city")
    city = [json.loads(line) for line in telereel("cat", name).splitlines()]
    bodies = [payload(row) for row in city if not row["retain"]]
    assert bodies == SENT and city[0]["retain"] and payload(city[0]) == b"1", (name, city)
    assert all(row["channel"] == "a/ü" and row["qos"] == 1 and row["source"] == "city" for row in city), (name, city)
telereel("verify")
