"""The page: an image, a question, the answer and its boxes, from one of the served models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tinygptv.data.images import read_image
from tinygptv.data.tasks import TEMPLATES
from tinygptv.serving.app import create_app as create_service
from tinygptv.serving.requests import AnswerRequest, RequestError
from tinygptv.web.boxes import boxes_in, draw_boxes

if TYPE_CHECKING:
    from fastapi import FastAPI
    from PIL.Image import Image

    from tinygptv.serving.engine import Engine

QUESTION = "what shape is in the image?"
TASKS = ("refer", "grounding", "detection", "identify", "caption")
HELP = (
    "A question is answered as `[vqa]`. Boxes in the answer are drawn. A task mark in front asks for something else: "
    + ", ".join(f"`{TEMPLATES[task][0].replace('{}', '…')}`" for task in TASKS)
)
KEPT_SECONDS = 3600
"""How long a picture that a page sent or got stays on the disk."""


@contextmanager
def create_app(engine: Engine) -> Iterator[FastAPI]:
    """The service with the page at ``/``; files that pages send live as long as the block."""
    with TemporaryDirectory(prefix="tinygptv-web-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        import gradio

        page = build(engine)
        only_uploads(page)
        yield gradio.mount_gradio_app(
            create_service(engine),
            page,
            path="/",
            footer_links=[],
            run_history=False,
            max_file_size=engine.limits.max_image_bytes,
            ssr_mode=False,
            theme=own_theme(),
        )


def build(engine: Engine) -> Any:
    """The page's parts and what its button does."""
    import gradio

    async def ask(path: str | None, question: str, source: str) -> tuple[str, Image, str]:
        if path is None:
            raise gradio.Error("Choose an image first.", print_exception=False)
        content = Path(path).read_bytes()
        try:
            answer = await engine.answer(AnswerRequest(source, content, question))
        except RequestError as error:
            raise gradio.Error(error.message, print_exception=False) from None
        image = read_image(content)
        boxes = boxes_in(answer.text)
        told = f"{answer.version}, {len(boxes)} {'box' if len(boxes) == 1 else 'boxes'}"
        return answer.text, draw_boxes(image, boxes), told

    def served() -> Any:
        """Which models there are when the page is opened."""
        return _choice(engine)

    with gradio.Blocks(title="TinyGPT-V", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gradio.Markdown("# TinyGPT-V\n" + HELP)
        with gradio.Row():
            with gradio.Column():
                image = gradio.Image(
                    label="Image",
                    type="filepath",  # the file as it is: the model must see what `tinygptv ask` would
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=280,
                    buttons=["fullscreen"],
                )
                question = gradio.Textbox(label="Question", value=QUESTION, max_length=engine.limits.max_text)
                model = _choice(engine)
                button = gradio.Button("Ask", variant="primary")
            with gradio.Column():
                answer = gradio.Textbox(label="Answer", interactive=False)
                version = gradio.Textbox(label="Answered by", interactive=False)
                drawn = gradio.Image(
                    label="Boxes", type="pil", format="png", interactive=False, buttons=["download", "fullscreen"]
                )
        parts: dict[str, Any] = {"fn": ask, "inputs": [image, question, model], "outputs": [answer, drawn, version]}
        button.click(**parts, api_name="ask", concurrency_limit=None)
        question.submit(**parts, api_visibility="private", concurrency_limit=None)
        page.load(served, outputs=[model], api_visibility="private")
    return page


def only_uploads(page: Any) -> None:
    """Let a page read nothing but what was sent to it.

    A client may name any file or address where a picture is expected. Gradio compares files with its upload folder only
    if a page was started by ``launch``, which a mounted page is not, and it fetches public addresses.
    """
    from gradio import processing_utils

    page.has_launched = True
    processing_utils.async_ssrf_protected_download = _refuse_address


async def _refuse_address(url: str, *arguments: Any, **named: Any) -> str:
    import gradio

    raise gradio.Error("addresses are not fetched; upload the image", print_exception=False)


def own_theme() -> Any:
    """The default look with the fonts of the reader's machine: nothing is fetched from elsewhere."""
    import gradio

    return gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _choice(engine: Engine) -> Any:
    """The served models, by their alias."""
    import gradio

    served = list(engine.models.versions())
    return gradio.Radio([(source.rpartition("@")[2], source) for source in served], value=served[0], label="Model")
