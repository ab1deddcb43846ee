"""Every `hf` command about repositories, their files, branches and tags; lists; cards."""

import concurrent.futures

from huggingface_hub import HfApi, CommitOperationAdd

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
model, data, space = f"admin/cli-model-{way}", f"admin/cli-data-{way}", f"admin/cli-space-{way}"

# Create, in every way the command has for it.
equal(hf_json("repos", "create", model)["repo_id"], model)
said = hf("repos", "create", model, fails=True)
assert "already" in said, said
hf("repos", "create", model, "--exist-ok")
hf("repos", "create", data.split("/")[1], "--type", "dataset", "--private")
pathlib.Path("secrets.env").write_text("FROM_FILE=hush\n")
hf(
    "repos", "create", space, "--type", "space", "--space-sdk", "static", "--flavor", "cpu-basic", "--sleep-time", "3600",
    "--secrets", "GIVEN=hush", "--secrets-file", "secrets.env", "--env", "VARIABLE=seen", "--protected",
)
equal(sorted(api.get_space_secrets(space)), ["FROM_FILE", "GIVEN"])
equal(api.get_space_variables(space)["VARIABLE"].value, "seen")
said = hf("repos", "create", f"admin/no-sdk-{way}", "--type", "space", fails=True)
assert "sdk" in said.lower(), said
said = hf("repos", "create", "nobody/x", fails=True)
assert "nobody" in said, said

# Upload: a file, a folder, with patterns, elsewhere, as a proposal; the repository may be new.
pathlib.Path("in/sub").mkdir(parents=True)
card = "---\nlicense: mit\npipeline_tag: text-generation\ntags: [tiny]\n---\n# The card\n"
for path, content in {"README.md": card, "a.txt": "a", "sub/b.txt": "b", "sub/c.log": "c"}.items():
    (pathlib.Path("in") / path).write_text(content)
pathlib.Path("in/model.bin").write_bytes(noise(1, 1_200_000))
said = hf_json("upload", model, "in", ".", "--exclude", "*.log", "--commit-message", "First", "--commit-description", "Of many")
assert f"{ENDPOINT}/{model}" in json.dumps(said), said
equal(sorted(api.list_repo_files(model)), [".gitattributes", "README.md", "a.txt", "model.bin", "sub/b.txt"])
commit = api.list_repo_commits(model)[0]
equal((commit.title, commit.message), ("First", "Of many"))
hf("upload", model, "in/a.txt", "renamed/a.txt")
hf("upload", f"admin/new-{way}", "in", "data", "--type", "dataset", "--include", "*.txt", "--private")
equal(sorted(api.list_repo_files(f"admin/new-{way}", repo_type="dataset")), [".gitattributes", "data/a.txt", "data/sub/b.txt"])
assert api.dataset_info(f"admin/new-{way}").private
hf("upload", model, "in/sub", "sub", "--delete", "*.txt", "--include", "*.log")
assert "sub/b.txt" not in api.list_repo_files(model) and "sub/c.log" in api.list_repo_files(model)
hf("upload", model, "in/a.txt", "proposed.txt", "--create-pr")
assert not api.file_exists(model, "proposed.txt") and api.file_exists(model, "proposed.txt", revision="refs/pr/1")
hf("upload", model, "in/a.txt", "x.txt", "--revision", "made-by-the-upload")
assert api.file_exists(model, "x.txt", revision="made-by-the-upload")

# Download: a file, several, everything, with patterns, at a revision, dry.
path = hf("download", model, "a.txt", "-q").strip()
equal(pathlib.Path(path).read_text(), "a")
path = hf("download", model, "a.txt", "model.bin", "-q").strip()
equal((pathlib.Path(path) / "model.bin").read_bytes(), noise(1, 1_200_000))
hf("download", model, "--local-dir", "out", "--exclude", "*.bin", "--include", "*")
equal(sorted(str(p.relative_to("out")) for p in pathlib.Path("out").rglob("*") if p.is_file() and ".cache" not in p.parts),
      [".gitattributes", "README.md", "a.txt", "renamed/a.txt", "sub/c.log"])
hf("download", model, "proposed.txt", "--revision", "refs/pr/1", "--local-dir", "out")
equal(pathlib.Path("out/proposed.txt").read_text(), "a")
said = hf("download", model, "--dry-run")
assert "model.bin" in said, said
for wrong, told in ((["none.txt"], "none.txt"), (["a.txt", "--revision", "none"], "Revision not found")):
    said = hf("download", model, *wrong, fails=True)
    assert told in said and "Traceback" not in said, said
said = hf("download", "admin/none", "a.txt", fails=True)
assert "admin/none" in said or "Repository" in said, said
said = hf("cache", "verify", model)
assert "mismatch" not in said.lower(), said
assert model in hf("cache", "ls"), "the cache lists it"

# Copies between this machine, standard input and output, and repositories.
hf("repos", "cp", "in/a.txt", f"hf://{model}/copied/a.txt")
equal(hf("cp", f"hf://{model}/copied/a.txt", "-").strip(), "a")
hf("cp", "-", f"hf://{model}/typed.txt", input="typed")
hf("cp", f"hf://{model}/typed.txt", "typed.txt")
equal(pathlib.Path("typed.txt").read_text(), "typed")
# To another repository the client takes only what came by Xet.
said = hf("cp", f"hf://{model}/model.bin", f"hf://datasets/{data}/model.bin", fails=not XET)
assert XET or "no xet hash" in said, said
hf("cp", f"hf://{model}/model.bin", f"hf://{model}/again.bin")
for name, kind, file in [(data, "dataset", "model.bin"), (model, "model", "again.bin")][not XET :]:
    path = hf("download", name, file, "--type", kind, "-q").strip()
    equal(pathlib.Path(path).read_bytes(), noise(1, 1_200_000))

