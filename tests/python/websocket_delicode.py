"""A Delicode server on the `websockets` library, recorded and replayed to `websocket-client`: the same bytes."""
import json
import threading

import websocket
from common import BINARIES, TEXTS, Replay, configure, free_port, rows, start, stop, telereel, until
from websockets.sync.server import serve

sent, registered, heartbeats = [], [], []
everything_sent = threading.Event()
port = free_port()


def vendor(ws):
    register = json.loads(ws.recv())
    registered.append(register)
    ws.send('{"type":"realtime_register","result":"success"}')
    if len(registered) == 1:
        # The first connection is lost after one message: the recorder must come back by itself.
        ws.send(TEXTS[0])
        sent.append(TEXTS[0])
        ws.close(1011, "restarting")
        return
    for message in TEXTS + BINARIES + TEXTS:
        ws.send(message)
        sent.append(message)
    everything_sent.set()
    for message in ws:
        heartbeats.append(json.loads(message))


server = serve(vendor, "127.0.0.1", port)
threading.Thread(target=server.serve_forever, daemon=True).start()
configure(f'''
[[source]]
name = "shop"
vendor = "delicode"
url = "ws://127.0.0.1:{port}/websocket_realtime"
token = "secret-token-of-the-shop"
locations = [7, 8]
heartbeat = "200ms"
''')
recorder = start("record", "--session", "hard", "--json")
assert everything_sent.wait(30)
until(lambda: len(heartbeats) >= 2, "heartbeats")
until(lambda: recorder.poll() is None and heartbeats, "a living recorder")
summary = stop(recorder)
assert heartbeats[0] == {"type": "realtime_heartbeat"}, heartbeats
assert registered[0] == {"type": "realtime_register", "token": "secret-token-of-the-shop", "locations": [7, 8]}, registered
wire = [m.encode() if isinstance(m, str) else m for m in sent]

# The archive holds what was sent, in order; two register replies are control rows.
data = [r for r in rows() if r["kind"] not in ("control", "link")]
assert [r["bytes"] for r in data] == wire
assert [r["is_binary"] for r in data] == [isinstance(m, bytes) for m in sent]
assert len(rows("latest", "--kind", "control")) == 2
assert [r["seq"] for r in rows("hard", "--kind", "control", "--kind", "link")][0] == 0
events = [json.loads(r["payload"])["event"] for r in rows("latest", "--kind", "link")]
for event in ("connecting", "connected", "disconnected", "reconnected"):
    assert event in events, events
assert "secret-token-of-the-shop" not in telereel("cat", "latest") + telereel("info", "latest", "--json")
positions = [r for r in data if r["kind"] == "person_position"]
assert positions[0]["device_id"] == "7"
assert summary["sources"][0]["messages"] >= len(wire), summary
telereel("verify")


def receive(url, register=None):
    ws = websocket.create_connection(url, timeout=60)
    if register:
        ws.send(json.dumps(register))
        assert json.loads(ws.recv()) == {"type": "realtime_register", "result": "success"}
    frames = []
    while True:
        opcode, frame = ws.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return frames
        frames.append((opcode, frame))


expected = [(websocket.ABNF.OPCODE_BINARY if isinstance(m, bytes) else websocket.ABNF.OPCODE_TEXT, w) for m, w in zip(sent, wire)]
for path, register in (("/ws", None), ("/websocket_realtime", {"type": "realtime_register", "token": "any", "locations": [99]})):
    replay = Replay("--speed", "20")
    assert receive(replay.ws + path, register) == expected, path
    report = replay.done()
    assert report["messages"] == len(expected) and report["lateness_us"]["p50"] >= 0, report

# A client gets the locations that it asks for: messages without a readable location belong to none.
replay = Replay("--speed", "20")
only = receive(replay.ws + "/websocket_realtime", {"type": "realtime_register", "token": "any", "locations": [8]})
assert only == [e for e, m in zip(expected, sent) if isinstance(m, str) and '"location_id":8' in m], only
replay.done()

# Two clients at once, by source and kind, in the envelope format.
replay = Replay("--wait-for-clients", "2", "--speed", "20")
results = {}
threads = [threading.Thread(target=lambda q=q: results.update({q: receive(f"{replay.ws}/ws?{q}")})) for q in ("kind=person_lost&format=envelope", "source=shop&kind=person_lost")]
[t.start() for t in threads]
[t.join(60) for t in threads]
lost = [m for m in sent if isinstance(m, str) and "realtime_person_lost" in m]
assert [json.loads(f)["payload"] for _, f in results["kind=person_lost&format=envelope"]] == lost
assert [f.decode() for _, f in results["source=shop&kind=person_lost"]] == lost
replay.done()
server.shutdown()
