"""Builds dist/ from src/. Needs nothing but Python 3.9 or newer."""

import hashlib
import html
import json
import shutil
from itertools import permutations
from pathlib import Path

HERE = Path(__file__).resolve().parent
SRC, DIST = HERE / "src", HERE / "dist"
READABLE = 4.5


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def palette(name: str, colours: list) -> str:
    """One palette: its colours, and the pairs of them that can be read, best first."""
    pairs = sorted(
        ((contrast(text, back), text, back) for text, back in permutations(colours, 2)),
        key=lambda pair: -pair[0],
    )
    readable = [pair for pair in pairs if pair[0] >= READABLE]
    buttons = "".join(
        f'<li><button type="button" class="pair" data-text="{text}" data-back="{back}">'
        f'<svg viewBox="0 0 40 40" aria-hidden="true"><rect width="40" height="40" rx="9" fill="{back}"/>'
        f'<text x="20" y="26" text-anchor="middle" fill="{text}">Aa</text></svg>'
        f'<span>{text} on {back}</span><b>{ratio:.1f}</b></button></li>'
        for ratio, text, back in readable[:4]
    )
    return (
        f"<article><h3>{html.escape(name)}</h3>"
        f"<p>{len(readable)} of {len(pairs)} pairs can be read</p><ul>{buttons}</ul></article>"
    )


def fingerprint(name: str) -> str:
    """Copies a file under a name that changes with its content, and returns that name."""
    data = (SRC / name).read_bytes()
    stem, _, ending = name.rpartition(".")
    target = f"{stem}.{hashlib.sha256(data).hexdigest()[:10]}.{ending}"
    (DIST / "assets" / target).write_bytes(data)
    return f"assets/{target}"


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    (DIST / "assets").mkdir(parents=True)
    palettes = json.loads((SRC / "palettes.json").read_text())
    page = (SRC / "index.html").read_text()
    for mark, text in {
        "{{palettes}}": "\n".join(palette(name, colours) for name, colours in palettes.items()),
        "{{style}}": fingerprint("style.css"),
        "{{script}}": fingerprint("main.js"),
    }.items():
        if mark not in page:
            raise SystemExit(f"src/index.html has no {mark}. Put it back where that part belongs.")
        page = page.replace(mark, text)
    (DIST / "index.html").write_text(page)
    for file in sorted(DIST.rglob("*.*")):
        print(f"{file.stat().st_size:>7,} B  {file.relative_to(HERE)}")


if __name__ == "__main__":
    main()
