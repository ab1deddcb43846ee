//! Gradio and Streamlit: one test, so that their environments share one site's download cache.

use std::path::Path;

use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use spaceport_e2e::space::WebSocket;
use spaceport_e2e::{Files, Site, until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// An environment that was never built takes so long on a slow machine and a slow network.
const ENVIRONMENT_S: u64 = 900;

/// The interactive part, once by address and once by the Space's id.
const CLIENT: &str = r#"
import prelude, sys
from gradio_client import Client, handle_file

open("text.txt", "w").write("The quick brown fox jumps over the lazy dog. " * 30)
url, space = sys.argv[1:]
client = Client(url, verbose=False)
facts, top = client.predict(handle_file("text.txt"), api_name="/study")
assert "text.txt" in facts and "270 words" in facts, facts
job = client.submit(handle_file("text.txt"), "The quick", 20, 0.2, api_name="/write")
parts = [part for part in job]
assert len(parts) > 5, "it streams: " + repr(parts)
assert parts[-1].startswith("The quick") and len(parts[-1]) > len(parts[0]), parts
client.close()

by_id = Client(space, verbose=False)
assert by_id.predict(None, api_name="/study")[0].startswith("**The sample text**")
by_id.close()
print("all is well")
"#;

/// A copy for one's own use, as the client makes one: waited for, used, found again by its name.
const DUPLICATE: &str = r#"
import prelude, sys
from gradio_client import Client
from huggingface_hub import HfApi

space, copy = sys.argv[1:]
api = HfApi()
for _ in range(2):
    client = Client.duplicate(space, copy, token=prelude.TOKEN, secrets={"KEY": "mine"}, verbose=False)
    assert client.predict(None, api_name="/study")[0].startswith("**The sample text**")
    client.close()
assert api.space_info(copy).private and list(api.get_space_secrets(copy)) == ["KEY"]
api.delete_repo(copy, repo_type="space")
print("all is well")
"#;

/// A private model with a file in git and one that is not.
const MODEL: &str = r#"
from huggingface_hub import HfApi

api = HfApi()
api.create_repo("admin/tiny", private=True)
api.upload_file(path_or_fileobj=b'{"of": "this hub"}', path_in_repo="config.json", repo_id="admin/tiny")
api.upload_file(path_or_fileobj=bytes(range(256)) * 1024, path_in_repo="onnx/weights.bin", repo_id="admin/tiny")
print("all is well")
"#;

/// Answers `TEXT`; what it is stands in front.
const ANSWERS: &str = r#"
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT.encode())

http.server.ThreadingHTTPServer(("0.0.0.0", 7860), Handler).serve_forever()
"#;

/// Finds what was preloaded as a library does, without a network, and can still write beside it.
const PRELOADED: &str = r#"
import hashlib, os
os.environ["HF_HUB_OFFLINE"] = "1"
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

weights = open(hf_hub_download("admin/tiny", "onnx/weights.bin"), "rb").read()
folder = snapshot_download("admin/tiny")
open(os.path.expanduser("~/.cache/huggingface/hub/mine"), "w").close()
TEXT = "{} {} {}".format(open(folder + "/config.json").read(), hashlib.sha256(weights).hexdigest(),
    [repo.repo_id for repo in scan_cache_dir().repos])
"#;

/// Says what was installed for it.
const INSTALLED: &str = r#"
import importlib.metadata, subprocess, sys

