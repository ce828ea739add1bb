"""A Damoov server on the `websockets` library with its token endpoint, recorded; the vendor's sample program, on
`websocket-client`, as the replay's client: the same bytes."""
import json
import threading
import time
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import websocket
from common import FOLDER, TEXTS, Replay, configure, free_port, rows, start, stop, telereel, until
from websockets.sync.server import serve

INSTANCE, DEVICES = "12345678-1234-1234-1234-123456789012", ["aaaaaaaa-0000-4000-8000-00000000000a", "bbbbbbbb-0000-4000-8000-00000000000b"]
PATH = "/realtime/api/v1/ws/realtime"


def jwt(name, seconds):
    part = lambda value: urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return f'{part({"alg": "none"})}.{part({"sub": name, "exp": int(time.time()) + seconds})}.secret-signature'


def update(device, n, **more):
    position = {"Latitude": 40.7128, "Longitude": -0.0, "Speed": n + 0.5, "Accuracy": 5.0, "Timestamp": 1640995200 + n, "Heading": 180.0}
    return json.dumps({"type": "device_update", "device_token": device, "track_token": "ABCDEFAB-CDEF-ABCD-EFAB-CDEFABCDEFAB", "position": position} | more)


# The first token is refused, the second refreshed ahead of its end (a tenth of 8 s), the third lasts.
TOKENS, LASTING = [jwt("first", 3600)], [8, 86400]
PARTS = [
    [update(DEVICES[0], 0)],
    [update(DEVICES[n % 2], n) for n in range(1, 5)] + ['{"type":"trip_finished"}', TEXTS[1]],
    [update(DEVICES[n % 2], n, note="Grüße 🚶") for n in range(5, 9)] + TEXTS[3:6],
]
calls, authenticated, pongs, sent, problems = [], [], [], [], []
lock, everything_sent, taken_over = threading.Lock(), threading.Event(), threading.Event()


class TokenEndpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        calls.append((self.path, body))
        TOKENS.append(jwt(f"refreshed {len(calls)}", LASTING[len(calls) - 1]))
        reply = {"Result": {"AccessToken": {"Token": TOKENS[len(calls)]}, "RefreshToken": f"secret-refresh-{len(calls)}"}, "Status": 200}
        reply = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def vendor(ws):
    message = json.loads(ws.recv())
    which = TOKENS.index(message["access_token"])
    authenticated.append(message)
    # Not in the documented order: a client must not depend on it.
    for answer in ({"type": "subscribed", "topic": f"instance:{INSTANCE}"}, {"type": "authenticated"}, {"type": "welcome", "connection_id": "c", "server_time": "2022-01-01T00:00:00Z", "instance_id": INSTANCE}):
        ws.send(json.dumps(answer))
    for part in PARTS[which]:
        ws.send(part)
        with lock:
            sent.append(part)
    ws.send('{"type":"ping"}')
    pongs.append(json.loads(ws.recv()))
    if which == 0:
        ws.send('{"type":"error","code":401,"message":"JWT expired"}')
        ws.close(1008, "JWT expired")
        return
    if which == 1:
        # The recorder closes this one, and only after the next has been subscribed.
        for _ in ws:
            problems.append("unexpected message")
        if len(authenticated) != 3:
            problems.append("closed before the next connection was there")
        taken_over.set()
        return
    everything_sent.set()
    for _ in ws:
        pass


port, token_port = free_port(), free_port()
server = serve(vendor, "127.0.0.1", port)
endpoint = ThreadingHTTPServer(("127.0.0.1", token_port), TokenEndpoint)
for serving in (server, endpoint):
    threading.Thread(target=serving.serve_forever, daemon=True).start()
configure(f'''
[[source]]
name = "fleet"
vendor = "damoov"
url = "ws://127.0.0.1:{port}{PATH}"
access_token = "{TOKENS[0]}"
instance_id = "{INSTANCE}"
client_id = "telereel"
refresh_url = "http://127.0.0.1:{token_port}/v1/Auth/RefreshToken"
refresh_token = "secret-refresh-0"
''')
recorder = start("record", "--json")
assert everything_sent.wait(60), (calls, authenticated, (FOLDER / "record.log").read_text())
assert taken_over.wait(30)
summary = stop(recorder)
assert not problems, problems

assert calls == [("/v1/Auth/RefreshToken", {"AccessToken": TOKENS[n], "RefreshToken": f"secret-refresh-{n}"}) for n in range(2)], calls
assert authenticated == [{"type": "authenticate", "access_token": t, "instance_id": INSTANCE, "client_id": "telereel"} for t in TOKENS], authenticated
assert len(pongs) == 3 and all(p["type"] == "pong" and abs(p["timestamp"] / 1000 - time.time()) < 300 for p in pongs), pongs

