"""What the scripts share: the command line clients as functions, and mistakes that must be refused."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ENDPOINT, TOKEN = os.environ["HF_ENDPOINT"], os.environ["HF_TOKEN"]
XET = os.environ.get("HF_HUB_DISABLE_XET") != "1"

# Browsers and curl take every name below `localhost` for this machine (RFC 6761 6.3); the C
# library of many systems asks a name server, and so does Python.
_resolve = socket.getaddrinfo
_local = lambda host: isinstance(host, str) and host.endswith(".localhost")
socket.getaddrinfo = lambda host, *a, **k: _resolve("127.0.0.1" if _local(host) else host, *a, **k)


def noise(seed: int, size: int) -> bytes:
    """Bytes that look like no text, the same for the same seed and way of transfer: what came one way
    would otherwise be there already for the other."""
    return random.Random(f"{seed} {XET}").randbytes(size)


def run(*words, input=None, fails=False, cwd=None, env=None) -> str:
    """Runs a program; what it printed."""
    words = [str(word) for word in words]
    done = subprocess.run(
        words, input=input, cwd=cwd, text=True, capture_output=True, timeout=100, env={**os.environ, **(env or {})}
    )
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"{words} ended with {done.returncode}:\n{said}"
    return said if fails else done.stdout


class Shell:
    """The `hf` program, loaded once: importing it takes longer than most commands. Each command is a process
    of its own, forked from one that has done nothing but load the program."""

    def __init__(self):
        self.ours, theirs = socket.socketpair()
        if os.fork() == 0:
            self.ours.close()
            self.serve(theirs)
        theirs.close()
        self.answers = self.ours.makefile("r")

    def serve(self, requests):
        from huggingface_hub.cli.hf import main

        for line in requests.makefile("r"):
            request = json.loads(line)
            if (child := os.fork()) == 0:
                for number, path in enumerate(request["files"]):
                    os.dup2(os.open(path, os.O_RDWR), number)
                os.chdir(request["cwd"])
                os.environ.update(request["env"])
                sys.argv = ["hf", *request["words"]]
                sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
                code = 1
                try:
                    code = main() or 0
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(end.code is not None)
                except BaseException:
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            _, status = os.waitpid(child, 0)
            requests.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)

    def run(self, *words, input=None, fails=False, cwd=None, env=None) -> str:
        with contextlib.ExitStack() as stack:
            given, out, err = (stack.enter_context(tempfile.NamedTemporaryFile("w+")) for _ in range(3))
            given.write(input or "")
            given.flush()
            files, words = [given.name, out.name, err.name], [str(word) for word in words]
            request = {"words": words, "files": files, "cwd": os.path.abspath(cwd or "."), "env": env or {}}
            self.ours.sendall(json.dumps(request).encode() + b"\n")
            code = int(self.answers.readline())
            out, err = out.read(), err.read()
        assert (code != 0) == fails, f"hf {words} ended with {code}:\n{out}{err}"
        return out + err if fails else out


_shell = Shell()


def hf(*words, **how) -> str:
    """The `hf` command line. Most settings of the environment count when it is loaded, so with others than the
    token it is loaded anew."""
    if set(how.get("env") or {}) <= {"HF_TOKEN"}:
        return _shell.run(*words, **how)
    return run(pathlib.Path(sys.executable).with_name("hf"), *words, **how)


def hf_json(*words, **how):
    """The `hf` command line, its answer as a value."""
    return json.loads(hf(*words, "--json", **how))


def git(*words, **how) -> str:
    """The git command line."""
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    return run("git", *identity, *words, **how)


def remote(repo: str, token: str = TOKEN) -> str:
    """The address git uses for a repository, such as `datasets/alice/text`."""
    return f"{ENDPOINT.replace('://', f'://somebody:{token}@')}/{repo}"


@contextlib.contextmanager
def refused(error=Exception, status: int | None = None, says: str = ""):
    """What happens within must fail, in this way."""
    try:
        yield
    except error as raised:
        answered = getattr(getattr(raised, "response", None), "status_code", None)
        assert status is None or status == answered, f"{answered} and not {status}: {raised!r}"
        assert says in str(raised), f"{says!r} is not in {raised}"
        return
    raise AssertionError(f"{error.__name__} was expected; it worked")


def until(what: str, look, limit: float = 60):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < end, f"{what}: not within {limit} s"
        time.sleep(0.05)
    return seen


def equal(seen, expected):
    assert seen == expected, f"\n{str(seen)[:2000]}\nand not\n{str(expected)[:2000]}"
