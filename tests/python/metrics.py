"""What a recorder and a replay tell Prometheus, read by its own client library; and their health."""
import http.client
import json
import math
import re
import signal

from prometheus_client.parser import text_string_to_metric_families

from common import FOLDER, Replay, configure, listening, start, stop, telereel, until


def get(port, path, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def metrics(port, headers={}):
    answer, text = get(port, "/metrics", headers)
    assert answer.status == 200, (answer.status, text)
    assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    names, samples = set(), {}
    for family in text_string_to_metric_families(text):
        assert family.name not in names, f"{family.name} is there twice"
        assert family.documentation and family.type != "unknown", family
        names.add(family.name)
        # As `promtool check metrics` has it: counters end in _total, units are basic ones.
        assert not re.search(r"_(ms|us|ns|millis|minutes|hours|days|kb|kib|mb)(_|$)", family.name), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


SOURCES = """
[[source]]
name = "locks"
vendor = "jointech"
transport = "webhook"
path = "/hooks/locks"

[[source]]
name = "gone"
vendor = "generic"
transport = "websocket"
url = "ws://127.0.0.1:9/"
"""
console, webhooks = configure(SOURCES)
recorder = start("record", "--json")
listening(webhooks)
alarm = '{"assetId":"%s","alarmType":40,"dateTime":"2026-01-02T03:04:05Z","longitude":113.9,"latitude":22.5,"speed":0,"describe":""}'
for n in range(30):
    assert post(webhooks, "/hooks/locks", alarm % f"device-{n % 3}") == 200
of = (("source", "locks"), ("vendor", "jointech"))
gone = (("source", "gone"), ("vendor", "generic"))
seen = metrics(console)
assert seen["telereel_received_messages_total", *of] == 30, seen
assert seen["telereel_received_bytes_total", *of] == 30 * len(alarm % "device-0")
assert seen["telereel_dropped_messages_total", *of] == 0
assert seen["telereel_durable_rows_total",] >= 30
# Eight forty-eighths of what the program, sources and connections leave of 256 MiB.
assert 34 << 20 < seen["telereel_journal_queue_limit_bytes",] < 38 << 20
assert seen["telereel_durable_lag_seconds",] < 60
assert seen["telereel_durable_timestamp_seconds",] > 1.7e9
assert seen["telereel_open_part_age_seconds",] > 0
assert seen["telereel_unsealed_parts",] == 0
assert seen["telereel_disk_free_bytes",] > seen["telereel_disk_min_free_bytes",] == 1 << 30
assert seen["process_resident_memory_bytes",] > 1 << 20
assert seen["telereel_ready",] == 1
state = lambda name: [dict(k[1:])["state"] for k, v in seen.items() if k[0] == "telereel_source_state" and dict(k[1:])["source"] == name and v == 1]
assert state("locks") == ["connected"], state("locks")
assert len(state("gone")) == 1 and state("gone") != ["connected"]
devices = {dict(k[1:])["device"]: v for k, v in seen.items() if k[0] == "telereel_device_last_seen_timestamp_seconds"}
assert set(devices) == {"device-0", "device-1", "device-2"}, devices
assert all(math.isclose(v, seen["telereel_last_message_timestamp_seconds", *of], abs_tol=60) for v in devices.values())

# A vendor that is out puts nothing at risk that could be saved.
until(lambda: metrics(console)["telereel_source_down_seconds", *gone] > 0, "the outage")
for path, key in ("/livez", "alive"), ("/readyz", "ready"):
    answer, text = get(console, path)
    assert answer.status == 200 and json.loads(text)[key] is True, (path, text)
# What was durable is told to people, too. Each attempt to reach the vendor that is out is journaled as well.
def durable_is_told():
    journal = json.loads(telereel("status", "--json"))["journal"]
    is_all = journal["durable"]["seq"] >= 29 and journal["waiting_messages"] == 0
    return is_all and f'durable up to seq {journal["durable"]["seq"]}, received ' in telereel("status")
until(durable_is_told, "what is durable, told to people")
# Another site's page does not get them.
assert get(console, "/metrics", {"Origin": "http://evil.example"})[0].status == 403
stop(recorder)

# Below min_free_disk data is at risk, and the process is well.
text = (FOLDER / "telereel.toml").read_text()
(FOLDER / "telereel.toml").write_text(text.replace('path = "archive"', 'path = "other"\nmin_free_disk = "900TiB"', 1))
recorder = start("record", "--json")
listening(webhooks)
assert post(webhooks, "/hooks/locks", alarm % "d") == 503
answer, text = get(console, "/readyz")
assert answer.status == 503, text
assert [r["risk"] for r in json.loads(text)["reasons"]] == ["disk_low", "input_refused"], text
assert get(console, "/livez")[0].status == 200
seen = metrics(console)
assert (seen["telereel_ready",], seen["telereel_journal_accepting",]) == (0, 0)
assert seen["telereel_refused_messages_total", *of] == 1
recorder.send_signal(signal.SIGINT)
recorder.communicate(timeout=60)

# With a token: metrics need it, health does not, and tells no words to strangers.
text = (FOLDER / "telereel.toml").read_text()
(FOLDER / "telereel.toml").write_text(text.replace("[console]", '[console]\ntoken = "geheim"', 1))
recorder = start("record", "--json")
listening(webhooks)
assert get(console, "/metrics")[0].status == 401
assert metrics(console, {"Authorization": "Bearer geheim"})
answer, text = get(console, "/readyz")
assert answer.status == 503 and json.loads(text) == {"ready": False}, text
answer, text = get(console, "/readyz", {"Authorization": "Bearer geheim"})
assert json.loads(text)["reasons"], text
assert get(console, "/livez")[0].status == 200
recorder.send_signal(signal.SIGINT)
recorder.communicate(timeout=60)

# A replay.
(FOLDER / "telereel.toml").unlink()
import websocket
replay = Replay("--start-paused")
port = int(replay.http.rstrip("/").rsplit(":", 1)[1])
assert get(port, "/livez")[0].status == 200 and get(port, "/readyz")[0].status == 200
client = websocket.create_connection(f"{replay.ws}/ws", timeout=30)
until(lambda: metrics(port)["telereel_replay_clients",] == 1, "the client")
seen = metrics(port)
assert seen["telereel_replay_state", ("state", "paused")] == 1
assert seen["telereel_replay_emitted_messages_total",] == 0
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
connection.request("POST", "/api/v1/replays/1", json.dumps({"action": "step", "count": 10}))
assert connection.getresponse().status == 200
for _ in range(10):
    client.recv()
until(lambda: metrics(port)["telereel_replay_sent_messages_total",] == 10, "what was sent")
seen = metrics(port)
assert seen["telereel_replay_emitted_messages_total",] == 10
assert seen["telereel_replay_speed_ratio",] == 1
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
connection.request("POST", "/api/v1/replays/1", json.dumps({"action": "play"}))
assert connection.getresponse().status == 200
for _ in range(19):
    client.recv()
late = until(lambda: (m := metrics(port))["telereel_replay_lateness_seconds_count",] > 0 and m, "lateness")
assert 0 <= late["telereel_replay_lateness_seconds", ("quantile", "0.5")] <= late["telereel_replay_lateness_seconds", ("quantile", "1")]
assert late["telereel_replay_lateness_seconds_sum",] > 0
client.close()
replay.process.send_signal(signal.SIGINT)
replay.process.communicate(timeout=60)
