"""`simulate --broker` against a NATS server as the MQTT broker: what paho gets from it, and what a recorder archives."""
import hashlib
import json
import threading

import paho.mqtt.client as paho
from common import configure, free_port, nats, rows, start, stop, telereel, until

port = free_port()
password = hashlib.md5(b"login password").hexdigest()
broker = nats(
    port,
    f'authorization {{ users: [ {{ user: "u8vngl", password: "{password}" }} ] }}',
)
URL = f"mqtt://u8vngl:{password}@127.0.0.1:{port}"
# The times of day are those of the run; all else is the seed's.
TIMES = ("gpsTime", "recvTime", "dateTime", "subGpsTime", "subGpsTimestamp", "fileIndex", "content", "ksInfo")


def simulate(*args):
    lines = telereel("simulate", "--vendor", "jointech", "--broker", URL, "--rate", "60", "--for", "4s", "--json", *args).splitlines()
    report = json.loads(lines[-1])
    [source], [to] = report["sources"], report["clients"]
    assert (source["name"], to["messages"], to["dropped"]) == ("jointech", source["messages"], 0), report
    return source


def timeless(message):
    topic, payload = message
    return topic, {k: v for k, v in json.loads(payload).items() if k not in TIMES}


try:
    configure(f'''
[[source]]
name = "locks"
vendor = "jointech"
transport = "mqtt"
url = "mqtt://127.0.0.1:{port}"
username = "u8vngl"
password = "login password"
access_key = "DE300000000000000000000000000001"
''')
    arrived, subscribed = [], threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="application")
    client.username_pw_set("u8vngl", password)
    client.on_connect = lambda c, *_: c.subscribe("upload/#", 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda c, u, m: arrived.append((m.topic, m.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert subscribed.wait(30)
    recorder = start("record", "--json")
    def state(key):
        return json.loads(telereel("status", "--json"))["sources"][0][key]
    def is_connected():
        try:
            return state("state") == "connected"
        except AssertionError:
            return False
    until(is_connected, "the recorder's subscription")

    # The broker, an application and the archive have the same, message for message and byte for byte.
    sent = simulate("--seed", "7")
    assert sent["messages"] > 100, sent
    until(lambda: len(arrived) >= sent["messages"], "what was published")
    first = list(arrived)
    assert (len(first), sum(len(payload) for _, payload in first)) == (sent["messages"], sent["bytes"])
    until(lambda: state("messages") >= len(first), "what was published in the recorder")

    # The same seed gives the same again, to a vendor that does everything wrong that a publisher can: what it had
    # published and did not see acknowledged comes twice, noise comes between, and nothing is missing.
    arrived.clear()
    simulate("--seed", "7", "--misbehave", "refuse=1/3,close=60,half-packet=50,stall=80,garbage=1/30,slow-reader=4096")
    expected = [timeless(message) for message in first]
    known, noise = [], []
    def again():
        known.clear(), noise.clear()
        for message in list(arrived):
            try:
                known.append(timeless(message))
            except (ValueError, AttributeError):
                noise.append(message)
        return all(message in known for message in expected)
    until(again, "all of it again")
    assert len(noise) > 0, "no noise came"
    once = [message for n, message in enumerate(known) if message not in known[:n]]
    assert once == [message for n, message in enumerate(expected) if message not in expected[:n]]
    # Noise, and what comes twice, may be behind the last that was expected, but not behind what is published now.
    last = ("upload/DE300000000000000000000000000001/last/status", b'{"online":true}')
    client.publish(*last, qos=1).wait_for_publish(30)
    until(lambda: last in arrived, "the last")
    until(lambda: state("messages") >= len(first) + len(arrived), "all of it in the recorder")
    summary = stop(recorder)
    client.loop_stop()

    recorded = [(r["channel"], r["bytes"]) for r in rows("latest", "--source", "locks") if r["kind"] not in ("link", "control")]
    assert recorded[:len(first)] == first
    assert sorted(recorded[len(first):]) == sorted(arrived)
    assert {r["qos"] for r in rows("latest", "--kind", "location")} == {1}
    telereel("verify")
finally:
    broker.terminate()
    broker.wait(30)
