"""The application of the README's Rust test: says whom it sees first, and goes when the replay is over."""
import json
import os

from websocket import create_connection

app = create_connection(os.environ["TELEREEL_HTTP"].replace("http", "ws", 1) + "/ws")
app.send(json.dumps({"person": json.loads(app.recv())["person_id"]}))
while app.recv():
    pass
