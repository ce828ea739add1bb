"""A NATS server as the MQTT broker, paho as the vendor and as the replay's client: topics, QoS, retain, bytes."""
import hashlib
import json
import threading

import paho.mqtt.client as paho
from common import BINARIES, TEXTS, Replay, configure, free_port, listening, nats, rows, start, stop, telereel, until

port, ws_port = free_port(), free_port()
password = hashlib.md5(b"login password").hexdigest()
broker = nats(
    port,
    f'websocket {{ listen: "127.0.0.1:{ws_port}", no_tls: true }}',
    f'authorization {{ users: [ {{ user: "u8vngl", password: "{password}" }} ] }}',
)
ACCESS_KEY = "0123456789ABCDEF0123456789ABCDEF"


def connect(client, port):
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(30)


try:
    listening(ws_port)
    configure(f'''
[[source]]
name = "locks"
vendor = "jointech"
transport = "mqtt"
url = "mqtt://127.0.0.1:{port}"
username = "u8vngl"
password = "login password"
access_key = "{ACCESS_KEY}"

[[source]]
name = "over-websocket"
vendor = "generic"
transport = "mqtt"
url = "ws://127.0.0.1:{ws_port}/mqtt"
username = "u8vngl"
password = "{password}"
topics = ["other/#"]
''')
    recorder = start("record", "--json")
    console = lambda: {s["name"]: s["state"] for s in json.loads(telereel("status", "--json"))["sources"]}
    def connected():
        try:
            return set(console().values()) == {"connected"}
        except AssertionError:
            return False
    until(connected, "both subscriptions")

    vendor = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="vendor")
    vendor.username_pw_set("u8vngl", password)
    connect(vendor, port)
    location = {"assetId": "794308010642", "battery": 255, "cellSignal": 20, "gpsTime": "2026-01-02T03:04:05Z", "locType": 1, "latitude": -0.0}
    published = []
    heard = lambda: sum(source["messages"] for source in json.loads(telereel("status", "--json"))["sources"])
    for n in range(3):
        for qos in (0, 1):
            before = len(published)
            published += [
                (f"upload/{ACCESS_KEY}/794308010642/location", json.dumps(location | {"speed": n}).encode(), qos),
                (f"upload/{ACCESS_KEY}/794308010642/80041234/sublock", b'{"subAssetID":"80041234","assetId":"794308010642","eventType":-1}', qos),
                (f"upload/{ACCESS_KEY}/794308010642/status", b'{"online":true}', qos),
            ]
            published += [(f"other/t\u00f6pic/{i}", p if isinstance(p, bytes) else p.encode(), qos) for i, p in enumerate(TEXTS + BINARIES)]
            for topic, payload, qos in published[before:]:
                vendor.publish(topic, payload, qos).wait_for_publish(30)
            # The server keeps no order between what is published at one QoS and at another.
            until(lambda: heard() >= len(published), "all messages")
    vendor.loop_stop()
    summary = stop(recorder)
    assert sum(s["messages"] for s in summary["sources"]) == len(published), summary

    for source, prefix in (("locks", "upload/"), ("over-websocket", "other/")):
        recorded = [r for r in rows("latest", "--source", source) if r["kind"] not in ("link", "control")]
        assert [(r["channel"], r["bytes"], r["qos"]) for r in recorded] == [p for p in published if p[0].startswith(prefix)], source
    kinds = [r["kind"] for r in rows("latest", "--source", "locks") if r["kind"] != "link"]
    assert kinds == ["location", "sublock", "status"] * 6, kinds
    assert {r["device_id"] for r in rows("latest", "--kind", "location")} == {"794308010642"}
    telereel("verify")

    # Two clients of the replay: everything with QoS 1, one topic level with QoS 0; over TCP and over WebSocket.
    replay = Replay("--wait-for-clients", "2", "--speed", "5")
    received, gone = {}, {}
    for name, transport, topic, qos in (("all", "tcp", "#", 1), ("some", "websockets", "upload/+/+/location", 0)):
        received[name], gone[name] = [], threading.Event()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, transport=transport, clean_session=True)
        client.username_pw_set("anyone", "anything")
        client.on_message = lambda c, u, m, name=name: received[name].append((m.topic, m.payload, m.qos))
        client.on_subscribe = lambda *_: None
        client.on_disconnect = lambda *_, name=name: gone[name].set()
        connect(client, int(replay.http.rstrip("/").rsplit(":", 1)[1]) if transport == "websockets" else replay.mqtt_port)
        client.subscribe(topic, qos)
    report = replay.done()
    assert all(g.wait(30) for g in gone.values())
    assert report["messages"] == len(published) and len(report["clients"]) == 2, report
    def of(source_prefix, messages):
        return [m for m in messages if m[0].startswith(source_prefix)]
    for prefix in ("upload/", "other/"):
        assert of(prefix, received["all"]) == of(prefix, published)
    assert received["some"] == [(t, p, 0) for t, p, _ in published if t.endswith("/location")]

    # To a broker and from there to paho: as recorded, with nothing listened on.
    arrived, subscribed = [], threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="downstream")
    client.username_pw_set("u8vngl", password)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda c, u, m: arrived.append((m.topic, m.payload, m.qos))
    connect(client, port)
    client.subscribe("#", 1)
    assert subscribed.wait(30)
    report = json.loads(telereel("replay", "latest", "--publish", f"mqtt://u8vngl:{password}@127.0.0.1:{port}", "--pace", "max", "--json").splitlines()[-1])
    [to] = report["clients"]
    assert (to["endpoint"], to["messages"], to["dropped"]) == (f"publish mqtt://127.0.0.1:{port}", len(published), 0), report
    until(lambda: len(arrived) >= len(published), "what was published")
    client.loop_stop()
    # The broker keeps no order between its two ways for QoS 0 and 1.
    for qos in (0, 1):
        for prefix in ("upload/", "other/"):
            assert [m for m in of(prefix, arrived) if m[2] == qos] == [p for p in of(prefix, published) if p[2] == qos], (qos, prefix)
    telereel("replay", "latest", "--publish", f"mqtt://u8vngl:wrong@127.0.0.1:{port}", code=1)
finally:
    broker.terminate()
    broker.wait(30)
