"""SENSORO's side of the wire by Python's own HTTP client and server: signed pushes in both modes are recorded, and
a receiver that checks signatures as the vendor's sample does gets them again."""
import base64
import collections
import hashlib
import hmac
import http.client
import http.server
import json
import threading
import time
from pathlib import Path

import pyarrow.parquet as parquet
from common import FOLDER, configure, listening, rows, start, stop, telereel

SECRET, APP_ID, APP_KEY = "YOURAPPSECRET", "123456", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
FIXTURES = Path(__file__).parents[2] / "fixtures" / "sensoro"
PUBLIC = "https://hooks.example.com"
_, port = configure(f'''
[[source]]
name = "city"
vendor = "sensoro"
path = "/hooks/city"
app_id = "{APP_ID}"
app_key = "{APP_KEY}"
app_secret = "{SECRET}"

[[source]]
name = "locks-push"
vendor = "jointech"
transport = "webhook"
path = "/hooks/locks"
header = {{ name = "headerKey", value = "secret-header-value" }}
''')


def signature(secret, nonce, url, body):
    mac = hmac.new(secret.encode(), nonce.encode() + b"POST" + url.encode() + body, hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


assert signature(SECRET, "1467018792599", "https://example.com/sensoro/webhooks", (FIXTURES / "telemetry_temperature.json").read_bytes()) \
    == "BqEl0aJjqOr4uJgbJbyokjdE3xWUMcqo0RrNXibVq7s=", "the sheet's vector"

recorder = start("record", "--json")
listening(port)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def push(body, path="/hooks/city", signed=None, secret=SECRET, **headers):
    nonce = str(time.time_ns() // 1_000_000)
    connection.request("POST", path, body, {
        "Host": "hooks.example.com", "X-Forwarded-Proto": "https", "Content-Type": "application/json", "X-ACCESS-ID": APP_ID,
        "X-ACCESS-NONCE": nonce, "X-ACCESS-SIGNATURE": signature(secret, nonce, PUBLIC + path, body if signed is None else signed), **headers})
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, content


def fixture(name):
    return (FIXTURES / f"{name}.json").read_bytes()


names = ["telemetry_temperature", "telemetry_safe", "telemetry_all", "telemetry_all_safe", "event_flat", "event_data", "event_safe", "other_type"]
expected = []
for name in names:
    status, answer = push(fixture(name))
    assert status == 200 and json.loads(answer)["messages"] == "success", (name, status, answer)
    expected.append(("/hooks/city", fixture(name)))
# What was not answered in time comes again, and what was not compact was signed as JavaScript prints it.
spaced = json.dumps(json.loads(fixture("telemetry_temperature")), indent=1).encode()
assert push(fixture("event_safe"), "/hooks/city/again?n=1")[0] == 200
assert push(spaced, signed=fixture("telemetry_temperature"))[0] == 200
expected += [("/hooks/city/again?n=1", fixture("event_safe")), ("/hooks/city", spaced)]
for refused in (
    push(fixture("event_flat"), secret="another"),
    push(fixture("event_flat"), signed=fixture("event_data")),
    push(fixture("event_flat"), **{"X-ACCESS-NONCE": "1"}),
    push(fixture("event_flat"), **{"X-ACCESS-SIGNATURE": ""}),
    push(fixture("event_flat"), **{"X-Forwarded-Proto": "http"}),
):
    assert refused[0] == 401, refused
alarm = b'{"assetId":"8040123456","alarmType":40,"dateTime":"2026-01-02T03:04:05Z"}'
for n in range(2):
    connection.request("POST", f"/hooks/locks/{n}", alarm, {"headerKey": "secret-header-value"})
    assert connection.getresponse().read() == b'{"result":200}'
summary = stop(recorder)
[city] = [s for s in summary["sources"] if s["name"] == "city"]
assert (city["messages"], city["duplicates"], city["decode_errors"]) == (len(expected), 3, 0), city

recorded = [r for r in rows("latest", "--source", "city") if r["kind"] != "link"]
assert [(r["channel"], r["bytes"]) for r in recorded] == expected
by_name = dict(zip(names, recorded))
assert by_name["telemetry_safe"]["clear"] == '{"battery":85,"interval":60,"temperature":23.5}', by_name["telemetry_safe"]
# The two sheet vectors share a msgId, as a message in plain and in safe mode would.
marks = [r.get("duplicate_of") for r in recorded]
first, event = by_name["telemetry_temperature"]["seq"], by_name["event_safe"]["seq"]
assert marks == [None, first] + [None] * 6 + [event, first], (marks, first, event)
[folder] = FOLDER.glob("archive/data/vendor=sensoro/kind=telemetry")
table = {row["seq"]: row for row in parquet.read_table(folder).to_pylist() if row["seq"] is not None}
assert len(table) == 5, table.keys()
for plain, safe in (("telemetry_temperature", "telemetry_safe"), ("telemetry_all", "telemetry_all_safe")):
    plain, safe = (table[by_name[name]["seq"]] for name in (plain, safe))
    own = lambda row: {k: v for k, v in row.items() if k not in ("message_id", "seq", "received_at", "elapsed_ns", "headers", "duplicate_of", "payload", "clear")}
    assert own(plain) == own(safe), (plain, safe)
assert table[first]["temperature_c"] == 23.5 and table[first]["device_id"] == "0117C9XXXX", table[first]
[everything] = [row for row in table.values() if row["humidity_percent"] is not None and row["clear"] is None]
assert (everything["longitude"], everything["latitude"], everything["gyro_y"], everything["leak"]) == (116.397128, 39.916527, -2.5, False)


class Receiver(http.server.BaseHTTPRequestHandler):
    """As the vendor's sample: verifies over the parsed and printed body; a lock receiver that knows only its header."""
    protocol_version = "HTTP/1.1"
    received = collections.defaultdict(list)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/hooks/city"):
            printed = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
            url = f"http://{self.headers['Host']}{self.path}"
            signed = signature(SECRET, self.headers["X-ACCESS-NONCE"], url, printed) == self.headers["X-ACCESS-SIGNATURE"]
            fresh = abs(time.time() * 1000 - int(self.headers["X-ACCESS-NONCE"])) < 60_000
            ok = signed and fresh and self.headers["X-ACCESS-ID"] == APP_ID and self.headers["X-Forwarded-Proto"] is None
        else:
            ok = self.headers["headerKey"] == "secret-header-value" and not self.path.endswith("/1")
        self.received[self.path.split("/")[2]].append((self.path, body, ok))
        answer = b'{"message":"success"}'
        self.send_response(200 if ok else 500)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{receiver.server_port}"
# What is not compact cannot be signed for both kinds of receivers: the bytes are.
spaced_at = len(expected) - 1
report = json.loads(telereel("replay", "latest", "--push", f"city={url}", "--push", f"locks-push={url}", "--json", "--pace", "max", "--drain", "2s",
                             "--trace", "trace.jsonl", code=3).splitlines()[-1])
got = Receiver.received["city"]
assert [(path, body) for path, body, _ in got] == expected, got
assert [ok for *_, ok in got] == [n != spaced_at for n in range(len(expected))], got
assert [(path, body) for path, body, _ in Receiver.received["locks"]] == [("/hooks/locks/0", alarm), ("/hooks/locks/1", alarm)]
clients = {client["endpoint"].split()[1]: client for client in report["clients"]}
# The lock's vendor does not push again; SENSORO's would have, after five seconds: what is idle for the whole of a
# drain is dropped, so after four at the latest.
assert (clients["locks-push"]["messages"], clients["locks-push"]["refused"]) == (1, 1), clients
assert (clients["city"]["messages"], clients["city"]["dropped"]) == (len(expected) - 1, 1), clients
assert SECRET not in Path("trace.jsonl").read_text() + json.dumps(report)

# Without the configuration nothing is signed afresh, and nothing else is served.
Receiver.received.clear()
(FOLDER / "empty.toml").write_text("")
telereel("-c", "empty.toml", "--archive", "archive", "replay", "latest", "--push", f"city={url}", "--pace", "max", "--drain", "0s", code=3)
assert {ok for *_, ok in Receiver.received["city"]} == {False}
telereel("-c", "empty.toml", "--archive", "archive", "replay", "latest", "--push", f"citty={url}", code=2)
telereel("verify")
