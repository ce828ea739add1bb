"""paho against the replay's MQTT endpoint: persistent sessions, retained messages, wills, QoS 2, answers, MQTT 5."""
import json
import queue
import socket
import threading
import urllib.request

import paho.mqtt.client as paho
from common import Replay, configure, free_port, nats, start, stop, telereel, until


class Client(paho.Client):
    """One that keeps what it hears."""

    def __init__(self, client_id, clean=True, protocol=paho.MQTTv311, will=None):
        kind = {} if protocol == paho.MQTTv5 else {"clean_session": clean}
        super().__init__(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False, **kind)
        self.heard, self.answers = queue.Queue(), queue.Queue()
        self.on_message = lambda c, u, m: self.heard.put((m.topic, m.payload.decode(), m.qos, bool(m.retain)))
        self.on_connect = lambda c, u, flags, reason, p: self.answers.put((flags.session_present, str(reason)))
        self.on_subscribe = lambda c, u, mid, reasons, p: self.answers.put([r.value for r in reasons])
        self.gone = threading.Event()
        self.on_disconnect = lambda *_: self.gone.set()
        if will:
            self.will_set(*will)

    def come(self, port, expected=(False, "Success")):
        self.connect("127.0.0.1", port)
        self.loop_start()
        answer = self.answers.get(timeout=30)
        assert answer == expected, answer
        return self

    def want(self, topic, qos):
        self.subscribe(topic, qos)
        answer = self.answers.get(timeout=30)
        assert answer == [qos], answer

    def hears(self, *expected):
        for message in expected:
            got = self.heard.get(timeout=30)
            assert got == message, (got, message)

    def leave(self):
        self.disconnect()
        assert self.gone.wait(30)
        self.loop_stop()

    def say(self, *args, **kw):
        self.publish(*args, **kw).wait_for_publish(30)


def record(messages):
    """A session of `messages` at QoS 1, from a NATS server as the broker."""
    port = free_port()
    broker = nats(port)
    try:
        configure(f'''
[[source]]
name = "src"
vendor = "generic"
transport = "mqtt"
url = "mqtt://127.0.0.1:{port}"
topics = ["replayed/#"]
''')
        recorder = start("record", "--json")
        source = lambda: json.loads(telereel("status", "--json"))["sources"][0]
        def connected():
            try:
                return source()["state"] == "connected"
            except AssertionError:
                return False
        until(connected, "the subscription")
        vendor = Client("vendor").come(port)
        for topic, payload in messages:
            vendor.say(topic, payload, 1)
        until(lambda: source()["messages"] >= len(messages), "all messages")
        vendor.leave()
        stop(recorder)
        recorded = [json.loads(line) for line in telereel("cat", "latest", "--kind", "message").splitlines()]
        assert [(row["channel"], row["payload"]) for row in recorded] == messages, recorded
    finally:
        broker.terminate()
        broker.wait(30)


messages = [(f"replayed/{n % 2}", f"message {n}") for n in range(6)]
record(messages)
replay = Replay("--wait-for-clients", "3")
port = replay.mqtt_port

# A goodbye is read a moment after it is said.
clients_ready = lambda: json.load(urllib.request.urlopen(replay.http + "/api/v1/replays/1", timeout=30))["clients"]

# MQTT 5 is refused in a way that its clients understand.
five = Client("five", protocol=paho.MQTTv5).come(port, (False, "Unsupported protocol version"))
five.loop_stop()

# What a client publishes reaches the others and itself, at each QoS.
device, app = Client("device").come(port), Client("app").come(port)
device.want("answers/#", 2)
for qos in (0, 1, 2):
    app.say("answers/t\u00f6pic", f"qos {qos}", qos)
device.hears(*[("answers/t\u00f6pic", f"qos {qos}", qos, False) for qos in (0, 1, 2)])
device.say("answers/own", "to itself", 2)
device.hears(("answers/own", "to itself", 2, False))

# Retained until cleared.
app.say("state/a", "on", 1, retain=True)
late = Client("late").come(port)
late.want("state/+", 1)
late.hears(("state/a", "on", 1, True))
app.say("state/a", "", 1, retain=True)
late.hears(("state/a", "", 1, False))
late.leave()
until(lambda: clients_ready() == 1, "the device alone")
after = Client("after").come(port)
after.want("state/+", 1)
app.say("state/b", "live", 0)
after.hears(("state/b", "live", 0, False))
after.leave()
until(lambda: clients_ready() == 1, "the device alone")

# A will: not after a goodbye, but after the connection breaks.
polite = Client("polite", will=("answers/will", "polite is gone", 1)).come(port)
polite.leave()
broken = Client("broken", will=("answers/will", "broken is gone", 2)).come(port)
broken.socket().shutdown(socket.SHUT_RDWR)
device.hears(("answers/will", "broken is gone", 2, False))
broken.loop_stop()

# A persistent session keeps what is published, and what is replayed, until its client is back.
keeper = Client("keeper", clean=False).come(port)
keeper.want("answers/#", 1)
keeper.want("replayed/0", 1)
keeper.leave()
app.say("answers/1", "while away", 1)
device.hears(("answers/1", "while away", 1, False))
keeper = Client("keeper", clean=False).come(port, (True, "Success"))
keeper.hears(("answers/1", "while away", 1, False))
keeper.leave()
until(lambda: clients_ready() == 1, "the device alone")

# With two that are there and one that is not, nothing has begun; the third to be ready begins it.
app.want("replayed/#", 1)
last = Client("last").come(port)
last.want("replayed/1", 0)
app.hears(*[(topic, payload, 1, False) for topic, payload in messages])
last.hears(*[(topic, payload, 0, False) for topic, payload in messages[1::2]])
keeper = Client("keeper", clean=False).come(port, (True, "Success"))
keeper.hears(*[(topic, payload, 1, False) for topic, payload in messages[0::2]])
report = replay.done()
assert all(client.gone.wait(30) for client in (device, app, last, keeper))
assert report["messages"] == len(messages), report
assert sorted(c["messages"] for c in report["clients"] if c["messages"]) == [3, 3, 6], report
assert sum(c["dropped"] for c in report["clients"]) == 0, report
