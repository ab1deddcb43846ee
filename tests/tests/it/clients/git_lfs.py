"""What one client writes every other reads: git with git-lfs, the hf command line, huggingface_hub."""

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from prelude import *

api, way, (stranger,) = HfApi(), "xet" if XET else "lfs", sys.argv[1:]
read = lambda path: pathlib.Path(path).read_bytes()
git("lfs", "install")
large, small = noise(1, 5_000_000), "Text.\n" * 100

for kind, prefix in [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")]:
    name = f"admin/git-{kind}-{way}"
    sdk = ["--space-sdk", "static"] if kind == "space" else []
    hf("repos", "create", name, "--type", kind, *sdk)

    # hf writes, git reads: the file itself with git-lfs, its pointer without.
    folder = pathlib.Path(kind)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/large.bin").write_bytes(large)
    (folder / "small.txt").write_text(small)
    hf("upload", name, folder, "--type", kind)
    work = pathlib.Path(f"{kind}-git")
    git("clone", "-q", remote(prefix + name), work)
    equal(read(work / "sub/large.bin"), large)
    equal((work / "small.txt").read_text(), small)
    equal(git("status", "--porcelain", cwd=work), "")
    bare = pathlib.Path(f"{kind}-pointers")
    git("clone", "-q", "--depth", "1", remote(prefix + name), bare, env={"GIT_LFS_SKIP_SMUDGE": "1"})
    assert read(bare / "sub/large.bin").startswith(b"version https://git-lfs.github.com/spec/v1\n")
    git("lfs", "pull", cwd=bare)
    equal(read(bare / "sub/large.bin"), large)

    # git writes, hf and huggingface_hub read: text, a file that git-lfs tracks already, one that it is told to.
    (work / "from-git.bin").write_bytes(large[::-1])
    (work / "weights.custom").write_bytes(noise(2, 100_000))
    (work / "from-git.txt").write_text("from git\n")
    git("lfs", "track", "*.custom", cwd=work)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "From git", cwd=work)
    git("push", "-q", "origin", "main", cwd=work)
    path = pathlib.Path(snapshot_download(name, repo_type=kind))
    for file, content in [("from-git.bin", large[::-1]), ("weights.custom", noise(2, 100_000)), ("from-git.txt", b"from git\n")]:
        equal(read(path / file), content)
    hf("download", name, "--type", kind, "--local-dir", f"{kind}-hf")
    equal(read(pathlib.Path(f"{kind}-hf/from-git.bin")), large[::-1])
    equal(api.list_repo_commits(name, repo_type=kind)[0].title, "From git")
    entry = {file.path: file for file in api.list_repo_tree(name, repo_type=kind)}["from-git.bin"]
    equal(entry.lfs.sha256, hashlib.sha256(large[::-1]).hexdigest())

    # What is pushed as it is and should not be: refused with the way out, nothing changed.
    head = api.repo_info(name, repo_type=kind).sha
    (work / "big.dat").write_bytes(noise(3, 11 << 20))
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Too big", cwd=work)
    said = git("push", "origin", "main", cwd=work, fails=True)
    assert "big.dat" in said and "git lfs" in said, said
    git("reset", "-q", "origin/main", cwd=work)
    git("lfs", "track", "*.dat", cwd=work)
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Big", cwd=work)
    equal(api.repo_info(name, repo_type=kind).sha, head)
    git("push", "-q", "origin", "main", cwd=work)
    equal(read(hf_hub_download(name, "big.dat", repo_type=kind)), noise(3, 11 << 20))

    # A pointer to what was never sent.
    (work / "lost.bin").write_bytes(noise(4, 50_000) + name.encode())
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Lost", cwd=work)
    said = git("push", "--no-verify", "origin", "main", cwd=work, fails=True)
    assert "lost.bin" in said, said
    git("push", "-q", "origin", "main", cwd=work)

    # A branch by git is a revision, and what it takes over from hf is there at the next pull.
    git("checkout", "-q", "-b", "topic", cwd=work)
    (work / "topic.txt").write_text("topic\n")
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Topic", cwd=work)
    git("tag", "-a", "v1", "-m", "One", cwd=work)
    git("push", "-q", "origin", "topic", "v1", cwd=work)
    for revision in ("topic", "v1"):
        equal(read(hf_hub_download(name, "topic.txt", repo_type=kind, revision=revision)), b"topic\n")
    hf("upload", name, folder / "sub/large.bin", "topic.bin", "--type", kind, "--revision", "topic")
    git("pull", "-q", "origin", "topic", cwd=work)
    equal(read(work / "topic.bin"), large)
    said = git("push", "origin", ":main", cwd=work, fails=True)
    assert "main" in said, said

    # A proposal by hf, fetched and continued by git, merged by hf.
    proposal = api.upload_file(
        path_or_fileobj=b"one\n", path_in_repo="proposal.txt", repo_id=name, repo_type=kind, create_pr=True
    )
    git("fetch", "-q", "origin", f"{proposal.pr_revision}:proposal", cwd=work)
    git("checkout", "-q", "proposal", cwd=work)
    (work / "proposal.txt").write_text("two\n")
    (work / "proposal.bin").write_bytes(noise(5, 300_000))
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "Two", cwd=work)
    git("push", "-q", "origin", f"proposal:{proposal.pr_revision}", cwd=work)
    details = api.get_discussion_details(name, proposal.pr_num, repo_type=kind)
    assert "Two" in [getattr(event, "summary", None) for event in details.events], details.events
    api.merge_pull_request(name, proposal.pr_num, repo_type=kind)
    equal(read(hf_hub_download(name, "proposal.bin", repo_type=kind)), noise(5, 300_000))

    # Others read what is public and write nothing.
    other = pathlib.Path(f"{kind}-other")
    git("clone", "-q", f"{ENDPOINT}/{prefix}{name}.git", other)
    equal(read(other / "sub/large.bin"), large)
    (other / "theirs.bin").write_bytes(noise(6, 100_000))
    git("add", "-A", cwd=other)
    git("commit", "-q", "-m", "Theirs", cwd=other)
    git("remote", "set-url", "origin", remote(prefix + name, stranger), cwd=other)
    git("push", "origin", "main", cwd=other, fails=True)
    pointers = pathlib.Path(f"{kind}-their-pointers")
    git("clone", "-q", remote(prefix + name, stranger), pointers, env={"GIT_LFS_SKIP_SMUDGE": "1"})
    api.update_repo_settings(name, private=True, repo_type=kind)
    git("clone", f"{ENDPOINT}/{prefix}{name}.git", "x", fails=True)
    git("clone", remote(prefix + name, stranger), "x", fails=True)
    git("lfs", "pull", cwd=pointers, fails=True)
    api.update_repo_settings(name, private=False, repo_type=kind)

# A file sent in parts, through the agent that hf gives git-lfs; read back in one piece.
name = f"admin/git-parts-{way}"
api.create_repo(name)
work = pathlib.Path("parts")
git("clone", "-q", remote(name), work)
hf("lfs-enable-largefiles", work)
content = noise(7, 9 << 20)
(work / "parts.bin").write_bytes(content)
git("add", "-A", cwd=work)
git("commit", "-q", "-m", "In parts", cwd=work)
path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
git("push", "-q", "origin", "main", cwd=work, env={"PATH": path, "GIT_TRACE": "0"})
equal(read(hf_hub_download(name, "parts.bin")), content)

# A history with large files travels: a mirror of everything, pushed to another repository.
api.create_repo(f"{name}-mirror")
source = f"admin/git-model-{way}"
mirror = pathlib.Path("mirror.git")
git("clone", "-q", "--mirror", remote(source), mirror)
git("lfs", "fetch", "--all", cwd=mirror)
git("lfs", "push", "--all", remote(f"{name}-mirror"), cwd=mirror)
git("push", "-q", "--force", remote(f"{name}-mirror"), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*", cwd=mirror)
equal(read(hf_hub_download(f"{name}-mirror", "sub/large.bin")), large)
print("all is well")
