"""Runs the README's Python and SQL examples as they stand, in a folder that `telereel demo` made."""
import os
import re
import subprocess
import sys
from pathlib import Path

README, FOLDER = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
os.chdir(FOLDER)
blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)
assert len(blocks) >= 4, "the README lost its examples"
for library in ("duckdb", "pandas", "polars", "pyarrow"):
    assert any(library in b for b in blocks), library
for block in blocks:
    names = {}
    try:
        exec(compile(block, "README.md", "exec"), names)
    except Exception:
        print(block, file=sys.stderr)
        raise
