"""Files of models, data sets and Spaces through huggingface_hub, from the first commit to the last."""

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    CommitScheduler,
    HfApi,
    HfFileSystem,
    ModelCard,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
anonymous = HfApi(token=False)
read = lambda path: pathlib.Path(path).read_bytes()
sha256 = lambda content: hashlib.sha256(content).hexdigest()
blob = lambda content: hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

# --- A repository and its first files, of every kind and in every way they can be given. ---
repo = f"admin/files-{way}"
equal(api.create_repo(repo).repo_id, repo)
assert api.repo_exists(repo) and not api.repo_exists("admin/none") and not api.repo_exists("none")
with refused(HfHubHTTPError, 409):
    api.create_repo(repo)
api.create_repo(repo, exist_ok=True)
equal([commit.title for commit in api.list_repo_commits(repo)], ["initial commit"])
equal(api.list_repo_files(repo), [".gitattributes"])

weights, text = noise(1, 3_000_000), "The quick brown fox.\n" * 1000
odd = "a folder/ünïcode & spaces #1?%41 'q' +=,;@$!(x).txt"
files = {
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "weights.bin": weights,
    "deep/er/and/deeper/text.txt": text.encode(),
    odd: "odd".encode(),
    "日本語/файл.txt": "人".encode(),
}
pathlib.Path("weights.bin").write_bytes(weights)
by_file = CommitOperationAdd("weights.bin", "weights.bin")
opened = open("weights.bin", "rb")
additions = [by_file if path == "weights.bin" else CommitOperationAdd(path, content) for path, content in files.items()]
commit = api.create_commit(repo, additions, commit_message="The files", commit_description="All of them")
assert commit.oid in commit.commit_url and commit.repo_url.repo_id == repo, commit
opened_too = api.upload_file(path_or_fileobj=opened, path_in_repo="again/weights.bin", repo_id=repo)
assert opened_too.oid != commit.oid
files["again/weights.bin"] = weights
equal(sorted(set(api.list_repo_files(repo)) - {".gitattributes"}), sorted(files))
first, second = api.list_repo_commits(repo)[1], api.list_repo_commits(repo)[0]
equal((first.commit_id, first.title, first.message, first.authors), (commit.oid, "The files", "All of them", ["admin"]))
equal(second.commit_id, opened_too.oid)

tree = {entry.path: entry for entry in api.list_repo_tree(repo, recursive=True, expand=True)}
for path, content in files.items():
    entry = tree[path]
    equal((entry.size, entry.last_commit.title == "The files"), (len(content), path != "again/weights.bin"))
    if path.endswith(".bin"):
        equal((entry.lfs.sha256, entry.lfs.size), (sha256(content), len(content)))
        assert entry.xet_hash if XET else True, entry
    else:
        equal((entry.lfs, entry.blob_id), (None, blob(content)))
equal(sorted(entry.path for entry in api.list_repo_tree(repo, "deep/er")), ["deep/er/and"])
with refused(RemoteEntryNotFoundError, 404):
    list(api.list_repo_tree(repo, "deep/none"))
infos = api.get_paths_info(repo, [odd, "deep", "none", "weights.bin"], expand=True)
equal(sorted(info.path for info in infos), sorted([odd, "deep", "weights.bin"]))
assert all(info.last_commit.title for info in infos)
for path, content in files.items():
    assert api.file_exists(repo, path), path
    assert read(hf_hub_download(repo, path)) == content, path
assert not api.file_exists(repo, "none") and not api.file_exists(repo, "config.json", revision="none")
metadata = api.get_hf_file_metadata(url=f"{ENDPOINT}/{repo}/resolve/main/weights.bin")
equal((metadata.etag, metadata.size, metadata.commit_hash), (sha256(weights), len(weights), opened_too.oid))

