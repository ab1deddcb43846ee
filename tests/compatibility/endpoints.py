"""Prints every address below the Hub's own endpoint that huggingface_hub builds, one a line."""

import ast
import pathlib
import re

import huggingface_hub

ENDPOINT = re.compile(r"^\{(self\.endpoint|self\._endpoint|api\.endpoint|endpoint|constants\.ENDPOINT|endpoint or constants\.ENDPOINT)\}")


def name(expression: ast.expr) -> str:
    """The last name in an expression: what stands in this place of an address."""
    if isinstance(expression, ast.Call) and expression.args:
        return name(expression.args[0])
    if isinstance(expression, ast.Subscript):
        return name(expression.slice)
    if isinstance(expression, ast.Attribute):
        return expression.attr
    if isinstance(expression, ast.Name):
        return expression.id
    return "value"


def addresses(source: str):
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        raw = "".join(
            part.value if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value) + "}" for part in node.values
        )
        found = ENDPOINT.match(raw)
        if not found or not raw[found.end() :].startswith("/"):
            continue
        path = "".join(
            part.value if isinstance(part, ast.Constant) else "{" + name(part.value) + "}" for part in node.values[1:]
        )
        # What follows a blank is a sentence with an address in it.
        yield path.split(" ")[0]


root = pathlib.Path(huggingface_hub.__file__).parent
found = {path for file in root.rglob("*.py") for path in addresses(file.read_text(encoding="utf-8"))}
print("\n".join(sorted(found)))
