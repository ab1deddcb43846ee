"""Discussions, pull requests, likes, overviews and webhooks through huggingface_hub and `hf`."""

import concurrent.futures
import http.server
import threading

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from prelude import *

(bob_token,) = sys.argv[1:]
api, bob = HfApi(), HfApi(token=bob_token)
anonymous = HfApi(token=False)

for kind in ("model", "dataset", "space"):
    repo = f"admin/talk-{kind}"
    api.create_repo(repo, repo_type=kind, space_sdk="static" if kind == "space" else None)
    api.upload_file(path_or_fileobj=b"one\n", path_in_repo="file.txt", repo_id=repo, repo_type=kind)

    # A discussion from its first word to its end, by somebody who may only read the repository.
    talk = bob.create_discussion(repo, "A question", description="How **does** it work?", repo_type=kind)
    equal((talk.num, talk.author, talk.status, talk.is_pull_request), (1, "bob", "open", False))
    comment = api.comment_discussion(repo, 1, "Like this.", repo_type=kind)
    equal((comment.author, comment.content, comment.edited, comment.hidden), ("admin", "Like this.", False, False))
    edited = api.edit_discussion_comment(repo, 1, comment.id, "Like *that*.", repo_type=kind)
    equal((edited.content, edited.edited, edited.last_edited_by), ("Like *that*.", True, "admin"))
    assert "<em>that</em>" in edited.rendered, edited.rendered
    with refused(HfHubHTTPError, 403):
        bob.edit_discussion_comment(repo, 1, comment.id, "Mine now", repo_type=kind)
    hidden = api.hide_discussion_comment(repo, 1, comment.id, repo_type=kind)
    assert hidden.hidden and "that" not in hidden.content, hidden
    renamed = bob.rename_discussion(repo, 1, "A better question", repo_type=kind)
    equal((renamed.old_title, renamed.new_title), ("A question", "A better question"))
    changed = bob.change_discussion_status(repo, 1, "closed", comment="Thanks", repo_type=kind)
    equal((changed.new_status, changed.author), ("closed", "bob"))
    details = api.get_discussion_details(repo, 1, repo_type=kind)
    equal([event.type for event in details.events], ["comment", "comment", "title-change", "comment", "status-change"])
    equal((details.title, details.status), ("A better question", "closed"))

    # A pull request: opened, filled by its author, looked at, merged by somebody who may.
    pull = bob.create_pull_request(repo, "A change", description="Better", repo_type=kind)
    equal((pull.num, pull.status, pull.git_reference), (2, "draft", "refs/pr/2"))
    bob.upload_file(
        path_or_fileobj=b"one\ntwo\n", path_in_repo="file.txt", repo_id=repo, repo_type=kind, revision="refs/pr/2",
        commit_message="Add two",
    )
    details = api.get_discussion_details(repo, 2, repo_type=kind)
    assert "+two" in details.diff and not details.conflicting_files, details
    equal(details.target_branch, "refs/heads/main")
    equal([event.summary for event in details.events if event.type == "commit"], ["Add two"])
    bob.change_discussion_status(repo, 2, "open", repo_type=kind)
    with refused(HfHubHTTPError, 403):
        bob.merge_pull_request(repo, 2, repo_type=kind)
    api.merge_pull_request(repo, 2, comment="Good", repo_type=kind)
    details = api.get_discussion_details(repo, 2, repo_type=kind)
    equal(details.status, "merged")
    assert details.merge_commit_oid in [commit.commit_id for commit in api.list_repo_commits(repo, repo_type=kind)]
    path = api.hf_hub_download(repo, "file.txt", repo_type=kind)
    equal(pathlib.Path(path).read_text(), "one\ntwo\n")

    # Two that cannot both be merged.
    for number in (3, 4):
        bob.upload_file(
            path_or_fileobj=f"{number}\n".encode(), path_in_repo="file.txt", repo_id=repo, repo_type=kind, create_pr=True
        )
    api.merge_pull_request(repo, 3, repo_type=kind)
    assert api.get_discussion_details(repo, 4, repo_type=kind).conflicting_files
    with refused(HfHubHTTPError, 409):
        api.merge_pull_request(repo, 4, repo_type=kind)
    api.change_discussion_status(repo, 4, "closed", repo_type=kind)

    # Lists and their filters.
    numbers = lambda **how: [found.num for found in api.get_repo_discussions(repo, repo_type=kind, **how)]
    equal(numbers(), [4, 3, 2, 1])
    equal(numbers(discussion_type="discussion"), [1])
    equal(numbers(discussion_type="pull_request", discussion_status="closed"), [4, 3, 2])
    equal(numbers(author="admin"), [])
    with refused(HfHubHTTPError, 401):
        anonymous.create_discussion(repo, "No", repo_type=kind)

    # Likes: the Python client only takes them back, the page gives them.
    path = f"{ENDPOINT}/api/{kind}s/{repo}/like"
    assert httpx.post(path, headers={"authorization": f"Bearer {bob_token}"}).status_code == 200
    equal([user.username for user in api.list_repo_likers(repo, repo_type=kind)], ["bob"])
    assert repo in getattr(api.list_liked_repos("bob"), f"{kind}s")
    equal(api.repo_info(repo, repo_type=kind).likes, 1)
    bob.unlike(repo, repo_type=kind)
    equal(list(api.list_repo_likers(repo, repo_type=kind)), [])

