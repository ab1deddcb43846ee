"""Spaces through every `hf spaces` command and the calls of huggingface_hub below them."""

import httpx
from huggingface_hub import HfApi, Volume
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from prelude import *

name, base, stranger = sys.argv[1:]
api, repo = HfApi(), f"admin/{name}"

# The app: its environment, what lies at a path, and a place to write to.
APP = '''
import http.server, json, os, pathlib, urllib.parse

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        try:
            self.answer(json.dumps(dict(os.environ)).encode() if path == "/env" else pathlib.Path(path).read_bytes())
        except OSError as error:
            self.answer(str(error).encode(), 410)

    def do_POST(self):
        try:
            pathlib.Path(self.path).write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"written")
        except OSError as error:
            self.answer(str(error).encode(), 410)

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print("asked for", self.path, flush=True)

print("listening", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 7860), Handler).serve_forever()
'''
DOCKERFILE = f"FROM {base}\nUSER 1000\nWORKDIR /app\nCOPY app.py .\nCMD [\"python3\", \"-u\", \"app.py\"]\n"
folder = pathlib.Path("app")
folder.mkdir()
(folder / "app.py").write_text(APP)
(folder / "Dockerfile").write_text(DOCKERFILE)
host = lambda: api.space_info(repo).host
visit = lambda path, **how: httpx.get(host() + path, timeout=60, **how)
stage = lambda: api.get_space_runtime(repo).stage

# Made with settings; there is nothing to run yet, and waiting for it ends at once.
hf("repos", "create", repo, "--type", "space", "--space-sdk", "docker", "--env", "FIRST=1")
with refused(HfHubHTTPError, 409):
    api.create_repo(repo, repo_type="space", space_sdk="docker")
equal(api.wait_for_space(repo, timeout=30).stage, "NO_APP_FILE")
assert "NO_APP_FILE" in hf("spaces", "wait", repo, fails=True)
hf("spaces", "variables", "add", repo, "-e", "GREETING=hello", "-e", "GONE=x")
pathlib.Path("secrets").write_text("API_KEY=only-the-app-knows\n")
hf("spaces", "secrets", "add", repo, "-s", "OTHER=x", "--secrets-file", "secrets")

# An upload is a push: it builds and runs.
hf("upload", repo, folder, "--type", "space", "--commit-message", "An app")
hf("spaces", "wait", repo, "--timeout", "100s")
runtime = api.get_space_runtime(repo)
equal((runtime.stage, runtime.hardware, runtime.raw["sha"]), ("RUNNING", "cpu-basic", api.space_info(repo).sha))
environment = visit("/env").json()
equal([environment.get(key) for key in ("FIRST", "GREETING", "API_KEY", "SPACE_ID")], ["1", "hello", "only-the-app-knows", repo])
info = hf_json("spaces", "info", repo)
equal((info["id"], info["sdk"], info["runtime"]["stage"]), (repo, "docker", "RUNNING"))
assert info["host"].startswith("http://"), info
assert repo in [entry["id"] for entry in hf_json("spaces", "ls", "--author", "admin")]
assert "app.py" in hf("spaces", "ls", repo) and "sdk: docker" in hf("spaces", "card", repo)
assert repo in httpx.get(f"{ENDPOINT}/spaces/{repo}/agents.md").text

# Logs: of the build, of the app; the last lines; as they come.
assert "Building the Dockerfile" in hf("spaces", "logs", repo, "--build")
assert "listening" in hf("spaces", "logs", repo)
visit("/the-first")
visit("/the-last")
until("the app's log", lambda: "/the-last" in hf("spaces", "logs", repo))
said = hf("spaces", "logs", repo, "-n", "1")
assert "the-last" in said and "the-first" not in said, said
program = pathlib.Path(sys.executable).with_name("hf")
following = subprocess.Popen([program, "spaces", "logs", repo, "-f"], stdout=subprocess.PIPE, text=True)
while "the-last" not in following.stdout.readline():
    pass
visit("/while-following")
while "while-following" not in following.stdout.readline():
    pass
following.kill()

# Variables and secrets: listed, never shown, changed while it runs, removed.
listed = {entry["key"]: entry["value"] for entry in hf_json("spaces", "variables", "ls", repo)}
equal(listed, {"FIRST": "1", "GREETING": "hello", "GONE": "x"})
said = hf("spaces", "secrets", "ls", repo, "--json")
assert "API_KEY" in said and "only-the-app-knows" not in said, said
hf("spaces", "variables", "add", repo, "-e", "GREETING=good evening")
hf("spaces", "variables", "delete", repo, "GONE", "-y")
hf("spaces", "secrets", "delete", repo, "OTHER", "-y")
until("the app has its new settings", lambda: (found := visit("/env").json()).get("GREETING") == "good evening"
      and "GONE" not in found and "OTHER" not in found)
api.add_space_secret(repo, "API_KEY", "another", description="A key")
equal(api.get_space_secrets(repo)["API_KEY"].description, "A key")
api.delete_space_secret(repo, "NEVER_THERE")

