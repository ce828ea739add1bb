"""paho against Telereel in the place of Jointech's broker: commands and their answers, a wrong login, another's access key."""
import json
import queue
import signal

import paho.mqtt.client as paho
from common import Replay, configure, start, stop, telereel, until

ACCESS_KEY = "DE300000000000000000000000000001"


class App(paho.Client):
    """One that keeps what it hears, and what it is answered."""

    def __init__(self, client_id, password="5f4dcc3b5aa765d61d8327deb882cf99"):
        super().__init__(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv311, reconnect_on_failure=False)
        self.username_pw_set("u8vngl", password)
        self.heard, self.answers = queue.Queue(), queue.Queue()
        self.on_message = lambda c, u, m: self.heard.put((m.topic, json.loads(m.payload)))
        self.on_connect = lambda c, u, flags, reason, p: self.answers.put(str(reason))
        self.on_subscribe = lambda c, u, mid, reasons, p: self.answers.put([r.value for r in reasons])

    def come(self, port):
        self.connect("127.0.0.1", port)
        self.loop_start()
        return self.answers.get(timeout=30)

    def want(self, *filters):
        self.subscribe([(filter, 1) for filter in filters])
        return self.answers.get(timeout=30)

    def hears(self, wanted):
        while True:
            topic, message = self.heard.get(timeout=30)
            if wanted(topic, message):
                return topic, message

    def command(self, device, text):
        self.publish(f"download/{ACCESS_KEY}/{device}/cmd", text, 1).wait_for_publish(30)


simulator = start("simulate", "--vendor", "jointech", "--listen", "mqtt://127.0.0.1:0", "--rate", "20", "--json")
ready = json.loads(simulator.stdout.readline())
port = int(ready["listen"][0].rstrip("/").rsplit(":", 1)[1])

# Commands, as the vendor's page shows them, to a device that reports, to one that nobody knows, and nonsense before.
app = App("u8vngl_app")
assert app.come(port) == "Success"
assert app.want(f"upload/{ACCESS_KEY}/#") == [1]
_, location = app.hears(lambda topic, message: topic.endswith("/location"))
device = location["assetId"]
for text in ("BASE", f'"({device},1,077,BASE,2)"', f"(1{device},1,077,BASE,2)"):
    app.command(device, text)
app.command(device, f"({device},1,077,BASE,2)")
topic, answer = app.hears(lambda topic, message: topic.endswith("/cmd") and '"077"' in message["content"])
assert topic == f"upload/{ACCESS_KEY}/{device}/cmd", topic
assert (answer["assetId"], answer["commandType"]) == (device, "BASE2"), answer
content = json.loads(answer["content"])
assert content[:5] == [device, "8", "077", "BASE", "2"] and len(content[5]) == 14, content
app.command("0000000000", "(0000000000,1,078,BASE,1)")
_, answer = app.hears(lambda topic, message: topic == f"upload/{ACCESS_KEY}/0000000000/cmd")
assert (answer["commandType"], answer["content"]) == ("MQTT_CMD", "Device has not been registered\uff01"), answer

# What was made up is recorded, to be replayed to those who log in.
configure(f'''
[[source]]
name = "locks"
vendor = "jointech"
transport = "mqtt"
url = "mqtt://127.0.0.1:{port}"
username = "u8vngl"
password = "password"
access_key = "{ACCESS_KEY}"
''')
recorder = start("record", "--json")
def messages():
    try:
        return json.loads(telereel("status", "--json"))["sources"][0]["messages"]
    except AssertionError:
        return 0
until(lambda: messages() >= 10, "messages")
stop(recorder)
simulator.send_signal(signal.SIGINT)
simulator.communicate(timeout=60)
app.loop_stop()

replay = Replay("--require-credentials", "-c", "telereel.toml", "--wait-for-clients", "2")
for name, password in (("u8vngl", "wrong"), ("nobody", "5f4dcc3b5aa765d61d8327deb882cf99")):
    stranger = App(f"stranger-{name}", password)
    stranger.username_pw_set(name, password)
    assert stranger.come(replay.mqtt_port) == "Not authorized"
    stranger.loop_stop()
app = App("u8vngl_app")
assert app.come(replay.mqtt_port) == "Success"
foreign = "0" * 32
granted = app.want(f"upload/{ACCESS_KEY}/+/location", f"upload/{foreign}/#", "upload/+/+/location", "#")
assert granted == [1, 128, 128, 128], granted
replay.process.send_signal(signal.SIGINT)
replay.process.communicate(timeout=60)
app.loop_stop()