# More than a page, which has fifty.
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda number: api.create_discussion("admin/talk-model", f"Number {number}"), range(5, 56)))
equal([found.num for found in api.get_repo_discussions("admin/talk-model")], list(range(55, 0, -1)))

# The command line.
repo = "admin/talk-cli"
api.create_repo(repo)
api.upload_file(path_or_fileobj=b"one\n", path_in_repo="file.txt", repo_id=repo)
hf("discussions", "create", repo, "--title", "From the shell", "--body", "Hello")
hf("discussions", "comment", repo, "1", "--body", "World")
said = hf("discussions", "info", repo, "1")
assert "From the shell" in said, said
comment = [event for event in api.get_discussion_details(repo, 1).events if event.type == "comment"][-1]
hf("discussions", "edit", repo, "1", comment.id, "--body", "Everybody")
equal(api.get_discussion_details(repo, 1).events[-1].content, "Everybody")
hf("discussions", "rename", repo, "1", "Renamed")
hf("discussions", "close", repo, "1", "--comment", "Done", "-y")
equal(api.get_discussion_details(repo, 1).status, "closed")
hf("discussions", "reopen", repo, "1", "-y")
hf("discussions", "create", repo, "--title", "A change", "--pull-request")
pathlib.Path("file.txt").write_text("two\n")
hf("upload", repo, "file.txt", "file.txt", "--revision", "refs/pr/2")
said = hf("discussions", "diff", repo, "2")
assert "+two" in said, said
hf("discussions", "merge", repo, "2", "-y")
assert api.get_discussion_details(repo, 2).status == "merged"
listed = hf_json("discussions", "list", repo, "--status", "all")
equal([entry["num"] for entry in listed], [2, 1])
equal([entry["num"] for entry in hf_json("discussions", "list", repo, "--status", "merged")], [2])
equal([entry["num"] for entry in hf_json("discussions", "list", repo, "--kind", "discussion")], [1])

# People and organizations.
overview = api.get_user_overview("bob")
equal((overview.username, overview.num_discussions > 0), ("bob", True))
with refused(HfHubHTTPError, 404):
    api.get_user_overview("nobody-at-all")