# Volumes: repositories to read, a bucket to keep things in.
api.create_repo(f"admin/{name}-model")
api.upload_file(path_or_fileobj=noise(1, 300_000), path_in_repo="sub/weights.bin", repo_id=f"admin/{name}-model")
api.create_repo(f"admin/{name}-data", repo_type="dataset", private=True)
api.upload_file(path_or_fileobj=b"1,2\n", path_in_repo="data.csv", repo_id=f"admin/{name}-data", repo_type="dataset")
hf(
    "spaces", "volumes", "set", repo, "-v", f"hf://models/admin/{name}-model:/models", "-v",
    f"hf://datasets/admin/{name}-data:/data:ro", "-v", f"hf://buckets/admin/{name}-store:/store",
)
equal([entry["mount_path"] for entry in hf_json("spaces", "volumes", "ls", repo)], ["/models", "/data", "/store"])
until("the volumes are mounted", lambda: visit("/models/sub/weights.bin").status_code == 200, 100)
equal(visit("/models/sub/weights.bin").content, noise(1, 300_000))
equal(visit("/data/data.csv").text, "1,2\n")
write = lambda path: httpx.post(host() + path, content=b"kept", timeout=60)
equal(write("/models/x").status_code, 410)
equal(write("/store/kept.txt").text, "written")

# Restarted, paused, rebuilt: what is in the bucket stays.
hf("spaces", "restart", repo)
hf("spaces", "wait", repo, "--timeout", "100s")
equal(visit("/store/kept.txt").text, "kept")
hf("spaces", "pause", repo)
equal(stage(), "PAUSED")
assert "PAUSED" in hf("spaces", "wait", repo, fails=True)
equal(visit("/env").status_code, 503)
hf("spaces", "restart", repo, "--factory-reboot")
hf("spaces", "wait", repo, "--timeout", "100s")
equal(visit("/store/kept.txt").text, "kept")
hf("spaces", "volumes", "delete", repo, "-y")
equal(hf_json("spaces", "volumes", "ls", repo), [])
with refused(HfHubHTTPError, 400, "admin/none"):
    api.set_space_volumes(repo, [Volume(type="model", source="admin/none", mount_path="/x")])

# Hardware and sleep.
assert "cpu-upgrade" in [entry["name"] for entry in hf_json("spaces", "hardware")]
hf("spaces", "settings", repo, "--hardware", "cpu-upgrade", "--sleep-time", "3600")
runtime = api.get_space_runtime(repo)
equal((runtime.requested_hardware, runtime.sleep_time), ("cpu-upgrade", 3600))
hf("spaces", "settings", repo, "--sleep-time", "-1")
equal(api.get_space_runtime(repo).sleep_time, None)
said = hf("spaces", "settings", repo, "--hardware", "a100x8", fails=True)
assert "cpu-basic" in said, said
until("it runs on the new hardware", lambda: (found := api.get_space_runtime(repo)).stage == "RUNNING"
      and found.hardware == "cpu-upgrade", 100)

# A push by git replaces it; the old one answers until then. A mistake is shown with its log.
git("clone", "-q", remote(f"spaces/{repo}"), "work")
pathlib.Path("work/app.py").write_text(APP.replace('b"written"', 'b"written anew"'))
git("commit", "-q", "-a", "-m", "By git", cwd="work")
git("push", "-q", "origin", "main", cwd="work")
until("the new app answers", lambda: httpx.post(host() + "/tmp/x", content=b"", timeout=60).text == "written anew", 100)
api.upload_file(path_or_fileobj=f"FROM {base}\nRUN echo broken-on-purpose && false\n".encode(), path_in_repo="Dockerfile",
                repo_id=repo, repo_type="space")
until("the build fails", lambda: stage() == "BUILD_ERROR", 100)
assert "broken-on-purpose" in hf("spaces", "logs", repo, "--build")
equal(visit("/env").status_code, 200)
assert "BUILD_ERROR" in hf("spaces", "wait", repo, fails=True)
proposal = api.upload_file(
    path_or_fileobj=DOCKERFILE.encode(), path_in_repo="Dockerfile", repo_id=repo, repo_type="space", create_pr=True
)
hf("discussions", "merge", repo, str(proposal.pr_num), "--type", "space", "-y")
until("the merge is built and runs", lambda: stage() == "RUNNING", 100)

# Others look and change nothing; what is private they do not see.
theirs = {"env": {"HF_TOKEN": stranger}}
equal(hf_json("spaces", "info", repo, **theirs)["id"], repo)
for words in (["logs", repo], ["restart", repo], ["pause", repo], ["settings", repo, "--sleep-time", "60"], ["secrets", "ls", repo],
              ["secrets", "add", repo, "-s", "A=b"], ["variables", "add", repo, "-e", "A=b"], ["variables", "delete", repo, "A", "-y"],
              ["volumes", "delete", repo, "-y"]):
    said = hf("spaces", *words, fails=True, **theirs)
    assert "403" in said or "write" in said.lower() or "right" in said.lower(), (words, said)
hf("repos", "settings", repo, "--type", "space", "--private")
assert "not found" in hf("spaces", "info", repo, fails=True, **theirs)
equal(visit("/env").status_code, 404)
equal(visit("/env", headers={"x-hf-authorization": f"Bearer {stranger}"}).status_code, 404)
equal(visit("/env", headers={"x-hf-authorization": f"Bearer {TOKEN}"}).status_code, 200)

# A folder of pages needs no container.
pages = f"{repo}-pages"
hf("repos", "create", pages, "--type", "space", "--space-sdk", "static")
api.upload_file(path_or_fileobj=b"<h1>A page</h1>", path_in_repo="index.html", repo_id=pages, repo_type="space")
until("the page is there", lambda: "A page" in httpx.get(api.space_info(pages).host, timeout=60).text)
hf("spaces", "wait", pages, "--timeout", "60s")

for gone in (repo, pages):
    hf("repos", "delete", gone, "--type", "space", "-y")
    with refused(RepositoryNotFoundError):
        api.space_info(gone)
print("all is well")
