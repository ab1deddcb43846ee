//! The Hub's own client, unmodified: templates, copies, moves, and what is found of them.

use spaceport_e2e::Site;

/// What people do with repositories as a whole.
const SCRIPT: &str = r#"
import prelude
import http.client, os, subprocess, sys, time
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

api, base = HfApi(), os.environ["HF_ENDPOINT"]
def read(host, path="/", page=False):
    connection = http.client.HTTPConnection(base.split("//")[1], timeout=20)
    headers = {"Host": host.split("//")[1], **({"Accept": "text/html", "Sec-Fetch-Mode": "navigate"} if page else {})}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("location"), answer.read().decode()
def refused(call, status):
    try:
        call()
    except HfHubHTTPError as error:
        assert error.response.status_code == status, error
        return str(error)
    raise SystemExit("nothing refused it")
def hf(*args):
    done = subprocess.run([os.path.join(os.path.dirname(sys.executable), "hf"), *args], capture_output=True, text=True)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout + done.stderr

templates = {template.name: template for template in api.list_space_templates()}
assert templates["gradio-hello"].repo_id == "templates/gradio-hello", templates
assert "gradio-hello" in hf("spaces", "templates")
made = api.create_repo("from-template", repo_type="space", space_template="templates/gradio-hello")
assert {"app.py", "model.py", "README.md"} <= set(api.list_repo_files(made.repo_id, repo_type="space"))
hf("repos", "create", "from-command", "--type", "space", "--template", "streamlit-explorer")
assert api.space_info("admin/from-command").sdk == "streamlit"

weights = os.urandom(3 << 20)
api.create_repo("tiny")
readme = b"---\nlicense: mit\npipeline_tag: text-generation\n---\n"
api.upload_file(path_or_fileobj=readme, path_in_repo="README.md", repo_id="admin/tiny")
api.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id="admin/tiny")
api.create_branch("admin/tiny", branch="side")
api.create_tag("admin/tiny", tag="v1")
copy = api.duplicate_repo("admin/tiny", "copy")
assert copy.repo_id == "admin/copy" and not copy.files_copy_pending, copy
assert api.model_info("admin/copy").private
commits = lambda repo: [commit.commit_id for commit in api.list_repo_commits(repo)]
assert commits("admin/copy") == commits("admin/tiny") and len(commits("admin/copy")) == 3
refs = api.list_repo_refs("admin/copy")
assert ["main", "side"] == sorted(ref.name for ref in refs.branches) and [ref.name for ref in refs.tags] == ["v1"], refs
assert open(hf_hub_download("admin/copy", "weights.bin"), "rb").read() == weights
assert api.duplicate_repo("admin/tiny", "admin/copy", exist_ok=True).repo_id == "admin/copy"
refused(lambda: api.duplicate_repo("admin/tiny", "admin/copy"), 409)
assert "admin/second" in hf("repos", "duplicate", "admin/tiny", "admin/second", "--public")
assert not api.model_info("admin/second").private
assert "license:mit" in [tag["id"] for tag in api.get_model_tags()["license"]]

text = refused(lambda: api.move_repo("admin/tiny", "admin/copy"), 409)
assert "A model repository called admin/copy already exists" in text, text
api.move_repo("admin/tiny", "admin/small")
assert api.model_info("admin/tiny").id == "admin/small"
assert open(hf_hub_download("admin/tiny", "weights.bin", local_dir="old-name"), "rb").read() == weights
api.upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id="admin/tiny")
more = os.urandom(2 << 20)
api.upload_file(path_or_fileobj=more, path_in_repo="more.bin", repo_id="admin/tiny")
assert open(hf_hub_download("admin/small", "more.bin"), "rb").read() == more
subprocess.run(["git", "clone", "-q", base + "/admin/tiny", "clone"], check=True, env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"})
assert open("clone/later.txt").read() == "later"
try:
    api.delete_repo("admin/tiny")
    raise SystemExit("it was deleted by the name it had")
except RepositoryNotFoundError:
    pass
hf("repos", "move", "admin/small", "admin/Small")
assert api.model_info("admin/small").id == "admin/Small"
api.create_repo("tiny")
assert api.model_info("admin/tiny").id == "admin/tiny" and len(commits("admin/tiny")) == 1

api.create_repo("site", repo_type="space", space_sdk="static")
readme = b"---\ntitle: Lighthouse\nsdk: static\nshort_description: Shines at night\n---\n"
api.upload_file(path_or_fileobj=readme, path_in_repo="README.md", repo_id="admin/site", repo_type="space")
api.upload_file(path_or_fileobj=b"<h1>here</h1>", path_in_repo="index.html", repo_id="admin/site", repo_type="space")
assert api.wait_for_space("admin/site", timeout=60).stage == "RUNNING"
old = api.space_info("admin/site").host
assert "here" in read(old)[2]
api.move_repo("admin/site", "admin/pages", repo_type="space")
info = api.space_info("admin/site")
assert info.id == "admin/pages" and info.host != old, info
end = time.monotonic() + 20
while read(info.host)[0] != 200 and time.monotonic() < end:
    time.sleep(0.1)
assert read(info.host)[2] == read(old)[2] and "here" in read(old)[2], (read(info.host), read(old))
status, location, _ = read(old, "/a?b=c", page=True)
assert status == 307 and location.endswith("/a?b=c") and location.startswith(info.host), (status, location)
assert [found.id for found in api.search_spaces("lighthouse night")] == ["admin/pages"]
assert "admin/pages" in hf("spaces", "search", "lighthouse", "--description")
api.add_space_variable("admin/pages", "MODE", "fast")
api.add_space_secret("admin/pages", "KEY", "hunter2")
twin = api.duplicate_repo("admin/pages", "twin", repo_type="space", space_variables=[{"key": "MORE", "value": "1"}])
assert twin.repo_id == "admin/twin"
assert {key: one.value for key, one in api.get_space_variables("admin/twin").items()} == {"MODE": "fast", "MORE": "1"}
assert api.get_space_secrets("admin/twin") == {} and api.space_info("admin/twin").private
assert api.wait_for_space("admin/twin", timeout=60).stage == "RUNNING"
print("all is well")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_hubs_client_moves_and_duplicates_repositories() {
    let Some(site) = Site::start().await else { return };
    let said = site.script(SCRIPT).run().await;
    assert!(said.contains("all is well"), "{said}");
}
