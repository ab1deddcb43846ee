"""Every command of `hf spaces` that the installed client has: it works, or it is refused with a sentence that
says why. A command that a new version brings is missing below, and fails the test."""

from huggingface_hub import HfApi
from huggingface_hub.cli.spaces import spaces_cli

from prelude import *

api, repo, app = HfApi(), "admin/commands", "admin/commands-app"
api.create_repo(repo, repo_type="space", space_sdk="static")
page = "---\ntitle: Clock\nsdk: static\nshort_description: Shows the time\n---\nA clock.\n"
api.upload_file(path_or_fileobj=page.encode(), path_in_repo="README.md", repo_id=repo, repo_type="space")
api.upload_file(path_or_fileobj=b"<h1>Clock</h1>", path_in_repo="index.html", repo_id=repo, repo_type="space")
# Nothing in it that could be built: settings are only kept.
api.create_repo(app, repo_type="space", space_sdk="gradio")
api.create_repo("admin/commands-model")
pathlib.Path("app.py").write_text("print('reloaded')\n")


def says(*words: str, sentence: str, **how):
    """The command is refused, and this is part of the reason."""
    said = " ".join(hf("spaces", *words, fails=True, **how).split())
    assert sentence in said, (words, said)


def works(*words: str, shows: str = "", **how):
    said = hf("spaces", *words, **how)
    assert shows in said, (words, said)


def listed():
    assert repo in [entry["id"] for entry in hf_json("spaces", "ls", "--author", "admin")]
    works("list", repo, shows="index.html")


def searched():
    found = hf_json("spaces", "search", "clock", "--include-non-running", "--description")
    equal([(entry["id"], entry["sdk"]) for entry in found], [(repo, "static")])
    equal(hf_json("spaces", "search", "clock", "--include-non-running", "--sdk", "docker"), [])


def templates():
    found = hf_json("spaces", "templates")
    assert {"gradio", "docker", "static"} <= {entry["sdk"] for entry in found}, found
    template = next(entry["repo_id"] for entry in found if entry["sdk"] == "static")
    hf("repos", "create", "admin/from-template", "--type", "space", "--space-sdk", "static", "--template", template)
    assert "src/index.html" in api.list_repo_files("admin/from-template", repo_type="space")


def volumes():
    hf("spaces", "volumes", "set", app, "-v", "hf://models/admin/commands-model:/models")
    found = hf_json("spaces", "volumes", "ls", app)
    equal([(entry["source"], entry["mount_path"]) for entry in found], [("admin/commands-model", "/models")])
    says("volumes", "set", app, "-v", "hf://models/admin/none:/models", sentence="admin/none")
    works("volumes", "delete", app, "-y")
    equal(hf_json("spaces", "volumes", "ls", app), [])


def pairs(kind: str):
    works(kind, "add", app, "-e" if kind == "variables" else "-s", "NAME=value")
    works(kind, "list", app, shows="NAME")
    works(kind, "delete", app, "NAME", "-y")
    assert "NAME" not in hf("spaces", kind, "list", app)


def settings():
    works("settings", app, "--hardware", "cpu-upgrade", "--sleep-time", "600")
    runtime = api.get_space_runtime(app)
    equal((runtime.requested_hardware, runtime.sleep_time), ("cpu-upgrade", 600))
    says("settings", app, "--hardware", "h100x8", sentence="cpu-upgrade")


def hot_reload():
    before = api.space_info(app).sha
    # The change is committed, and runs as every commit does: by a build.
    says("hot-reload", app, "app.py", "-f", "app.py", "--skip-checks", sentence="has not been hot-reloaded")
    assert api.space_info(app).sha != before


secrets, variables = (lambda: pairs("secrets")), (lambda: pairs("variables"))
CASES = {
    "list | ls": listed,
    "search": searched,
    "info": lambda: equal(hf_json("spaces", "info", repo)["sdk"], "static"),
    "card": lambda: works("card", repo, shows="A clock."),
    "templates": templates,
    "hardware": lambda: works("hardware", shows="cpu-basic"),
    "logs": lambda: (works("logs", repo), works("logs", repo, "--build", "-n", "5")),
    "wait": lambda: works("wait", repo, "--timeout", "60s"),
    "pause": lambda: says("pause", repo, sentence="nothing to pause"),
    "restart": lambda: works("restart", repo),
    "settings": settings,
    "volumes set": volumes,
    "volumes list | ls": volumes,
    "volumes delete": volumes,
    "secrets add": secrets,
    "secrets list | ls": secrets,
    "secrets delete": secrets,
    "variables add": variables,
    "variables list | ls": variables,
    "variables delete": variables,
    "dev-mode": lambda: (says("dev-mode", app, sentence="has no dev mode"), works("dev-mode", app, "--stop")),
    "ssh": lambda: says("ssh", app, "--auto", "--dry-run", sentence="has no dev mode"),
    "hot-reload": hot_reload,
    "zero-gpu quota": lambda: says("zero-gpu", "quota", sentence="has no ZeroGPU"),
}


def commands(group, *names):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name))


equal(sorted(commands(spaces_cli)), sorted(CASES))
for case in dict.fromkeys(CASES.values()):
    case()
print("all is well")
