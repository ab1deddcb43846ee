//! Small apps for tests: the standard library alone, so that nothing is installed.

use spaceport_e2e::Files;

/// Answers every request with `text`; `/slow` takes 1.5 s, `/env` shows the environment, `/ws`
/// is a websocket that says `text` and then what it hears.
const APP: &str = r#"
import base64, hashlib, http.server, json, os, time

TEXT = "{TEXT}"
time.sleep({DELAY})

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.5)
        if self.path == "/ws":
            return self.socket()
        body = json.dumps(dict(os.environ)) if self.path == "/env" else TEXT
        self.answer(body.encode())

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def socket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.frame(TEXT.encode())
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            mask, data = self.rfile.read(4), self.rfile.read(head[1] & 127)
            self.frame(bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))

    def frame(self, data):
        self.wfile.write(bytes([0x81, len(data)]) + data)

    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

print("listening", flush=True)
Server(("0.0.0.0", 7860), Handler).serve_forever()
"#;

/// An app that answers with `text`.
pub(crate) fn says(base: &str, text: &str) -> Files {
    says_after(base, text, "0")
}

/// An app that takes `delay` seconds before it listens.
pub(crate) fn says_after(base: &str, text: &str, delay: &str) -> Files {
    Files::docker_python(base, &program(text, delay))
}

/// The program of such an app.
pub(crate) fn program(text: &str, delay: &str) -> String {
    APP.replace("{TEXT}", text).replace("{DELAY}", delay)
}
