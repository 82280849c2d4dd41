"""``python -m tests.model.authors.opened FOLDER SAVED ...``: open each, ask it, save it again; prints the answers."""

from __future__ import annotations

import json
import sys

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import tinygptv
import tinygptv.model  # the Auto classes
from tinygptv.ground.errors import UserError

TOKENS = 24
"""As many of each answer are enough; how many a folder allows is told beside."""
QUESTIONS = ["what color is the shape?", "[refer] circle", "[caption] A photo of"]


def opened(folder: str, saved: str) -> tuple[int, list[str]] | str:
    """How long an answer may be and three, or why there are none."""
    try:
        model = tinygptv.load(folder)
    except UserError as error:
        return str(error)
    longest = model.max_new_tokens
    model.model.generation_config.max_new_tokens = min(longest, TOKENS)
    answers = model.answer([Image.new("RGB", (64, 64), (200, 30, 60))] * 3, QUESTIONS)
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(saved)
    AutoProcessor.from_pretrained(folder).save_pretrained(saved)
    return longest, answers


if __name__ == "__main__":
    torch.set_num_threads(1)
    pairs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    print(json.dumps([opened(folder, saved) for folder, saved in pairs]))
