"""Ghostwriter: upload a text, watch it write on."""

import random
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

import gradio as gr

from model import Model

SAMPLE = Path(__file__).with_name("harbour.txt")
SHORTEST, LARGEST_BYTES = 50, 2_000_000
SECONDS_PER_WORD = 0.04
SMALL_WORDS = set("about after also and are been before but can down every for from has have into its like more most not one only other out over some than that the their them then there they this two was what when which who will with you your".split())

FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]
THEME = gr.themes.Soft(primary_hue="indigo", secondary_hue="pink", font=FONTS, font_mono=["ui-monospace", "monospace"])
CSS = """
.gradio-container { max-width: 1040px !important; margin: 0 auto !important; }
#title h1 { font-size: 2rem; letter-spacing: -0.02em; margin: 0.6rem 0 0.2rem; }
#paper textarea { font: 1.08rem/1.75 Georgia, "Times New Roman", serif; }
"""


@lru_cache(maxsize=16)
def learn(path: str, _modified: float) -> Model:
    data = Path(path).read_bytes()
    if len(data) > LARGEST_BYTES:
        raise gr.Error("That file is larger than 2 MB. Upload a shorter text.")
    try:
        model = Model.learn(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise gr.Error("That file is not plain text in UTF-8. Save it as .txt or .md and try again.") from None
    if len(model.words) < SHORTEST:
        raise gr.Error(f"That text has {len(model.words)} words. {SHORTEST} are needed to learn anything from it.")
    return model


def model_of(file: str | None) -> Model:
    path = Path(file) if file else SAMPLE
    return learn(str(path), path.stat().st_mtime)


def study(file: str | None):
    """What the uploaded text (or the sample) is like."""
    model = model_of(file)
    words = [word.lower() for word in model.words if word[0].isalnum()]
    sentences = sum(word in ".!?" for word in model.words) or 1
    facts = (
        f"**{Path(file).name if file else 'The sample text'}** · {len(words):,} words, "
        f"{len(set(words)):,} different, {len(words) / sentences:.0f} to a sentence, "
        f"{max(1, round(len(words) / 230))} min to read"
    )
    top = Counter(word for word in words if word not in SMALL_WORDS and len(word) > 2).most_common(6)
    return facts, {word: count / sum(count for _, count in top) for word, count in top}


def write(file: str | None, opening: str, length: int, surprise: float):
    """Writes on from `opening`, one word at a time."""
    for text in model_of(file).write(opening, int(length), surprise, random.Random()):
        yield text
        time.sleep(SECONDS_PER_WORD)


with gr.Blocks(title="Ghostwriter", analytics_enabled=False) as demo:
    gr.Markdown("# Ghostwriter\nUpload a text and let it write on, in its own words.", elem_id="title")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=280):
            file = gr.File(label="A text of yours (.txt or .md)", file_types=[".txt", ".md"], height=190)
            facts = gr.Markdown()
            top = gr.Label(label="Its favourite words, and their shares", num_top_classes=6, show_heading=False)
        with gr.Column(scale=3, min_width=320):
            opening = gr.Textbox("The harbour", label="It begins with", max_length=200)
            with gr.Row():
                length = gr.Slider(20, 200, value=80, step=10, label="Words")
                surprise = gr.Slider(0, 1, value=0.7, step=0.1, label="Surprise")
            with gr.Row():
                go = gr.Button("Write", variant="primary")
                stop = gr.Button("Stop")
            paper = gr.Textbox(label="It writes", lines=10, max_lines=16, elem_id="paper", buttons=["copy"])
            gr.Examples(
                [["When the wind turns"], ["Marta says that"], ["A small grey boat"]],
                inputs=[opening],
                label="Or begin with",
            )

    gr.on([demo.load, file.change], study, file, [facts, top], api_name="study")
    running = gr.on([go.click, opening.submit], write, [file, opening, length, surprise], paper, api_name="write")
    stop.click(None, cancels=[running])

if __name__ == "__main__":
    demo.launch(theme=THEME, css=CSS, max_file_size=LARGEST_BYTES)
