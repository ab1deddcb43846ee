"""One step of `cargo xtask bench hub`, with the real client; prints one line of JSON."""

import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MIB = 1 << 20
step, *arguments = sys.argv[1:]


def say(**values):
    print(json.dumps(values), flush=True)


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def make(folder, size, count):
    """A large file of random bytes, and many small ones."""
    folder = Path(folder)
    (folder / "small").mkdir(parents=True, exist_ok=True)
    with open(folder / "large.bin", "wb") as file:
        left = int(size)
        while left > 0:
            left -= file.write(os.urandom(min(left, 16 * MIB)))
    for number in range(int(count)):
        below = folder / "small" / f"{number // 1000:03}"
        below.mkdir(exist_ok=True)
        # Text, so that it is an ordinary file of the repository and not a large one.
        (below / f"{number:05}.txt").write_text(os.urandom(5 * 1024).hex())
    say(made=True)


def change(folder, share):
    """Rewrites a share of the large file, in pieces all over it."""
    path = Path(folder) / "large.bin"
    size, pieces = path.stat().st_size, 8
    length = int(size * float(share) / pieces)
    with open(path, "r+b") as file:
        for piece in range(pieces):
            file.seek(size // pieces * piece + length)
            file.write(os.urandom(length))
    say(changed=length * pieces)


def alone(folder):
    """What the client does with a large file before it knows what to send: chunks, their hashes, the SHA-256 of
    the whole. No server can make an upload faster than that."""
    import hf_xet

    path = Path(folder) / "large.bin"

    def sha256():
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256")

    def both():
        other = threading.Thread(target=sha256)
        other.start()
        hf_xet.hash_files([str(path)])
        other.join()

    say(seconds=timed(both))


def upload_large(folder, repo):
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, repo_type="model", exist_ok=True)
    path = str(Path(folder) / "large.bin")
    say(seconds=timed(lambda: api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=repo)))


def upload_small(folder, repo):
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, repo_type="model", exist_ok=True)
    say(seconds=timed(lambda: api.upload_folder(folder_path=str(Path(folder) / "small"), repo_id=repo)))


def download(folder, repo):
    from huggingface_hub import snapshot_download

    to = Path(folder) / "downloaded"
    seconds = timed(lambda: snapshot_download(repo, local_dir=to))
    files = sum(1 for path in to.rglob("*") if path.is_file() and ".cache" not in path.parts)
    shutil.rmtree(to)
    say(seconds=seconds, files=files)


def export(folder, repo):
    """What the hub answers about a repository, for a web server that serves the same as files."""
    import httpx
    from huggingface_hub import constants

    folder, headers = Path(folder), {"authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    base = f"{constants.ENDPOINT}/api/models/{repo}"
    info = httpx.get(f"{base}/revision/main", headers=headers).raise_for_status().json()
    entries, url = [], f"{base}/tree/{info['sha']}?recursive=true"
    while url:
        page = httpx.get(url, headers=headers).raise_for_status()
        entries += page.json()
        url = page.links.get("next", {}).get("url")
    for entry in entries:
        entry.pop("xetHash", None)
    attributes = httpx.get(f"{constants.ENDPOINT}/{repo}/raw/main/.gitattributes", headers=headers).raise_for_status()
    (folder / "attributes").write_bytes(attributes.content)
    (folder / "info.json").write_text(json.dumps(info))
    (folder / "tree.json").write_text(json.dumps(entries))
    say(sha=info["sha"], entries=len(entries))


def repositories(count, threads):
    """Makes many repositories."""
    import httpx
    from huggingface_hub import constants

    headers = {"authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    local = threading.local()

    def one(number):
        client = getattr(local, "client", None) or httpx.Client(base_url=constants.ENDPOINT, headers=headers)
        local.client = client
        body = {"type": "model", "name": f"many-{number:05}", "files": [{"path": "config.json", "content": "{}"}]}
        answer = client.post("/api/repos/create", json=body, timeout=60)
        if answer.status_code not in (200, 409):
            answer.raise_for_status()

    with ThreadPoolExecutor(int(threads)) as pool:
        say(seconds=timed(lambda: list(pool.map(one, range(int(count))))))


def latency(count, requests, owner):
    """How long small questions take, four at a time."""
    import httpx
    from huggingface_hub import constants

    headers = {"authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    chosen = random.Random(7)
    name = lambda: f"{owner}/many-{chosen.randrange(int(count)):05}"
    questions = {
        "whoami": lambda: ("GET", "/api/whoami-v2"),
        "info": lambda: ("GET", f"/api/models/{name()}"),
        "resolve": lambda: ("HEAD", f"/{name()}/resolve/main/config.json"),
    }
    result = {}
    for label, question in questions.items():
        asked = [question() for _ in range(int(requests))]

        def part(mine):
            took = []
            with httpx.Client(base_url=constants.ENDPOINT, headers=headers) as client:
                client.get("/api/whoami-v2")
                for method, path in mine:
                    begun = time.perf_counter()
                    answer = client.request(method, path)
                    took.append(time.perf_counter() - begun)
                    answer.raise_for_status()
            return took

        with ThreadPoolExecutor(4) as pool:
            times = sorted(sum(pool.map(part, [asked[offset::4] for offset in range(4)]), []))
        result[label] = {"p50": times[len(times) // 2] * 1000, "p99": times[len(times) * 99 // 100] * 1000}
    say(**result)


{
    "make": make,
    "change": change,
    "alone": alone,
    "upload-large": upload_large,
    "upload-small": upload_small,
    "download": download,
    "export": export,
    "repositories": repositories,
    "latency": latency,
}[step](*arguments)
