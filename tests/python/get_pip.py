"""Installs pip into this environment, where the system's Python came without its bootstrap (ensurepip)."""
import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

INDEX = "https://pypi.org/pypi/pip/json"
index = json.load(urllib.request.urlopen(INDEX, timeout=60))
wheel = next(u for u in index["urls"] if u["packagetype"] == "bdist_wheel")
# A mirror may give addresses relative to its index.
body = urllib.request.urlopen(urllib.parse.urljoin(INDEX, wheel["url"]), timeout=60).read()
if hashlib.sha256(body).hexdigest() != wheel["digests"]["sha256"]:
    sys.exit("the downloaded pip does not match its published checksum")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / wheel["filename"]
    path.write_bytes(body)
    # A wheel is a zip file that Python can run from.
    subprocess.run([sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)
