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
    wrong_port: fails("The app listens on another port", |base| server(base, "0.0.0.0", 8501), "wrong_port", "The app did not answer within 10 s. The app listens on 0.0.0.0:8501, expected 0.0.0.0:7860.", "Make it listen on port 7860, or (docker Spaces) set app_port in README.md to the port it uses.");
    loopback_only: fails("The app listens on 127.0.0.1", |base| server(base, "127.0.0.1", 7860), "loopback_only", "The app did not answer within 10 s. The app listens on 127.0.0.1:7860, which nothing outside its container can reach; expected 0.0.0.0:7860.", "Bind to 0.0.0.0 (for example server_name=\"0.0.0.0\", --host 0.0.0.0 or --server.address 0.0.0.0).");
    listens_nowhere: fails("The app listens nowhere",
        |base| impatient(base, "import signal\nsignal.pause()\n"), "not_listening", "The app did not answer within 10 s. The app runs but does not listen on any port yet; expected 0.0.0.0:7860.", "Look at its log for what it waits for; startup_duration_timeout in README.md gives it more time.");
    endless_start: fails("The app loads and never comes to an end",
        |base| impatient(base, "import itertools, time\nfor part in itertools.count():\n    print('loading part', part)\n    time.sleep(0.2)\n"),
        "not_listening", "The app did not answer within 10 s. The app runs but does not listen on any port yet; expected 0.0.0.0:7860.", "Look at its log for what it waits for; startup_duration_timeout in README.md gives it more time.");
    never_answers: fails("The app takes connections and never answers",
        |base| impatient(base, "import socket, time\ns = socket.create_server(('', 7860))\nkept = []\nwhile True:\n    kept.append(s.accept())\n"),
        "not_answering", "The app did not answer within 10 s. The app accepts connections on port 7860 but does not answer HTTP requests.", "Look at the log: is it still loading, or does it speak something other than HTTP?");
    missing_module: fails("A package is missing in the image", |base| app(base, "import torchvisoin\n"), "module_missing", "The Python module \"torchvisoin\" is not installed.", "Install the package that provides \"torchvisoin\" in the Dockerfile (RUN pip install …) and push.");
    syntax_error: fails("A syntax error", |base| app(base, "print('hello'\n"), "syntax_error", "The program has a syntax error: SyntaxError: '(' was never closed (file \"/app/app.py\", line 1).", "Correct the line and push again.");
    exception: fails("An exception at the start", |base| app(base, "import os\nos.environ['API_KEY']\n"), "crashed", "The app ended with an exception: KeyError: 'API_KEY'", "Read the end of the log, correct the program and push.");
    exits_cleanly: fails("The program ends by itself", |base| app(base, "print('done')\n"), "exited_cleanly", "The app ended by itself with exit code 0; a Space must keep running.", "Start a server that listens on the app's port and does not return, such as demo.launch().");
    exits_with_1: fails("The program ends with exit code 1", |base| app(base, "import sys\nsys.exit(1)\n"), "crashed", "The app ended with exit code 1.", "Read the end of the log, correct the program and push.");
    segmentation_fault: fails("The program is ended by a signal",
        |base| app(base, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"), "crashed", "The app ended with exit code 139 (segmentation fault).", "Read the end of the log, correct the program and push.");
    out_of_memory: Mistake {
        did: "The app needs more memory than its hardware has",
        files: |base| app(base, "kept = []\nwhile True:\n    kept.append(bytearray(b'x') * (8 << 20))\n"),
        site: SMALL,
        told: Told::Stage { stage: "RUNTIME_ERROR", reason: "out_of_memory", message: "The app was killed because it used all of its 96 MiB of memory.", remedy: "Use less memory (a smaller model, smaller batches), or choose hardware with more." },
    };
    command_not_found: fails("CMD names a program that is not there",
        |base| Files::readme("sdk: docker").file("Dockerfile", dockerfile(base, "CMD [\"/app/start.sh\"]")),
        "command_not_found", "The command of the image cannot be run: /app/start.sh: No such file or directory.", "Correct CMD or ENTRYPOINT: the program must be installed in the image and be executable.");
    command_not_executable: fails("CMD names a script that is not executable",
        |base| Files::readme("sdk: docker").file("Dockerfile", dockerfile(base, "CMD [\"/app/start.sh\"]")).file("start.sh", "#!/bin/sh\n"),
        "command_not_found", "The command of the image cannot be run: /app/start.sh: Permission denied.", "Correct CMD or ENTRYPOINT: the program must be installed in the image and be executable.");
    writes_outside: fails("The app writes where uid 1000 may not",
        |base| app(base, "open('/data.txt', 'w')\n"), "crashed", "The app ended with an exception: PermissionError: [Errno 13] Permission denied: '/data.txt'", "Read the end of the log, correct the program and push.");
}
