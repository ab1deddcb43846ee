"""Requests made from the description of the API, right ones and wrong ones, by several callers: whatever is
asked, the server answers, and never with an error of its own."""

import re
import sys

import httpx

from prelude import *

description, stranger = sys.argv[1:]
headers = {"authorization": f"Bearer {TOKEN}"}
client = httpx.Client(base_url=ENDPOINT, headers=headers, timeout=60)
for kind in ("model", "dataset", "space"):
    body = {"type": kind, "name": "probe", "sdk": "static", "files": [{"path": "a.txt", "content": "a"}]}
    client.post("/api/repos/create", json=body).raise_for_status()
    for pull in (False, True):
        discussion = {"title": "One", "description": "Two", "pullRequest": pull}
        client.post(f"/api/{kind}s/admin/probe/discussions", json=discussion).raise_for_status()

# Names that exist lead behind the door, the others to it. Streams have no end, and tests of their own.
THERE = """
[parameters]
"path.owner" = "admin"
"path.name" = "probe"
"path.revision" = "main"
"path.number" = 2
"""
# Commits are lines of JSON; of what is sent as one, some shall be.
pathlib.Path("lines.py").write_text('''
import json
import schemathesis

HEADER = json.dumps({"key": "header", "value": {"summary": "A commit"}}).encode() + b"\\n"

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    text = value if isinstance(value, str) else json.dumps(value)
    body = text.encode("utf-8", "surrogatepass")
    return HEADER + body if len(body) % 2 else body
''')
STREAMS = r"/(events|metrics|logs/(run|build))$"
CALLERS = [
    ("the owner", TOKEN, THERE, "coverage,fuzzing", 4),
    ("the owner at names made up", TOKEN, "", "fuzzing", 4),
    ("a stranger", stranger, THERE, "fuzzing", 3),
    ("nobody", None, THERE, "fuzzing", 3),
]
program = pathlib.Path(sys.executable).with_name("schemathesis")
for seed, (who, token, settings, phases, examples) in enumerate(CALLERS, 1):
    folder = pathlib.Path(str(seed))
    folder.mkdir()
    (folder / "schemathesis.toml").write_text(settings)
    words = ["--header", f"Authorization: Bearer {token}"] if token else []
    begun = time.monotonic()
    done = subprocess.run(
        [
            program, "run", description, "--url", ENDPOINT, *words, "--checks", "not_a_server_error",
            "--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "60",
            "--exclude-path-regex", STREAMS, "--workers", "2", "--continue-on-failure", "--suppress-health-check", "all",
            "--warnings", "off", "--generation-database", "none", "--no-color",
        ],
        cwd=folder, text=True, capture_output=True, env={**os.environ, "SCHEMATHESIS_HOOKS": "lines", "PYTHONPATH": os.getcwd()},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{who}:\n{said[-20_000:]}"
    counts = re.findall(r"\d+ (?:generated|selected|passed).*", said)
    print(f"{who}: {time.monotonic() - begun:.0f} s; {'; '.join(counts)}")
print("all is well")