# Branches and tags.
hf("repos", "branch", "create", model, "dev")
said = hf("repos", "branch", "create", model, "dev", fails=True)
assert "already exists" in said, said
hf("repos", "branch", "create", model, "dev", "--exist-ok")
hf("repos", "branch", "create", model, "from-dev", "--revision", "dev")
hf("repos", "tag", "create", model, "v1.0", "-m", "The first")
hf("repos", "tag", "create", model, "v1.1", "--revision", "dev")
said = hf("repos", "tag", "create", model, "v1.0", fails=True)
assert "exists" in said, said
said = hf("repos", "tag", "list", model)
assert "v1.0" in said and "v1.1" in said, said
hf("repos", "tag", "delete", model, "v1.1", "-y")
said = hf("repos", "tag", "delete", model, "v1.1", "-y", fails=True)
assert "v1.1" in said, said
hf("repos", "branch", "delete", model, "from-dev")
hf("repos", "branch", "delete", model, "made-by-the-upload")
equal(sorted(ref.name for ref in api.list_repo_refs(model).branches), ["dev", "main"])
hf("upload", model, "in/a.txt", "on-dev.txt", "--revision", "dev")
equal(hf("cp", f"hf://{model}@dev/on-dev.txt", "-").strip(), "a")

# Deleting files.
hf("repos", "delete-files", model, "*.log", "renamed/", "--commit-message", "Less")
equal([path for path in api.list_repo_files(model) if path.endswith(".log") or path.startswith("renamed")], [])
hf("repos", "delete-files", model, "typed.txt", "--create-pr")
assert api.file_exists(model, "typed.txt") and not api.file_exists(model, "typed.txt", revision="refs/pr/2")

# Info, lists, cards, trees.
equal(hf_json("models", "info", model)["id"], model)
equal(hf_json("models", "info", model, "--expand", "sha,tags")["sha"], api.model_info(model).sha)
equal(hf_json("datasets", "info", data)["private"], True)
equal(hf_json("spaces", "info", space)["sdk"], "static")
said = hf("models", "info", "admin/none", fails=True)
assert "not found" in said, said
assert "The card" in hf("models", "card", model)
equal(hf_json("models", "card", model, "--metadata")["license"], "mit")
ids = lambda *words: [found["id"] for found in hf_json(*words)]
assert model in ids("models", "ls", "--author", "admin")
assert data in ids("datasets", "ls", "--author", "admin")
assert space in ids("spaces", "ls", "--author", "admin")
equal(ids("models", "ls", "--search", f"CLI-model-{way}"), [model])
equal(ids("models", "ls", "--search", f"cli-model-{way}", "--filter", "tiny", "--pipeline-tag", "text-generation"), [model])
equal(ids("models", "ls", "--search", f"cli-model-{way}", "--filter", "huge"), [])
equal(len(ids("models", "ls", "--limit", "1")), 1)
for sort in ("created_at", "downloads", "last_modified", "likes", "trending_score"):
    assert model in ids("models", "ls", "--sort", sort, "--limit", "100"), sort
listed = hf_json("models", "ls", model, "-R")
assert {"copied/a.txt", "model.bin"} <= {entry["path"] for entry in listed}, listed
assert "model.bin" in hf("models", "ls", model, "--tree", "-h", "--format", "human")
assert "on-dev.txt" in hf("models", "ls", model, "--revision", "dev")
own = hf_json("repos", "ls")
assert {model, data, space} <= {entry["id"] for entry in own}, own
equal([entry["id"] for entry in hf_json("repos", "ls", "--type", "dataset", "--search", f"cli-data-{way}")], [data])

# Paging is the client's business: more than a page, which has a hundred, arrives whole.
wanted = [f"admin/page-{way}-{number}" for number in range(105)]
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(api.create_repo, wanted))
found = list(api.list_models(search=f"page-{way}", limit=None, sort="created_at"))
equal(sorted(entry.id for entry in found), sorted(wanted))
assert all(one.created_at >= older.created_at for one, older in zip(found, found[1:])), found
assert set(wanted) <= {entry.id for entry in api.list_user_repos()}
titles = [f"Commit {number}" for number in range(55)]
for title in titles:
    api.create_commit(wanted[0], [CommitOperationAdd("title.txt", title.encode())], commit_message=title)
equal([commit.title for commit in api.list_repo_commits(wanted[0])], [*reversed(titles), "initial commit"])
pages = list(api.list_models(search=f"page-{way}", limit=5))
equal(len(pages), 5)

# Settings and visibility.
hf("repos", "settings", model, "--private")
assert api.model_info(model).private
said = hf("download", model, "a.txt", "--local-dir", "anonymous", fails=True, env={"HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})
assert not pathlib.Path("anonymous/a.txt").exists(), said
hf("repos", "settings", model, "--public")
hf("repos", "settings", space, "--type", "space", "--protected")
said = hf("repos", "settings", model, "--protected", fails=True)
assert "protected" in said.lower(), said

# Ids compare case-insensitively and keep their case.
api.create_repo(f"admin/MiXed-{way}")
equal(api.model_info(f"ADMIN/mixed-{way.upper()}").id, f"admin/MiXed-{way}")
said = hf("repos", "create", f"admin/mixed-{way}", fails=True)
assert "already" in said, said

# The end.
hf("repos", "delete", data, "--type", "dataset", "-y")
said = hf("repos", "delete", data, "--type", "dataset", "-y", fails=True)
assert data in said or "not found" in said.lower(), said
hf("repos", "delete", data, "--type", "dataset", "--missing-ok", "-y")
hf("repos", "delete", space, "--type", "space", "-y")
hf("env")
print("all is well")
