//! Signing in with the Hub's own command line, as people do it: `hf auth …`, with tokens of every role and
//! without one.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use serde_json::json;
use spaceport_e2e::Site;

/// Tokens of every role, kept, listed, switched and forgotten by `hf`; and what each of them may do.
const TOKENS: &str = r#"
import prelude
import os, subprocess, sys
from pathlib import Path

tokens = dict(zip(["writer", "reader", "fine"], sys.argv[1:4]))
os.environ.pop("HF_TOKEN")
tool = str(Path(sys.executable).with_name("hf"))

def hf(*arguments, ok=True):
    done = subprocess.run([tool, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, (arguments, done)
    return done.stdout + done.stderr

assert "Not logged in" in hf("auth", "whoami", ok=False)
assert "Invalid" in hf("auth", "login", "--token", "hf_wrong", ok=False)
for name in ["reader", "fine", "writer"]:
    hf("auth", "login", "--force", "--token", tokens[name])
listed = hf("auth", "list")
assert all(name in listed for name in tokens), listed
who = hf("auth", "whoami", "--format", "json")
assert '"maya"' in who and "lab" in who, who
hf("auth", "switch", "--token-name", "fine")
assert hf("auth", "token").split()[0] == tokens["fine"]
hf("auth", "logout", "--token-name", "reader")
assert "reader" not in hf("auth", "list")
hf("auth", "logout")
assert "Not logged in" in hf("auth", "whoami", ok=False)

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

def refused(work):
    try:
        work()
        return None
    except HfHubHTTPError as error:
        return error.response.status_code

may = {"writer": (None, None, None), "reader": (403, 403, 403), "fine": (None, 404, 403)}
for name, (one, other, new) in may.items():
    api = HfApi(token=tokens[name])
    upload = lambda repo: api.upload_file(path_or_fileobj=b"hello", path_in_repo=f"{name}.txt", repo_id=repo)
    got = [refused(lambda: upload("maya/one")), refused(lambda: upload("maya/other"))]
    got.append(refused(lambda: api.create_repo(f"made-by-{name}")))
    assert got == [one, other, new], (name, got)
files = lambda name, repo: HfApi(token=tokens[name]).list_repo_files(repo)
assert "fine.txt" in files("fine", "maya/one") and "writer.txt" in files("reader", "maya/other")
assert refused(lambda: files("fine", "maya/other")) == 404, "a scope that does not reach it"

# The same from Python, as notebooks do it.
from huggingface_hub import get_token, login, logout, whoami
login(token=tokens["writer"])
me = whoami()
assert (me["name"], me["auth"]["accessToken"]["role"]) == ("maya", "write"), me
assert get_token() == tokens["writer"]
logout()
assert get_token() is None
print("all is well")
"#;

/// `hf auth login` without a token: somebody signs in with a password in a browser and confirms the code.
const DEVICE: &str = r#"
import prelude
import http.cookiejar, json, os, re, subprocess, sys, urllib.error, urllib.request
from pathlib import Path

endpoint, password = os.environ["HF_ENDPOINT"], sys.argv[1]
os.environ.pop("HF_TOKEN")
tool = str(Path(sys.executable).with_name("hf"))
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

def page(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Origin": endpoint, "Content-Type": "application/json"}
    with browser.open(urllib.request.Request(endpoint + path, data, headers)) as answer:
        return json.load(answer)

def start():
    program = subprocess.Popen(
        [tool, "auth", "login", "--force"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    while not (code := re.search(r"code:? +([A-Z]{4}-[A-Z]{4})", said)):
        line = program.stdout.readline()
        assert line, said
        said += line
    assert f"{endpoint}/login/device?code={code[1]}" in said, said
    return program, code[1]

page("/api/login", {"user": "maya", "password": password})
program, code = start()
assert page("/api/login/device?code=" + code.lower())["origin"] == "127.0.0.1"
page("/api/login/device", {"code": code, "allow": True, "role": "read"})
said = program.communicate(timeout=60)[0]
assert program.returncode == 0, said
who = subprocess.run([tool, "auth", "whoami"], capture_output=True, text=True, check=True).stdout
assert "maya" in who, who
assert "hf-auth-login-" in subprocess.run([tool, "auth", "list"], capture_output=True, text=True, check=True).stdout
from huggingface_hub import whoami
assert whoami()["auth"]["accessToken"]["role"] == "read"

program, code = start()
page("/api/login/device", {"code": code, "allow": False})
said = program.communicate(timeout=60)[0]
assert program.returncode != 0 and "denied" in said, said
print("all is well")
"#;

async fn maya(site: &Site) {
    site.ask(Method::POST, "/api/admin/users", Some(&json!({"name": "maya"}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sign_in_is_in_no_log() {
    let Some(site) = Site::start().await else { return };
    let file = site.data_dir().join("sign-in-link");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let link = std::fs::read_to_string(&file).unwrap();
    let (page, secret) = link.trim().rsplit_once('/').expect("a link with a secret");
    assert!(page.starts_with(&format!("http://{}/", site.authority())), "{link}");
    let log = site.log();
    assert!(!log.contains(secret) && log.contains(&file.display().to_string()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_auth_keeps_tokens_of_every_role_and_each_may_what_it_may() {
    let Some(site) = Site::start().await else { return };
    maya(&site).await;
    site.ask(Method::POST, "/api/organizations", Some(&json!({"name": "lab"}))).await;
    site.ask(Method::PUT, "/api/organizations/lab/members/maya", Some(&json!({"role": "read"}))).await;
    let token = async |body: serde_json::Value| {
        let made = site.ask(Method::POST, "/api/admin/users/maya/tokens", Some(&body)).await;
        made["token"].as_str().expect("a token").to_owned()
    };
    let writer = token(json!({"name": "writer", "role": "write"})).await;
    for name in ["one", "other"] {
        let body = json!({"name": name, "type": "model", "private": true});
        let (status, made) = site.call_as(Some(&writer), Method::POST, "/api/repos/create", Some(&body)).await;
        assert!(status.is_success(), "{made}");
    }
    let reader = token(json!({"name": "reader", "role": "read"})).await;
    let scoped = json!([{"repo": "models/maya/one", "permissions": ["repo.write"]}]);
    let fine = token(json!({"name": "fine", "role": "fineGrained", "fineGrained": {"scoped": scoped}})).await;
    let said = site.script(TOKENS).argument(&writer).argument(&reader).argument(&fine).run().await;
    assert!(said.contains("all is well"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_auth_login_waits_for_a_word_in_the_browser() {
    let Some(site) = Site::start().await else { return };
    maya(&site).await;
    let password = "correct horse battery";
    let body = json!({"password": password});
    site.ask(Method::PUT, "/api/admin/users/maya/password", Some(&body)).await;
    let said = site.script(DEVICE).argument(password).run().await;
    assert!(said.contains("all is well"), "{said}");
}