# --- What is not there is told apart: repository, revision, file. ---
for token in (None, False):
    with refused(RepositoryNotFoundError):
        hf_hub_download("admin/none", "config.json", token=token)
    with refused(RevisionNotFoundError, 404, "Request ID"):
        hf_hub_download(repo, "config.json", revision="none", token=token)
    with refused(RemoteEntryNotFoundError, 404):
        hf_hub_download(repo, "none.json", token=token)
assert try_to_load_from_cache(repo, "none.json") not in (None, "none.json"), "the absence is remembered"
with refused(RepositoryNotFoundError):
    hf_hub_download("gpt2-that-is-not-here", "config.json")

# --- What did not change is neither uploaded nor committed again. ---
head = api.model_info(repo).sha
equal(api.upload_file(path_or_fileobj=b'{"a": 1}', path_in_repo="config.json", repo_id=repo).oid, head)
equal(api.upload_file(path_or_fileobj="weights.bin", path_in_repo="weights.bin", repo_id=repo).oid, head)

# --- The cache is revalidated: a new commit is seen, the old one stays. ---
api.upload_file(path_or_fileobj=b'{"a": 2}', path_in_repo="config.json", repo_id=repo)
equal(read(hf_hub_download(repo, "config.json")), b'{"a": 2}')
equal(read(hf_hub_download(repo, "config.json", revision=head)), b'{"a": 1}')
equal(read(hf_hub_download(repo, "config.json", local_files_only=True)), b'{"a": 2}')
with refused(LocalEntryNotFoundError):
    hf_hub_download(repo, ".gitattributes", local_files_only=True)
kept = hf_hub_download(repo, "config.json")
pathlib.Path(os.path.realpath(kept)).write_bytes(b"spoilt")
equal(read(hf_hub_download(repo, "config.json", force_download=True)), b'{"a": 2}')

# --- A commit names the head it was made for. ---
now = api.model_info(repo).sha
with refused(HfHubHTTPError, 412, "The branch was updated"):
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, parent_commit=head)
moved = api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, parent_commit=now)
with refused((HfHubHTTPError, ValueError)):
    api.create_commit(repo, [CommitOperationDelete("not-there.txt")], commit_message="x")
with refused((BadRequestError, ValueError)):
    bad = "---\nlicense: [\n---\n# x"
    api.upload_file(path_or_fileobj=bad.encode(), path_in_repo="README.md", repo_id=repo)
with refused(RepositoryNotFoundError):
    anonymous.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="admin/none")
with refused(HfHubHTTPError, 401):
    anonymous.upload_file(path_or_fileobj=b"x", path_in_repo="y", repo_id=repo)
equal(api.model_info(repo).sha, moved.oid)

# --- Copies, within and between revisions; deletions of files and folders. ---
copies = [
    CommitOperationCopy("weights.bin", "copies/weights.bin"),
    CommitOperationCopy("config.json", "copies/old.json", src_revision=head),
    CommitOperationDelete("x"),
    CommitOperationDelete("deep/", is_folder=True),
]
api.create_commit(repo, copies, commit_message="Copies")
equal(read(hf_hub_download(repo, "copies/weights.bin")), weights)
equal(read(hf_hub_download(repo, "copies/old.json")), b'{"a": 1}')
assert not any(path.startswith("deep/") or path == "x" for path in api.list_repo_files(repo))
api.delete_file("copies/old.json", repo)
api.delete_files(repo, ["again/*"])
api.delete_folder("日本語", repo)
equal(sorted(api.list_repo_files(repo)), sorted([".gitattributes", "config.json", "copies/weights.bin", "empty.txt", odd, "weights.bin"]))

# --- Branches, tags, history. ---
api.create_branch(repo, branch="dev/one")
with refused(HfHubHTTPError, 409, "Reference refs/heads/dev/one already exists"):
    api.create_branch(repo, branch="dev/one")
