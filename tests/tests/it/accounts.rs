//! Signing in with the Hub's own command line, as people do it: `hf auth …`, with tokens of every role and
//! without one.

use reqwest::Method;
use serde_json::json;
use spaceport_e2e::Site;

/// Tokens of every role, kept, listed, switched and forgotten by `hf`; and what each of them may do.
const TOKENS: &str = r#"
import os, subprocess, sys
from pathlib import Path

endpoint, tokens = os.environ["HF_ENDPOINT"], dict(zip(["writer", "reader", "fine"], sys.argv[1:4]))
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
for name, token in tokens.items():
    hf("auth", "switch", "--token-name", name)
    assert hf("auth", "token").split()[0] == token
    who = hf("auth", "whoami", "--format", "json")
    assert '"maya"' in who and '"lab"' in who, who

Path("file.txt").write_text("hello")
may = {"writer": (True, True), "reader": (False, False), "fine": (True, False)}
for name, (one, other) in may.items():
    hf("auth", "switch", "--token-name", name)
    for repo, allowed in {"maya/one": one, "maya/other": other}.items():
        said = hf("upload", repo, "file.txt", f"{name}.txt", "--quiet", ok=allowed)
        assert allowed or "403" in said, said
        made = hf("repos", "create", f"made-by-{name}", "--exist-ok", ok=name == "writer")
        assert name == "writer" or "403" in made, made
    hf("download", "maya/one", "README.md", "--quiet", ok=False)
hf("auth", "switch", "--token-name", "fine")
assert "fine.txt" in hf("download", "maya/one", "fine.txt", "--quiet")
assert "404" in hf("download", "maya/other", "writer.txt", "--quiet", ok=False), "a scope that does not reach it"
hf("auth", "logout", "--token-name", "reader")
assert "reader" not in hf("auth", "list")
hf("auth", "logout")
assert "Not logged in" in hf("auth", "whoami", ok=False)

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
    let said = site.python(TOKENS, &[&writer, &reader, &fine]).await;
    assert!(said.contains("all is well"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hf_auth_login_waits_for_a_word_in_the_browser() {
    let Some(site) = Site::start().await else { return };
    maya(&site).await;
    let password = "correct horse battery";
    let body = json!({"password": password});
    site.ask(Method::PUT, "/api/admin/users/maya/password", Some(&body)).await;
    let said = site.python(DEVICE, &[password]).await;
    assert!(said.contains("all is well"), "{said}");
}