follow = httpx.post(f"{ENDPOINT}/api/users/admin/follow", headers={"authorization": f"Bearer {bob_token}"})
equal(follow.status_code, 200)
equal([user.username for user in api.list_user_followers("admin")], ["bob"])
equal([user.username for user in api.list_user_following("bob")], ["admin"])
headers = {"authorization": f"Bearer {TOKEN}"}
equal(httpx.post(f"{ENDPOINT}/api/organizations", json={"name": "club"}, headers=headers).status_code, 200)
equal(httpx.put(f"{ENDPOINT}/api/organizations/club/members/bob", json={"role": "read"}, headers=headers).status_code, 200)
equal(sorted(user.username for user in api.list_organization_members("club")), ["admin", "bob"])
equal((api.get_organization_overview("club").name, api.get_organization_overview("club").num_users), ("club", 2))
equal([org["name"] for org in bob.whoami()["orgs"]], ["club"])
api.create_repo("club/shared", private=True)
equal(bob.model_info("club/shared").id, "club/shared")
with refused(HfHubHTTPError, 403):
    bob.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="club/shared")
with refused(RepositoryNotFoundError):
    anonymous.model_info("club/shared")
equal([entry.id for entry in api.list_user_repos(namespace="club")], ["club/shared"])
follow = httpx.post(f"{ENDPOINT}/api/organizations/club/follow", headers={"authorization": f"Bearer {bob_token}"})
equal(follow.status_code, 200)
equal([user.username for user in api.list_organization_followers("club")], ["bob"])

# What a token may do with a repository, asked before anything is done.
api.create_repo("admin/mine", repo_type="dataset", private=True)
for kind, name in (("dataset", "admin/mine"), ("model", "club/shared"), ("space", "admin/talk-space")):
    api.auth_check(name, repo_type=kind)
    api.auth_check(name, repo_type=kind, write=True)
bob.auth_check("club/shared")
with refused(HfHubHTTPError, 403):
    bob.auth_check("club/shared", write=True)
for somebody in (bob, anonymous):
    for name in ("admin/mine", "admin/none"):
        with refused(RepositoryNotFoundError):
            somebody.auth_check(name, repo_type="dataset")
    somebody.auth_check("admin/talk-space", repo_type="space")
    with refused(HfHubHTTPError):
        somebody.auth_check("admin/talk-space", repo_type="space", write=True)

# Webhooks: made by the client, delivered with the secret, off and on again.
heard = []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        heard.append((self.headers["X-Webhook-Secret"], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{receiver.server_port}/hook"
made = api.create_webhook(url=url, watched=[{"type": "model", "name": repo}], domains=["repo", "discussion"], secret="hush")
equal([hook.id for hook in api.list_webhooks()], [made.id])
equal(api.get_webhook(made.id).url, url)
commit = api.upload_file(path_or_fileobj=b"three\n", path_in_repo="file.txt", repo_id=repo)
is_commit = lambda said: said[1]["event"]["scope"].startswith("repo.content") and said[1]["repo"].get("headSha") == commit.oid
secret, body = until("the commit is heard of", lambda: next(filter(is_commit, heard), None))
equal((secret, body["repo"]["name"], body["webhook"]["version"]), ("hush", repo, 3))
assert any(ref["newSha"] == commit.oid for ref in body["updatedRefs"]), body
api.create_discussion(repo, "Heard of")
about = lambda said: said[1].get("discussion", {}).get("title") == "Heard of"
until("the discussion is heard of", lambda: next(filter(about, heard), None))
assert api.disable_webhook(made.id).disabled and not api.enable_webhook(made.id).disabled
api.update_webhook(made.id, url=f"{url}/other", watched=[{"type": "user", "name": "admin"}])
equal(api.get_webhook(made.id).url, f"{url}/other")
api.delete_webhook(made.id)
equal(api.list_webhooks(), [])
hf("webhooks", "create", "--url", url, "--watch", f"model:{repo}", "--domain", "repo")
(listed,) = hf_json("webhooks", "ls")
hf("webhooks", "info", listed["id"])
hf("webhooks", "disable", listed["id"])
hf("webhooks", "enable", listed["id"])
hf("webhooks", "update", listed["id"], "--secret", "new")
hf("webhooks", "delete", listed["id"], "-y")
equal(api.list_webhooks(), [])
print("all is well")
