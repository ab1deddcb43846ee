"""Transfers that are cut off: the next attempt continues, and nothing arrives damaged."""

import signal
import threading
import urllib.parse

from huggingface_hub import HfApi, hf_hub_download, snapshot_download

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
sha256 = lambda content: hashlib.sha256(content).hexdigest()


class Wire:
    """A way to the hub that can be cut, or blocked, once so many bytes have passed in one direction."""

    def __init__(self):
        self.up = self.down = self.cuts = self.round = 0
        self.cut_after = {"up": None, "down": None}
        self.block_after = {"up": None, "down": None}
        self.blocked = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://localhost:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        hub = urllib.parse.urlsplit(ENDPOINT)
        while True:
            client, _ = self.socket.accept()
            server = socket.create_connection(("127.0.0.1", hub.port))
            for pair in [(client, server, "up"), (server, client, "down")]:
                threading.Thread(target=self.pass_on, args=(*pair, self.round), daemon=True).start()

    def pass_on(self, source, to, direction, round):
        passed = 0
        try:
            while (data := source.recv(1 << 16)) and round == self.round:
                passed += len(data)
                setattr(self, direction, getattr(self, direction) + len(data))
                limit = self.block_after[direction]
                if limit and getattr(self, direction) > limit:
                    self.blocked.set()
                    self.open.wait()
                if round != self.round:
                    break
                if self.cut_after[direction] and passed > self.cut_after[direction]:
                    self.cut_after[direction] = None
                    self.cuts += 1
                    break
                to.sendall(data)
        except OSError:
            pass
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def kill_at(self, direction, count, *words, **env):
        """Runs `hf` until so many bytes have passed, and kills it outright, with what is under way."""
        self.up = self.down = 0
        self.open.clear()
        self.blocked.clear()
        self.block_after[direction] = count
        program = pathlib.Path(sys.executable).with_name("hf")
        child = subprocess.Popen([program, *words], env={**os.environ, "HF_ENDPOINT": self.endpoint, **env})
        assert self.blocked.wait(60), "so much never passed"
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.round += 1
        self.block_after[direction] = None
        self.open.set()
        self.up = self.down = 0

    def hf(self, *words, **env):
        return hf(*words, env={"HF_ENDPOINT": self.endpoint, **env})


wire = Wire()
repo, size = f"admin/cut-{way}", 12_000_000
api.create_repo(repo)
contents = {f"{number}.bin": noise(number, size if number < 2 else 2_000_000) for number in range(14)}
total = sum(map(len, contents.values()))
folder = pathlib.Path("folder")
folder.mkdir()
for name, content in contents.items():
    (folder / name).write_bytes(content)

# An upload that is killed leaves nothing behind that could be seen, and the next one ends it.
wire.kill_at("up", total * 4 // 5, "upload", repo, "folder")
equal(api.list_repo_files(repo), [".gitattributes"])
wire.hf("upload", repo, "folder")
equal(sorted(api.list_repo_files(repo)), sorted([".gitattributes", *contents]))
print(f"{way}: after the upload was killed at four fifths of {total:,} bytes, {wire.up:,} were sent")
if not XET:
    # What had arrived whole is not asked for again.
    assert wire.up < total, wire.up

# A download that is killed: the next one asks for those files alone that were not there yet.
wire.kill_at("down", total * 4 // 5, "download", repo)
path = pathlib.Path(wire.hf("download", repo, "-q").strip())
for name, content in contents.items():
    equal(sha256((path / name).read_bytes()), sha256(content))
print(f"{way}: after the download was killed at four fifths of {total:,} bytes, {wire.down:,} were read")
assert wire.down < total, wire.down

# A broken connection is mended within one call.
wire.cut_after["down"] = size // 3
path = pathlib.Path(snapshot_download(repo, endpoint=wire.endpoint, cache_dir="other", allow_patterns="1.bin"))
equal(sha256((path / "1.bin").read_bytes()), sha256(contents["1.bin"]))
equal(wire.cuts, 1)
pathlib.Path("new.bin").write_bytes(noise(9, size))
wire.cut_after["up"] = size // 3
HfApi(endpoint=wire.endpoint).upload_file(path_or_fileobj="new.bin", path_in_repo="new.bin", repo_id=repo)
equal(sha256(pathlib.Path(hf_hub_download(repo, "new.bin")).read_bytes()), sha256(noise(9, size)))
equal(wire.cuts, 2)

# Packs of chunks that have arrived are not sent again, also by a client that remembers nothing of them: it asks
# what the account has sent. One pack at a time, so that some have arrived.
if XET:
    large = noise(20, 150_000_000)
    pathlib.Path("large.bin").write_bytes(large)
    one = {"HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "1", "HF_XET_CLIENT_AC_INITIAL_UPLOAD_CONCURRENCY": "1"}
    wire.kill_at("up", 110_000_000, "upload", repo, "large.bin", **one)
    wire.hf("upload", repo, "large.bin", HF_XET_CACHE=str(pathlib.Path("fresh").absolute()))
    print(f"{way}: after the upload was killed at 110,000,000 of {len(large):,} bytes, {wire.up:,} were sent")
    assert wire.up < 90_000_000, wire.up
    equal(sha256(pathlib.Path(hf_hub_download(repo, "large.bin")).read_bytes()), sha256(large))
print("all is well")
