"""What is left of who was there in what `export --pseudonymize` writes: searched by PyArrow and tar, replayed to clients.

The demo records all vendors over real sockets. Identifiers are collected from its payloads by their vendors' names.
"""
import json
import subprocess
import tarfile
from collections import Counter

import paho.mqtt.client as mqtt
import pyarrow.parquet
import websocket
from common import ARCHIVE, FOLDER, TELEREEL, Replay, rows, telereel, until

telereel("demo", "--dir", "demo", "--seconds", "2")
(FOLDER / "demo" / "archive").rename(ARCHIVE)
KEY = "correct-horse-battery-staple"
(FOLDER / "key.txt").write_text(KEY + "\n")

# A fileIndex is none of them here: it is a time in seconds, as others are that stay.
NAMES = {
    "assetId", "card", "password", "subAssetID", "device_token", "track_token", "instance_id", "sn", "appId",
    "waybillGUID", "waybillNo", "subLockId", "subLargeCharId", "subId", "sensors", "app_id", "access_key",
}
kept = rows("latest", "--kind", "link", *sum((["--kind", kind] for kind in {r["kind"] for r in rows()}), []))
ids = {row["device_id"] for row in kept if row.get("device_id")} | {row["session_id"] for row in kept}


def collect(value, name=None):
    if isinstance(value, dict):
        for key, member in value.items():
            collect(member, key)
    elif isinstance(value, list):
        for item in value:
            collect(item, name)
    elif isinstance(value, str) and value[:1] in "{[" and value[:1]:
        try:
            collect(json.loads(value), name)
        except json.JSONDecodeError:
            pass
    elif name in NAMES and value:
        ids.add(str(value))


for row in kept:
    for text in (row["bytes"], row.get("clear", "").encode()):
        try:
            collect(json.loads(text))
        except ValueError:
            pass
# A number of one or two digits is in everything.
ids = {text for text in ids if len(text) > 4}
assert len(ids) > 10, ids


def export(name, *args, key="file:key.txt", **kw):
    done = subprocess.run([TELEREEL, "export", "latest", "--to", name, "--json", "--pseudonymize", key, *args], cwd=FOLDER, capture_output=True, text=True, **kw)
    assert done.returncode == 0, done
    assert KEY not in done.stdout + done.stderr
    return json.loads(done.stdout), done.stderr


def no_id_in(what, where):
    found = [text for text in ids | {KEY} if text in what]
    assert not found, f"{where} holds {found}"


def searched(path):
    table = pyarrow.parquet.read_table(path)
    no_id_in(str(table.schema.metadata), path)
    for name in table.column_names:
        for value in table[name].to_pylist():
            no_id_in(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value), f"{path}, {name}")
    return table


told, said = export("out.reel")
assert told["pseudonymized"]["replaced"] > 0, told
assert "messages left out" in said and "places are as they were" in said and "warning" not in said, said
with tarfile.open(FOLDER / "out.reel") as tar:
    tar.extractall(FOLDER / "unpacked", filter="data")
    no_id_in(" ".join(tar.getnames()), "the names of the reel's files")
for path in (FOLDER / "unpacked").rglob("*"):
    if path.suffix == ".parquet":
        searched(path)
    elif path.is_file():
        no_id_in(path.read_text(), path)
assert json.loads(telereel("info", "out.reel", "--json"))["pseudonymized"] is True
assert "pseudonyms" in telereel("info", "out.reel")
export("out.parquet", "--shift-time", "key", "--shift-place", "key")
table = searched(FOLDER / "out.parquet")
assert table.num_rows == told["messages"]
for name in ("out.csv", "out.jsonl", "out.mcap"):
    export(name)
    no_id_in((FOLDER / name).read_bytes().decode("utf-8", "replace"), name)

# The same key by another way is the same, another key is another.
export("again.jsonl", key="env:REEL_KEY", env={"REEL_KEY": KEY})
assert (FOLDER / "again.jsonl").read_bytes() == (FOLDER / "out.jsonl").read_bytes()
export("other.jsonl", key="another-key-of-some-length")
assert (FOLDER / "other.jsonl").read_bytes() != (FOLDER / "out.jsonl").read_bytes()
for bad in ("", "env:NOT_THERE", "file:not-there"):
    telereel("export", "latest", "--to", "x.reel", "--pseudonymize", bad, code=2)

# Groups are as large as they were, whoever they are of.
new = [json.loads(line) for line in (FOLDER / "out.jsonl").read_text().splitlines()]
left = {row["seq"] for row in new}
for of in ("device_id", "channel"):
    before = Counter((row["source"], row["kind"], row.get(of)) for row in kept if row["seq"] in left)
    after = Counter((row["source"], row["kind"], row.get(of)) for row in new)
    assert sorted(before.values()) == sorted(after.values()), (of, before, after)

# What is exported comes in, is whole, and is replayed to clients that ask for the new names.
telereel("--archive", "other", "import", "out.reel")
telereel("--archive", "other", "verify")
shop = [row for row in new if row["vendor"] == "delicode" and row["kind"] in ("person_position", "person_lost", "demographics")]
location = int(shop[0]["device_id"])
replay = Replay("--pace", "max", session="out.reel")
ws = websocket.create_connection(replay.ws + "/websocket_realtime", timeout=60)
ws.send(json.dumps({"type": "realtime_register", "token": "any", "locations": [location]}))
assert json.loads(ws.recv())["result"] == "success"
got = []
while True:
    opcode, frame = ws.recv_data()
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        break
    got.append(frame.decode())
assert got == [row["payload"] for row in shop if row["device_id"] == str(location)], got
replay.done()

locks = [row for row in new if row["vendor"] == "jointech" and "qos" in row and row["kind"] != "link"]
device = locks[0]["device_id"]
wanted = [(row["channel"], row["payload"]) for row in locks if f"/{device}/" in row["channel"]]
assert wanted and device not in ids
replay = Replay("--pace", "max", "--allow-any-credentials", session="out.reel")
client, received = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2), []
client.on_message = lambda client, data, message: received.append((message.topic, message.payload.decode()))
client.on_connect = lambda client, *rest: client.subscribe(f"upload/+/{device}/#", 1)
client.connect("127.0.0.1", replay.mqtt_port)
client.loop_start()
until(lambda: len(received) >= len(wanted), f"{len(wanted)} messages of {device}")
assert sorted(received) == sorted(wanted)
client.loop_stop()
client.disconnect()
replay.process.terminate()
replay.process.wait()
