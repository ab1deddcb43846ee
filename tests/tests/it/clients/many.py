"""Many files in one folder: several commits by the client itself, resumed after a failure, proposed as one."""

from huggingface_hub import HfApi, snapshot_download

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
folder, count = pathlib.Path("many"), 700
for number in range(count):
    path = folder / f"{number % 10}" / f"{number:04}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"file {number}\n" * 20)
for number in range(40):
    (folder / f"{number:02}.bin").write_bytes(noise(number, 100_000))

repo = f"admin/many-{way}"
api.create_repo(repo, repo_type="dataset")
api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, commit_message="Many")
titles = [commit.title for commit in api.list_repo_commits(repo, repo_type="dataset")]
assert len(titles) >= (3 if XET else 2) and all(title.startswith("Many") for title in titles[:-1]), titles
equal(len(api.list_repo_files(repo, repo_type="dataset")), count + 41)

# Again: what is there is not sent and not committed.
head = api.dataset_info(repo).sha
(folder / "one-more.txt").write_text("one more\n")
api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, commit_message="More")
equal([commit.title for commit in api.list_repo_commits(repo, repo_type="dataset")][:2], ["More", titles[0]])
hf("upload", repo, folder, "--type", "dataset")
equal(api.list_repo_commits(repo, repo_type="dataset")[0].title, "More")

# As a proposal: opened once, filled by every commit, merged as a whole.
(folder / "0/0000.txt").write_text("changed\n")
for number in range(300):
    (folder / f"proposed-{number:03}.txt").write_text(f"{number}\n")
proposal = api.upload_folder(
    repo_id=repo, repo_type="dataset", folder_path=folder, commit_message="Proposed", create_pr=True
)
equal(proposal.pr_revision, "refs/pr/1")
equal(len(list(api.get_repo_discussions(repo, repo_type="dataset"))), 1)
equal(len(api.list_repo_files(repo, repo_type="dataset", revision="refs/pr/1")), count + 342)
if XET:
    # With Xet the client opens it as a draft before it commits.
    api.change_discussion_status(repo, 1, "open", repo_type="dataset")
api.merge_pull_request(repo, 1, repo_type="dataset")

# Everything arrives, by one client and the other.
path = pathlib.Path(snapshot_download(repo, repo_type="dataset", max_workers=16))
git("lfs", "install")
git("clone", "-q", f"{ENDPOINT}/datasets/{repo}", "clone")
for below in (path, pathlib.Path("clone")):
    for name in [*(f"{number % 10}/{number:04}.txt" for number in range(count)), *(f"{number:02}.bin" for number in range(40)),
                 *(f"proposed-{number:03}.txt" for number in range(300)), "one-more.txt"]:
        assert (below / name).read_bytes() == (folder / name).read_bytes(), name

# Everything goes, by pattern.
api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, allow_patterns=["*.bin"], delete_patterns=["*.txt"])
equal(len(api.list_repo_files(repo, repo_type="dataset")), 41)
print("all is well")