# The archive holds what was sent, in order, by connection; the renewal left no gap.
data = [r for r in rows() if r["kind"] not in ("control", "link")]
assert [r["payload"] for r in data] == sent
assert [r["connection"] for r in data] == [n for n, part in enumerate(PARTS) for _ in part]
updates = [r for r in data if r["kind"] == "device_update"]
assert {r["device_id"] for r in updates} == set(DEVICES) and updates[0]["event_at"].startswith("2022-01-01T00:00:00"), updates[0]
assert len(rows("latest", "--kind", "control")) == 3 * 4 + 1
events = [(e["event"], e["connection"]) for e in (json.loads(r["payload"]) for r in rows("latest", "--kind", "link"))]
assert [e for e in events if e[0] in ("subscribed", "disconnected", "reconnected", "renewed")][:6] == [
    ("subscribed", 0), ("disconnected", 0), ("subscribed", 1), ("reconnected", 1), ("renewed", 1), ("subscribed", 2)], events
assert summary["sources"][0]["disconnects"] == 1, summary
told = telereel("cat", "latest", "--kind", "link") + telereel("info", "latest", "--json") + (FOLDER / "record.log").read_text()
for path in (p for p in (FOLDER / "archive").rglob("*") if p.is_file()):
    assert b"secret-" not in path.read_bytes(), path
assert "secret-" not in told and TOKENS[0] not in told
telereel("verify")

import duckdb
import os
os.chdir(FOLDER / "archive")
db = duckdb.connect()
db.execute(open("views/duckdb.sql").read())
position = "SELECT device_id, epoch(observed_at), time_basis, latitude, longitude, speed_mps, heading_deg, accuracy_m FROM positions WHERE vendor = 'damoov' AND latitude IS NOT NULL ORDER BY seq LIMIT 1"
assert db.sql(position).fetchall() == [(DEVICES[0], 1640995200, "event_at", 40.7128, 0.0, 0.5, 180.0, 5.0)], db.sql(position).fetchall()
outages = db.sql("SELECT planned, ended_at IS NOT NULL FROM outages").fetchall()
assert outages == [(False, True)], outages
os.chdir(FOLDER)


class SampleProgram:
    """The client of the vendor's documentation: only its address and credentials are another."""

    def __init__(self, url, **wanted):
        self.wanted, self.received, self.seen, self.topic = wanted, [], [], None
        self.ws = websocket.WebSocketApp(url, on_open=self.on_open, on_message=self.on_message)
        self.thread = threading.Thread(target=self.ws.run_forever)
        self.thread.start()

    def on_open(self, ws):
        ws.send(json.dumps({"type": "authenticate", "access_token": "your_jwt_token_here", "client_id": "my-client", "units": "metric", "timezone": "America/New_York", "date_format": "unix"} | self.wanted))

    def on_message(self, ws, message):
        try:
            data = json.loads(message)
        except json.JSONDecodeError:
            return self.received.append(message)
        kind = data.get("type") if isinstance(data, dict) else None
        self.seen.append(kind)
        if kind == "welcome":
            assert data["connection_id"] and data["server_time"] and data["instance_id"] == self.wanted["instance_id"]
        elif kind == "subscribed":
            self.topic = data["topic"]
        elif kind == "ping":
            ws.send(json.dumps({"type": "pong", "timestamp": int(time.time() * 1000)}))
        elif kind not in ("authenticated", "error"):
            self.received.append(message)
        elif kind == "error":
            self.received.append(data["code"])


replay = Replay("--speed", "20", "--wait-for-clients", "3")
whole = SampleProgram(replay.ws + PATH, instance_id=INSTANCE, device_token=None)
one = SampleProgram(replay.ws + PATH, instance_id=INSTANCE, device_token=DEVICES[1])
stranger = SampleProgram(replay.ws + PATH, instance_id="somebody-else's")
replay.done()
for client in (whole, one, stranger):
    client.thread.join(60)
assert whole.received == sent and stranger.received == sent, whole.received
assert one.received == [s for s in sent if DEVICES[1] in s], one.received
assert whole.seen[:3] == ["authenticated", "welcome", "subscribed"]
assert (whole.topic, one.topic) == (f"instance:{INSTANCE}", f"device:{DEVICES[1]}")

# Where credentials are required: the configured token, and its own instance.
replay = Replay("--speed", "20", "--require-credentials", "-c", "telereel.toml")
for wanted, code in (({"instance_id": INSTANCE}, 401), ({"instance_id": "nobody's", "access_token": TOKENS[0]}, 404)):
    refused = SampleProgram(replay.ws + PATH, **wanted)
    refused.thread.join(60)
    assert refused.received == [code], refused.received
allowed = SampleProgram(replay.ws + PATH, instance_id=INSTANCE, access_token=TOKENS[0])
replay.done()
allowed.thread.join(60)
assert allowed.received == sent
server.shutdown()
endpoint.shutdown()
