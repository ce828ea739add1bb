"""Pontosense: a REST server and a NATS broker as the vendor; then the vendor's documented program, with paho, as the
replay's client over secure WebSocket; then telereel itself as the replay's client."""
import hashlib
import hmac
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import duckdb
import paho.mqtt.client as paho
from common import ARCHIVE, FOLDER, Replay, configure, free_port, listening, rows, start, stop, telereel, until

os.environ["XDG_STATE_HOME"] = str(FOLDER / "state")
KEY, SECRET = "customer-key", "customer-secret-7f3a"
A, B, GONE = "ATR_GN_P4-250120-09527", "ATR_GN_P2-159875-00001", "ATR_GN_P4-250120-00404"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzZWNyZXQiOjF9.top/secret+token="
DATA = '{"scanArea":{"left":200, "right":200,"height":400},"zones":[{"name":"Bett","x":-100,"y":50,"width":200,"height":150}],"preference":0}'
calls = []


class Vendor(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def signed(self):
        scheme, _, rest = self.headers["Authorization"].partition(" ")
        given = dict(pair.split("=", 1) for pair in rest.split(", "))
        message = f"{given['Timestamp']}.{given['Nonce']}".encode()
        expected = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
        return (scheme, given["ApiKey"], given["Signature"]) == ("HMAC-SHA256", KEY, expected)

    def do_POST(self):
        sn = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["sn"]
        calls.append(("token", sn, self.signed()))
        if self.path != "/v1/iot/tokens" or sn == GONE:
            return self.answer(404, b'{"code":404,"message":"unknown sensor"}')
        expires = (datetime.now(timezone.utc) + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.answer(200, f'{{"token":"{TOKEN}","expireTime":"{expires}","host":"unused.example.com","data":{DATA}}}'.encode())

    def do_PUT(self):
        calls.append(("start", self.path.split("/")[3], self.signed()))
        self.answer(204)

    def log_message(self, *_):
        pass


def documented_program(host, port, sn, received):
    """The vendor's sample program, with nothing changed but address and credentials."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def call(method, path, body=None):
        timestamp, nonce = str(int(time.time())), str(uuid.uuid4())
        signature = hmac.new(SECRET.encode(), f"{timestamp}.{nonce}".encode(), hashlib.sha256).hexdigest()
        request = urllib.request.Request(f"https://{host}:{port}{path}", method=method, data=body)
        request.add_header("Authorization", f"HMAC-SHA256 ApiKey={KEY}, Timestamp={timestamp}, Nonce={nonce}, Signature={signature}")
        request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=30) as response:
            return response.status, response.read()

    status, body = call("POST", "/v1/iot/tokens", json.dumps({"sn": sn}).encode())
    assert status == 200
    assert body.endswith(f'"data":{DATA}}}'.encode()), body
    reply = json.loads(body)
    assert reply["host"] == f"{host}:{port}", reply["host"]
    assert call("PUT", f"/v1/tenants/1/sensors/{sn}/actions/location/start")[0] in (200, 204)
    client_id = f"client-{uuid.uuid4().hex[:8]}"
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, transport="websockets")
    path = f"/mqtt?token={quote(reply['token'], safe='')}&clientId={quote(client_id)}&x-amz-customauthorizer-name=third-party-auth"
    client.ws_set_options(path=path)
    client.tls_set(cert_reqs=ssl.CERT_NONE)
    client.tls_insecure_set(True)
    gone = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe(f"/location/{sn}")
    client.on_message = lambda c, u, m: received.append((m.topic, m.payload))
    client.on_disconnect = lambda *_: gone.set()
    client.connect(*reply["host"].rsplit(":", 1)[:1], int(port), 60)
    client.loop_start()
    return client, gone


rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
threading.Thread(target=rest.serve_forever, daemon=True).start()
port, ws_port = free_port(), free_port()
(FOLDER / "nats.conf").write_text(f'''
server_name: vendor
listen: "127.0.0.1:{free_port()}"
jetstream {{ store_dir: "{FOLDER}/nats" }}
mqtt {{ listen: "127.0.0.1:{port}" }}
websocket {{ listen: "127.0.0.1:{ws_port}", no_tls: true }}
''')
nats = Path(sys.executable).parent / "nats-server"
broker = subprocess.Popen([nats, "-c", FOLDER / "nats.conf"], stdout=subprocess.DEVNULL, stderr=open(FOLDER / "nats.log", "wb"))
SOURCE = '''
[[source]]
name = "ward"
vendor = "pontosense"
api_url = "{url}"
api_key = "customer-key"
secret = {{ env = "PONTO_SECRET" }}
sensors = {sensors}
{more}
'''
os.environ["PONTO_SECRET"] = SECRET
try:
    listening(port)
    listening(ws_port)
    source = {"url": f"http://127.0.0.1:{rest.server_port}", "more": f'mqtt_url = "ws://127.0.0.1:{ws_port}"'}
    configure(SOURCE.format(sensors=json.dumps([A, B]), **source))
    assert "ok" in telereel("check", "--connect")
    configure(SOURCE.format(sensors=json.dumps([A, B, GONE]), **source))
    telereel("check", "--connect", code=1)
    calls.clear()
    recorder = start("record", "--json")
    both = lambda: {sn for what, sn, _ in calls if what == "start"} == {A, B}
    until(lambda: both() and ("token", GONE, True) in calls, "both sensors to be started, and the third asked for")
    assert all(signed for *_, signed in calls), calls

    vendor = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="vendor")
    vendor.connect("127.0.0.1", port)
    vendor.loop_start()
    published = []
    for n in range(20):
        for sn in (A, B):
            target = {"id": n, "x": 156, "y": -234, "z": 175, "state": 100, "zoneId": 1}
            payload = json.dumps({"method": "location.report", "params": [target] * (n % 3)}).encode()
            published.append((f"/location/{sn}", payload if n != 7 else b'{"method":"event.report" , "x":-0.0}'))
    for topic, payload in published:
        vendor.publish(topic, payload, 0).wait_for_publish(30)
    status = lambda: json.loads(telereel("status", "--json"))["sources"][0]
    # Two tokens' configurations beside the reports.
    until(lambda: status()["messages"] >= len(published) + 2, "all messages")
    vendor.loop_stop()
    summary = stop(recorder)["sources"][0]
    assert summary["messages"] == len(published) + 2 and summary["decode_errors"] == 0, summary
    assert summary["gap_ns"] > 0, "the refused sensor is seen in the summary"

    def of(messages, sn):
        return [payload for topic, payload in messages if topic == f"/location/{sn}"]

    def recorded(session):
        return [(row["channel"], row["bytes"]) for row in rows(session) if row["kind"] in ("location", "other")]

    first = json.loads(telereel("list", "--json"))
    first = (first["sessions"] if isinstance(first, dict) else first)[0]["name"]
    for sn in (A, B):
        assert of(recorded(first), sn) == of(published, sn), sn
    configs = rows(first, "--kind", "config")
    assert {row["device_id"] for row in configs} == {A, B} and all(row["bytes"] == DATA.encode() for row in configs), configs
    everything = b"".join(path.read_bytes() for path in ARCHIVE.rglob("*") if path.is_file())
    for secret in (SECRET, TOKEN, quote(TOKEN, safe="")):
        assert secret.encode() not in everything, "a secret is in the archive"
    telereel("verify")

    os.chdir(ARCHIVE)
    db = duckdb.connect()
    db.execute((ARCHIVE / "views" / "duckdb.sql").read_text())
    found = db.execute("select count(*), min(x_m), min(state_name), min(zone_name), count(distinct device_id) from positions").fetchone()
    targets = sum(len(json.loads(payload).get("params", [])) for _, payload in published)
    assert found == (targets, 1.56, "fall", "Bett", 2), found
    db.close()
    os.chdir(FOLDER)

    # The documented program, once per sensor, against the credentials that the recorder itself uses.
    replay = Replay("--listen", "https://127.0.0.1:0", "--wait-for-clients", "2", "--speed", "5", "--require-credentials", session=first)
    https = replay.https.rsplit(":", 1)[1].rstrip("/")
    received = []
    clients = [documented_program("127.0.0.1", https, sn, received) for sn in (A, B)]
    report = replay.done()
    assert report["messages"] == len(published) and len(report["clients"]) == 2, report
    assert all(gone.wait(30) for _, gone in clients)
    for client, _ in clients:
        client.loop_stop()
    for sn in (A, B):
        assert of(received, sn) == of(published, sn), sn

    # telereel is a client of its own replay: over TLS, at the host that the token reply names.
    replay = Replay("--listen", "https://127.0.0.1:0", "--wait-for-clients", "2", session=first)
    certificate = next((FOLDER / "state").rglob("*-cert.pem"))
    configure(SOURCE.format(url=replay.https, sensors=json.dumps([A, B]), more=f"tls_ca = {json.dumps(str(certificate))}"))
    recorder = start("record", "--session", "again", "--json")
    assert replay.done()["messages"] == len(published)
    stop(recorder)
    for sn in (A, B):
        assert of(recorded("again"), sn) == of(published, sn), sn
finally:
    broker.terminate()
    broker.wait(30)
    rest.shutdown()