api.create_branch(repo, branch="dev/one", exist_ok=True)
api.create_branch(repo, branch="old", revision=head)
api.upload_file(path_or_fileobj=b"dev", path_in_repo="dev.txt", repo_id=repo, revision="dev/one")
assert api.file_exists(repo, "dev.txt", revision="dev/one") and not api.file_exists(repo, "dev.txt")
api.create_tag(repo, tag="v1", revision="dev/one", tag_message="One")
with refused(HfHubHTTPError, 409):
    api.create_tag(repo, tag="v1")
api.create_tag(repo, tag="v1", exist_ok=True)
api.create_tag(repo, tag="v0", revision=head)
for revision in ["v1", "dev/one", api.model_info(repo, revision="v1").sha, "refs/heads/dev/one"]:
    equal(read(hf_hub_download(repo, "dev.txt", revision=revision)), b"dev")
assert api.revision_exists(repo, "v1") and not api.revision_exists(repo, "v2")
refs = api.list_repo_refs(repo)
equal(sorted(ref.name for ref in refs.branches), ["dev/one", "main", "old"])
equal({ref.name: ref.target_commit for ref in refs.tags}["v0"], head)
with refused(RevisionNotFoundError, 404):
    api.create_branch(repo, branch="x", revision="none")
with refused(HfHubHTTPError, 403, "Cannot delete refs/heads/main"):
    api.delete_branch(repo, branch="main")
with refused(HfHubHTTPError, 404):
    api.delete_branch(repo, branch="none")
with refused(RevisionNotFoundError, 404):
    api.delete_tag(repo, tag="none")
api.delete_tag(repo, tag="v0")
api.delete_branch(repo, branch="old")
api.super_squash_history(repo, branch="dev/one", commit_message="All in one")
equal([commit.title for commit in api.list_repo_commits(repo, revision="dev/one")], ["All in one"])
equal(read(hf_hub_download(repo, "weights.bin", revision="dev/one", force_download=True)), weights)

# --- A folder: patterns, .gitignore, deletions, nothing when nothing changed. ---
folder = pathlib.Path("folder")
for path in ["keep.txt", "drop.log", "sub/keep.txt", "sub/ignored.tmp", ".git/config", "model.safetensors"]:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(path)
(folder / "sub/large.bin").write_bytes(noise(2, 2_000_000))
(folder / ".gitignore").write_text("*.tmp\n")
done = api.upload_folder(repo_id=repo, folder_path=folder, path_in_repo="f", ignore_patterns="*.log", commit_message="A folder")
below = lambda: sorted(path[2:] for path in api.list_repo_files(repo) if path.startswith("f/"))
# The rules of a .gitignore count from where it lies, which is not the root here.
equal(below(), [".gitignore", "keep.txt", "model.safetensors", "sub/ignored.tmp", "sub/keep.txt", "sub/large.bin"])
equal(api.upload_folder(repo_id=repo, folder_path=folder, path_in_repo="f", ignore_patterns="*.log").oid, done.oid)
(folder / "new.txt").write_text("new")
api.upload_folder(repo_id=repo, folder_path=folder, path_in_repo="f", allow_patterns=["new.txt"], delete_patterns=["sub/*", "keep.txt"])
equal(below(), [".gitignore", "model.safetensors", "new.txt"])
other = f"admin/ignoring-{way}"
api.create_repo(other, repo_type="dataset", private=True)
api.upload_folder(repo_id=other, folder_path=folder, repo_type="dataset")
assert "sub/ignored.tmp" not in api.list_repo_files(other, repo_type="dataset")
equal(read(hf_hub_download(other, "sub/large.bin", repo_type="dataset")), noise(2, 2_000_000))
with refused(RepositoryNotFoundError):
    hf_hub_download(other, "sub/large.bin", repo_type="dataset", token=False, cache_dir="another")

# --- Snapshots: patterns, revisions, a folder of one's own, nothing downloaded twice. ---
path = pathlib.Path(snapshot_download(repo, allow_patterns=["*.json", "f/*"], ignore_patterns=["*.safetensors"]))
equal(sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and not file.is_relative_to(path / "again")
             and file.name in ("config.json", "new.txt", ".gitignore")), ["config.json", "f/.gitignore", "f/new.txt"])
