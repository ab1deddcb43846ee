//! Mistakes that show when the app starts.

use spaceport_e2e::Files;
use spaceport_e2e::files::dockerfile;

use super::{Mistake, Told, mistakes};

/// 96 MiB, so that running out is quick.
const SMALL: &str = "[hardware.cpu-basic]\npretty_name = \"CPU basic\"\ncpu_millicores = 2000\nmemory_bytes = 100663296\nshm_bytes = 33554432";

const fn fails(
    did: &'static str,
    files: fn(&str) -> Files,
    reason: &'static str,
    message: &'static str,
    remedy: &'static str,
) -> Mistake {
    Mistake { did, files, site: "", told: Told::Stage { stage: "RUNTIME_ERROR", reason, message, remedy } }
}

fn app(base: &str, program: &str) -> Files {
    Files::docker_python(base, program)
}

/// An app that has ten seconds to start.
fn impatient(base: &str, program: &str) -> Files {
    app(base, program).file("README.md", "---\nsdk: docker\nstartup_duration_timeout: 10s\n---\n")
}

const SERVER: &str = "import http.server\nhttp.server.ThreadingHTTPServer((HOST, PORT), http.server.SimpleHTTPRequestHandler).serve_forever()\n";

fn server(base: &str, host: &str, port: u16) -> Files {
    impatient(base, &SERVER.replace("HOST", &format!("{host:?}")).replace("PORT", &port.to_string()))
}

mistakes! {
    wrong_port: fails("The app listens on another port", |base| server(base, "0.0.0.0", 8501), "wrong_port", "…", "…");
    loopback_only: fails("The app listens on 127.0.0.1", |base| server(base, "127.0.0.1", 7860), "loopback_only", "…", "…");
    listens_nowhere: fails("The app listens nowhere",
        |base| impatient(base, "import signal\nsignal.pause()\n"), "not_listening", "…", "…");
    endless_start: fails("The app loads and never comes to an end",
        |base| impatient(base, "import itertools, time\nfor part in itertools.count():\n    print('loading part', part)\n    time.sleep(0.2)\n"),
        "not_listening", "…", "…");
    never_answers: fails("The app takes connections and never answers",
        |base| impatient(base, "import socket, time\ns = socket.create_server(('', 7860))\nkept = []\nwhile True:\n    kept.append(s.accept())\n"),
        "not_answering", "…", "…");
    missing_module: fails("A package is missing in requirements.txt", |base| app(base, "import torchvisoin\n"), "module_missing", "…", "…");
    syntax_error: fails("A syntax error", |base| app(base, "print('hello'\n"), "syntax_error", "…", "…");
    exception: fails("An exception at the start", |base| app(base, "import os\nos.environ['API_KEY']\n"), "crashed", "…", "…");
    exits_cleanly: fails("The program ends by itself", |base| app(base, "print('done')\n"), "exited_cleanly", "…", "…");
    exits_with_1: fails("The program ends with exit code 1", |base| app(base, "import sys\nsys.exit(1)\n"), "crashed", "…", "…");
    segmentation_fault: fails("The program is ended by a signal",
        |base| app(base, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"), "crashed", "…", "…");
    out_of_memory: Mistake {
        did: "The app needs more memory than its hardware has",
        files: |base| app(base, "kept = []\nwhile True:\n    kept.append(bytearray(b'x') * (8 << 20))\n"),
        site: SMALL,
        told: Told::Stage { stage: "RUNTIME_ERROR", reason: "out_of_memory", message: "…", remedy: "…" },
    };
    command_not_found: fails("CMD names a program that is not there",
        |base| Files::readme("sdk: docker").file("Dockerfile", dockerfile(base, "CMD [\"/app/start.sh\"]")),
        "command_not_found", "…", "…");
    command_not_executable: fails("CMD names a script that is not executable",
        |base| Files::readme("sdk: docker").file("Dockerfile", dockerfile(base, "CMD [\"/app/start.sh\"]")).file("start.sh", "#!/bin/sh\n"),
        "command_not_found", "…", "…");
    writes_outside: fails("The app writes where uid 1000 may not",
        |base| app(base, "open('/data.txt', 'w')\n"), "crashed", "…", "…");
}
