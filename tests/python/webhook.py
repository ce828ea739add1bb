"""Webhooks posted with Python's own HTTP client: bytes, answers, refusals, and that an answer waits for no timer."""
import http.client
import json
import socket
import statistics
import time

import websocket
from common import BINARIES, TEXTS, Replay, configure, listening, rows, start, stop, telereel

# The sync interval is far longer than the whole test: an answer that waited for it would never come.
_, port = configure('''
[[source]]
name = "locks-push"
vendor = "jointech"
transport = "webhook"
path = "/hooks/locks"
header = { name = "headerKey", value = "secret-header-value" }

[[source]]
name = "anything"
vendor = "generic"
transport = "webhook"
path = "/hooks/any"
redact_query = ["sig"]
redact_headers = ["x-internal"]
''', sync_interval="10m")
with open("telereel.toml", "r+", encoding="utf-8") as f:
    text = f.read().replace("[webhooks]\n", '[webhooks]\nmax_body = "128KiB"\n')
    f.seek(0)
    f.write(text)
recorder = start("record", "--json")
listening(port)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def post(path, body, headers={}, method="POST"):
    began = time.perf_counter()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, content, time.perf_counter() - began


alarm = '{"assetId":"8040123456","alarmType":40,"dateTime":"2026-01-02T03:04:05Z","longitude":113.9,"latitude":22.5,"speed":0,"describe":""}'
key = {"headerKey": "secret-header-value", "Content-Type": "application/json;charset=UTF-8"}
bodies = [b.encode() if isinstance(b, str) else b for b in [alarm] + TEXTS] + BINARIES
expected, times = [], []
for round in range(5):
    for i, body in enumerate(bodies):
        status, answer, seconds = post(f"/hooks/locks/rule{i}?n={i}", body, key)
        assert (status, json.loads(answer)) == (200, {"result": 200}), (status, answer)
        expected.append((f"/hooks/locks/rule{i}?n={i}", body))
        times.append(seconds)
status, _, _ = post("/hooks/any?sig=secret-sig&a=%20b", b"{}", {"X-Internal": "secret-internal", "X-Two": "1", "Authorization": "Bearer secret-bearer"})
assert status == 200
print(f"answer in {statistics.median(times) * 1e3:.2f} ms (median), {max(times) * 1e3:.2f} ms (max)")
assert statistics.median(times) < 1, "answers must not wait for a timer"

assert post("/hooks/locks", alarm, {"headerKey": "wrong"})[0] == 401
assert post("/hooks/locks", alarm)[0] == 401
assert post("/hooks/locksmith", alarm, key)[0] == 404
assert post("/", alarm, key)[0] == 404
assert post("/hooks/locks", None, key, "GET")[0] == 405
connection.close()
assert post("/hooks/locks", b"x" * (129 << 10), key)[0] == 413
connection.close()

# A request that breaks off in its body was never whole: it is not recorded.
with socket.create_connection(("127.0.0.1", port)) as s:
    s.sendall(b"POST /hooks/any HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")

summary = stop(recorder)
assert {s["name"]: s["messages"] for s in summary["sources"]} == {"locks-push": len(expected), "anything": 1}, summary
recorded = [r for r in rows("latest", "--source", "locks-push") if r["kind"] != "link"]
assert [(r["channel"], r["bytes"]) for r in recorded] == expected
assert {r["kind"] for r in recorded} == {"alarm", "other"}, {r["kind"] for r in recorded}
assert all("headerkey" not in r["headers"] and r["headers"]["content-type"] for r in recorded)
[one] = [r for r in rows("latest", "--source", "anything") if r["kind"] == "message"]
assert one["channel"] == "/hooks/any?a=%20b" or "secret" not in one["channel"], one
assert one["headers"]["x-two"] == "1", one
everything = "".join(telereel(*v) for v in (("cat", "latest"), ("info", "latest", "--json"), ("list", "--json")))
for secret in ("secret-header-value", "secret-sig", "secret-internal", "secret-bearer"):
    assert secret not in everything, secret
for path in (p for p in __import__("pathlib").Path("archive").rglob("*") if p.is_file()):
    assert b"secret-" not in path.read_bytes(), path

replay = Replay("--speed", "5")
ws = websocket.create_connection(replay.ws + "/ws?source=locks-push", timeout=60)
for channel, body in expected:
    assert ws.recv_data()[1] == body
replay.done()
telereel("verify")