local = pathlib.Path(snapshot_download(repo, revision="v1", local_dir="local"))
equal(read(local / odd), b"odd")
equal(read(local / "weights.bin"), weights)
equal(snapshot_download(repo, revision="v1", local_dir="local", local_files_only=True), str(local))
plan = snapshot_download(repo, revision="v1", dry_run=True)
assert {file.filename for file in plan} >= {"weights.bin", "config.json"}, plan
(local / "config.json").write_text("{}")
snapshot_download(repo, revision="v1", local_dir="local", force_download=True)
equal(read(local / "config.json"), b'{"a": 2}')
equal(len(api.verify_repo_checksums(repo, revision="v1", local_dir="local").mismatches), 0)
with refused(RevisionNotFoundError):
    snapshot_download(repo, revision="none")
whole = snapshot_download(other, repo_type="dataset", max_workers=3)
equal(read(pathlib.Path(whole) / "keep.txt"), b"keep.txt")

# --- Parts of files, and files as a file system. ---
fs = HfFileSystem()
equal(sorted(entry.rsplit("/", 1)[1] for entry in fs.ls(f"{repo}/f", detail=False)), [".gitignore", "model.safetensors", "new.txt"])
with fs.open(f"{repo}/weights.bin", block_size=1 << 16) as file:
    file.seek(1_234_567)
    equal(file.read(1000), weights[1_234_567:1_235_567])
    file.seek(-10, 2)
    equal(file.read(), weights[-10:])
equal(fs.info(f"{repo}/weights.bin")["size"], len(weights))
equal(fs.cat_file(f"{repo}@v1/dev.txt"), b"dev")
with fs.open(f"{repo}/by-fs.txt", "w") as file:
    file.write("written")
equal(fs.read_text(f"{repo}/by-fs.txt"), "written")
fs.cp_file(f"{repo}/by-fs.txt", f"{repo}/by-fs-2.txt")
equal(sorted(fs.glob(f"{repo}/by-fs*")), [f"{repo}/by-fs-2.txt", f"{repo}/by-fs.txt"])
fs.rm(f"{repo}/by-fs.txt")
fs.invalidate_cache()
assert not fs.exists(f"{repo}/by-fs.txt") and fs.exists(f"{repo}/by-fs-2.txt") and fs.isdir(f"{repo}/f")

# --- Proposals: a pull request by commit, read at its own revision. ---
proposal = api.upload_file(path_or_fileobj=weights[::-1], path_in_repo="proposed.bin", repo_id=repo, create_pr=True)
equal((proposal.pr_revision, proposal.pr_num), ("refs/pr/1", 1))
equal(read(hf_hub_download(repo, "proposed.bin", revision="refs/pr/1")), weights[::-1])
assert not api.file_exists(repo, "proposed.bin")
api.upload_file(path_or_fileobj=b"more", path_in_repo="proposed.txt", repo_id=repo, revision="refs/pr/1")
second = api.upload_folder(repo_id=repo, folder_path=folder, path_in_repo="g", create_pr=True, commit_message="G")
equal(second.pr_revision, "refs/pr/2")
assert "g/sub/large.bin" in api.list_repo_files(repo, revision="refs/pr/2")
assert [ref.ref for ref in api.list_repo_refs(repo, include_pull_requests=True).pull_requests] == ["refs/pr/1", "refs/pr/2"]
api.merge_pull_request(repo, 1)
equal(read(hf_hub_download(repo, "proposed.txt")), b"more")
with refused(RevisionNotFoundError, 404):
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo, revision=moved.oid, create_pr=True)

