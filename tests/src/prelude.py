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
import time

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


def hf(*words, **how) -> str:
    """The `hf` command line."""
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