tree = subprocess.run(["tree", "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
TEXT = "{} {} {}.{}".format(tree, importlib.metadata.version("iniconfig"), *sys.version_info)
"#;

/// The same app once it is private: with the token of its owner and with none.
const PRIVATE: &str = r#"
import prelude, sys
from gradio_client import Client

(space,) = sys.argv[1:]
client = Client(space, token=prelude.TOKEN, verbose=False)
assert client.predict(None, api_name="/study")[0].startswith("**The sample text**")
client.close()
with prelude.refused(Exception):
    Client(space, token=False, verbose=False)
print("all is well")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn gradio_and_streamlit_samples_are_interactive() {
    let Some(site) = Site::start().await else { return };
    let space = site.space("gradio", "gradio").await;
    let sample = Files::example("gradio-hello");
    let sha = space.push(&sample).await;
    space.running(&sha, ENVIRONMENT_S).await;
    let said = site.script(CLIENT).argument(format!("http://{}", space.host)).argument(&space.id).run().await;
    assert!(said.contains("all is well"), "{said}");

    let copy = format!("admin/copy-{}", site.docker.installation);
    let said = site.script(DUPLICATE).argument(&space.id).argument(copy).run().await;
    assert!(said.contains("all is well"), "{said}");

    // Private, it is there for those alone who come with a token that may see it.
    site.ask(Method::PUT, &space.api("/settings"), Some(&serde_json::json!({"visibility": "private"}))).await;
    let said = site.script(PRIVATE).argument(&space.id).run().await;
    assert!(said.contains("all is well"), "{said}");
    site.ask(Method::PUT, &space.api("/settings"), Some(&serde_json::json!({"visibility": "public"}))).await;

    // A push of code alone finds the environment: that is what makes it take seconds.
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gradio-hello/harbour.txt");
    let text = std::fs::read_to_string(readme).expect("the sample's text");
    let sha =
        space.push(&sample.clone().file("harbour.txt", format!("{text}\nOne more line for the harbour.\n"))).await;
    space.running(&sha, 120).await;
    let log = space.build_log().await;
    assert!(log.contains("Using the environment"), "{log}");

    // The owner's private model is in the image, and nothing was installed anew for it.
    let said = site.script(MODEL).run().await;
    assert!(said.contains("all is well"), "{said}");
    let version = sample.readme_line("sdk_version").expect("the sample pins its SDK");
    let front = format!("sdk: gradio\n{version}\npreload_from_hub:\n- admin/tiny");
    let sha = space
        .push(
            &sample
                .clone()
                .file("README.md", format!("---\n{front}\n---\n"))
                .file("app.py", format!("{PRELOADED}{ANSWERS}")),
        )
        .await;
    space.running(&sha, 120).await;
    let log = space.build_log().await;
    assert!(log.contains("Using the environment") && log.contains("From this hub: admin/tiny at"), "{log}");
    let weights = "2312394bd99545d9de131c24efb781e765ac1aec243f2ed9347597a793a415e9";
    let expected = format!("{{\"of\": \"this hub\"}} {weights} ['admin/tiny']");
    assert_eq!(space.get("/").await, (StatusCode::OK, expected));

    // What an author can ask to be installed is there.
    let front = format!("sdk: gradio\n{version}\npython_version: '3.11'");
    let files = Files::readme(&front)
        .file("packages.txt", "# a tiny one\ntree\n")
        .file("pre-requirements.txt", "iniconfig==2.0.0\n")
        .file("app.py", format!("{INSTALLED}{ANSWERS}"));
    let sha = space.push(&files).await;
    space.running(&sha, ENVIRONMENT_S).await;
    assert_eq!(space.get("/").await, (StatusCode::OK, "tree 2.0.0 3.11".to_owned()));

    // What is missing in requirements.txt is told, and what serves goes on.
    space.push(&files.file("app.py", "import torchvisoin\n")).await;
    let told = space.wait("a module is missing", 120, |seen| seen.reason == "module_missing").await;
    assert_eq!(told.stage, "RUNTIME_ERROR", "{}", told.json);
    assert_eq!(
        told.message,
        "The Python module \"torchvisoin\" is not installed. The last good release keeps serving."
    );
    assert_eq!(told.remedy, "Add the package that provides \"torchvisoin\" to requirements.txt and push.");
    assert_eq!(space.get("/").await.1, "tree 2.0.0 3.11");

    let space = site.space("streamlit", "streamlit").await;
    let sha = space.push(&Files::example("streamlit-explorer")).await;
    space.running(&sha, ENVIRONMENT_S).await;
    let (status, page) = space.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<div id=\"root\">"), "{page}");
    let health = space.request(Method::GET, "/_stcore/health").send().await.expect("an answer");
    assert_eq!(health.text().await.expect("text"), "ok");
    let mut request = format!("ws://{}/_stcore/stream", space.host).into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "streamlit".parse().expect("a value"));
    request.headers_mut().insert("origin", format!("http://{}", space.host).parse().expect("a value"));
    let stream = tokio::net::TcpStream::connect(site.address).await.expect("the proxy takes connections");
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.expect("the upgrade succeeds");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "streamlit");
    // As a browser does: the script runs, a widget is used, the script runs again and says something else.
    socket.send(Message::binary(rerun(&[]))).await.expect("a message is sent");
    let toggle = heard(&mut socket, "the toggle", |text| {
        let id = text.contains("Dry days only").then(|| text.find("$$ID-"))??;
        let is_id = |letter: char| letter.is_ascii_alphanumeric() || "$-_".contains(letter);
        Some(text[id..].chars().take_while(|letter| is_id(*letter)).collect::<String>())
    })
    .await;
    let days = |text: &str| {
        let number = |text: &str| text.split_once(" days")?.0.replace(',', "").parse::<u32>().ok();
        text.split("in ").find_map(number)
    };
    let all = heard(&mut socket, "all days", days).await;
    let on = [field(1, toggle.as_bytes()), vec![0x18, 1]].concat();
    socket.send(Message::binary(rerun(&field(2, &field(1, &on))))).await.expect("a message is sent");
    let dry = heard(&mut socket, "the dry days", days).await;
    assert!(0 < dry && dry < all, "{dry} of {all} days are dry");
}

/// A field of bytes of a protocol buffer, both short.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("a short field");
    [&[number << 3 | 2, length], content].concat()
}

/// Streamlit's message (`BackMsg.rerun_script`) that the script is to run, with the browser's `ClientState`.
fn rerun(state: &[u8]) -> Vec<u8> {
    field(11, state)
}

/// The first of Streamlit's messages in which `find` finds something.
async fn heard<T>(socket: &mut WebSocket, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
    until(what, 60, async || {
        let message = socket.next().await.expect("the socket is open").expect("a message");
        assert!(message.is_binary(), "{message}");
        find(&String::from_utf8_lossy(&message.into_data())).ok_or_else(|| "another message".to_owned())
    })
    .await
}