# --- Beforehand, in the background, and by the clock. ---
ahead = [CommitOperationAdd(f"ahead/{number}.bin", noise(10 + number, 1_500_000)) for number in range(3)]
api.preupload_lfs_files(repo, ahead)
api.create_commit(repo, ahead, commit_message="Sent ahead")
equal(read(hf_hub_download(repo, "ahead/2.bin")), noise(12, 1_500_000))
future = api.upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id=repo, run_as_future=True)
equal(future.result(timeout=60).oid, api.model_info(repo).sha)
watched = pathlib.Path("watched")
first_turn = lambda clock: until("the first turn", lambda: getattr(clock, "last_future", None)).result(timeout=60)
with CommitScheduler(repo_id=f"scheduled-{way}", repo_type="dataset", folder_path=watched, path_in_repo="data", every=60) as clock:
    first_turn(clock)
    (watched / "log.csv").write_text("1\n")
    assert clock.trigger().result(timeout=60).oid
    (watched / "log.csv").write_text("1\n2\n")
    (watched / "image.bin").write_bytes(noise(30, 200_000))
scheduled = f"admin/scheduled-{way}"
equal(read(hf_hub_download(scheduled, "data/log.csv", repo_type="dataset")), b"1\n2\n")
equal(read(hf_hub_download(scheduled, "data/image.bin", repo_type="dataset")), noise(30, 200_000))
equal([commit.title for commit in api.list_repo_commits(scheduled, repo_type="dataset")], ["Scheduled Commit"] * 2 + ["initial commit"])
with CommitScheduler(repo_id=scheduled, repo_type="dataset", folder_path=watched, every=60, squash_history=True) as clock:
    first_turn(clock)
    (watched / "log.csv").write_text("3\n")
equal([commit.title for commit in api.list_repo_commits(scheduled, repo_type="dataset")][-1:], ["Super-squash branch 'main' using huggingface_hub"])

# --- Cards. ---
card = ModelCard("---\nlicense: mit\ntags:\n- tiny\nlanguage: en\n---\n# A card\n")
card.push_to_hub(repo)
loaded = ModelCard.load(repo)
equal((loaded.data.license, loaded.data.tags), ("mit", ["tiny"]))
info = api.model_info(repo, files_metadata=True)
assert "tiny" in info.tags and "license:mit" in info.tags and info.card_data.license == "mit", info
sizes = {file.rfilename: file.size for file in info.siblings}
equal(sizes["weights.bin"], len(weights))
loaded.validate()

# --- Large files are listed, and can be forgotten. ---
listed = list(api.list_lfs_files(repo))
assert {file.oid for file in listed} >= {sha256(weights), sha256(weights[::-1])}, listed
api.permanently_delete_lfs_files(repo, [file for file in listed if file.oid == sha256(weights[::-1])])
with refused(RemoteEntryNotFoundError):
    hf_hub_download(repo, "proposed.bin", force_download=True)
assert all(not api.file_exists(repo, "proposed.bin", revision=commit.commit_id) for commit in api.list_repo_commits(repo))
equal(read(hf_hub_download(repo, "weights.bin", force_download=True)), weights)

# --- Between repositories, without sending anything twice: the client does it for what came by Xet. ---
with contextlib.nullcontext() if XET else refused(ValueError, says="no xet hash"):
    api.copy_files(f"hf://{repo}/copies/", f"hf://datasets/{other}/copied/")
    equal(read(hf_hub_download(other, "copied/weights.bin", repo_type="dataset")), weights)

# --- A Space's files are files. ---
space = f"admin/files-space-{way}"
api.create_repo(space, repo_type="space", space_sdk="static")
api.upload_folder(repo_id=space, repo_type="space", folder_path=folder, path_in_repo="static")
equal(read(hf_hub_download(space, "static/sub/large.bin", repo_type="space")), noise(2, 2_000_000))

api.delete_repo(other, repo_type="dataset")
with refused(RepositoryNotFoundError):
    api.dataset_info(other)
api.delete_repo(other, repo_type="dataset", missing_ok=True)
with refused(RepositoryNotFoundError):
    api.delete_repo(other, repo_type="dataset")
print("all is well")
