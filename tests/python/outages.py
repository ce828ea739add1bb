"""An outage is recorded and reproduced to the `websockets` library's client; gaps are cut; what is known is told."""
import http
import json
import threading
import time

import websockets.exceptions
from common import Replay, configure, free_port, rows, start, stop, telereel, until
from websockets.sync.client import connect
from websockets.sync.server import serve

port = free_port()
everything_sent = threading.Event()
attempts, connections = [], []


def position(person, x):
    return json.dumps({"type": "realtime_person_position", "person_id": person, "location_id": 7, "position": {"x": x, "y": 0}})


def lost(person):
    return json.dumps({"type": "realtime_person_lost", "person_id": person, "location_id": 7})


BEFORE = [position(1, 0), position(2, 0), position(3, 0), position(1, 5), lost(3)]
AFTER = [position(2, 8), position(4, 1)]


def vendor(ws):
    ws.recv()
    ws.send('{"type":"realtime_register","result":"success"}')
    connections.append(ws)
    if len(connections) == 1:
        for message in BEFORE:
            ws.send(message)
        time.sleep(0.2)
        ws.close(1011, "restarting")
        return
    time.sleep(2)  # of the recording: a client has the time to come back
    for message in AFTER:
        ws.send(message)
    everything_sent.set()
    for _ in ws:
        pass


def door(connection, request):
    """Refuses who comes back at once: the outage is long enough for a client to meet it."""
    attempts.append(request)
    return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "restarting\n") if len(attempts) == 2 else None


server = serve(vendor, "127.0.0.1", port, process_request=door)
threading.Thread(target=server.serve_forever, daemon=True).start()
configure(f'''
[[source]]
name = "shop"
vendor = "delicode"
url = "ws://127.0.0.1:{port}/websocket_realtime"
token = "any"
locations = [7]
''')
recorder = start("record", "--session", "broken", "--json")
assert everything_sent.wait(30)
# Each connection began with the answer to its registration.
everything = len(BEFORE + AFTER) + 2
until(lambda: json.loads(telereel("status", "--json"))["sources"][0]["messages"] >= everything, "everything")
stop(recorder)
gap = json.loads(telereel("info", "broken", "--json"))["gaps"][0]
gap_s = gap["duration_ns"] / 1e9
assert gap_s > 1, gap

# The connection breaks, nobody is there for as long, and then all goes on.
replay = Replay("--outages", "reproduce", "--trace", "trace.jsonl")
URL = replay.ws + "/websocket_realtime"


def read_trace(name):
    with open(name, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def listen(ws, got):
    ws.send('{"type":"realtime_register","token":"x","locations":[7]}')
    assert json.loads(ws.recv())["result"] == "success"
    for message in ws:
        got.append(message)


got, refused = [], 0
try:
    with connect(URL) as ws:
        listen(ws, got)
    raise AssertionError("the connection held")
except websockets.exceptions.ConnectionClosedError as error:
    assert error.rcvd is None, f"a network that breaks says nothing: {error}"
broken_at = time.monotonic()
assert got == BEFORE, got
while True:
    try:
        ws = connect(URL)
        break
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 503
        refused += 1
        time.sleep(0.02)
away_s = time.monotonic() - broken_at
with ws:
    listen(ws, got)
report = replay.done()
assert got == BEFORE + AFTER, got
assert refused > 0 and report["outages"] == {"closed": 1, "refused": refused}, report
assert gap_s - 0.5 < away_s < gap_s + 3, (away_s, gap_s)
assert [client["dropped"] for client in report["clients"]] == [0, 0]
trace = read_trace("trace.jsonl")
assert [line["down"] for line in trace if line["event"] == "outages"] == [[{"source": "shop", "device": None}], []]
assert [line["status"] for line in trace if line["event"] == "http"] == [503] * refused
assert [line["detail"] for line in trace if line["event"] == "left"] == [{"reason": "outage"}, {}]

# The same without the gaps, which are cut to 50 ms.
replay = Replay("--outages", "skip=50ms", "--trace", "cut.jsonl")
with connect(replay.ws + "/ws") as ws:
    got = list(ws)
replay.done()
assert got == BEFORE + AFTER, got
due_ns = [line["due_ns"] for line in read_trace("cut.jsonl") if line["event"] == "sent"]
recorded_ns = [row["elapsed_ns"] for row in rows("broken") if row["payload"] in BEFORE + AFTER]
steps_ns = lambda times: [after - before for before, after in zip(times, times[1:])]
assert steps_ns(due_ns) == [min(step, 50_000_000) for step in steps_ns(recorded_ns)], (due_ns, recorded_ns)

# Whoever begins behind the outage is told where the people were, but for the one who was lost.
first = next(row for row in rows("broken") if row["payload"] == AFTER[0])
replay = Replay("--state", "--from", f"+{first['elapsed_ns'] // 1_000_000}ms")
with connect(replay.ws + "/ws?format=envelope") as ws:
    got = [json.loads(message) for message in ws]
report = replay.done()
told = [row["payload"] for row in got if row.get("replayed_state")]
assert told == [BEFORE[1], BEFORE[3]], told
assert [row["payload"] for row in got if not row.get("replayed_state")] == AFTER
assert report["messages"] == 2 and report["clients"][0]["states"] == 2, report
