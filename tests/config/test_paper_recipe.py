"""The paper's profile against what the released code does, and docs/recipe.md against both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinygptv.config.profiles import read_config
from tinygptv.ground.names import STAGES

ROOT = Path(__file__).parents[2]
PAPER, MINI = (read_config(ROOT / "configs" / f"{name}.yaml") for name in ("paper", "paper-mini"))
ANSWER, QUESTION, BOTH = ("answer",), ("question",), ("question", "answer")
PROCESSED = {
    **dict.fromkeys(("laion", "cc_sbu", "coco_caption", "textcaps_caption"), ANSWER),
    **dict.fromkeys(("invrefcoco", "invrefcocop", "invrefcocog"), ANSWER),
    **dict.fromkeys(("llava_detail", "llava_reason", "refcoco", "refcocop", "refcocog", "refvg"), QUESTION),
    **dict.fromkeys(("unnatural_instruction", "coco_vqa", "ok_vqa", "aok_vqa", "gqa", "ocrvqa"), BOTH),
    **dict.fromkeys(("cc_sbu_align", "multitask_conversation", "llava_conversation"), ()),
    **dict.fromkeys(("flickr_grounded_caption", "flickr_CaptionToPhrase", "flickr_ObjectToPhrase"), ()),
}
"""Which texts the data sets of the released code put through ``text_processor`` (minigpt4/datasets/datasets)."""


@pytest.mark.parametrize("config", [PAPER, MINI], ids=["paper", "paper-mini"])
def test_the_texts_that_the_released_code_processes_are_processed_and_no_others(config) -> None:
    asked = set(config.evaluate.benchmarks)
    trained = {name: settings for name, settings in config.data.items() if name not in asked}
    assert {name: tuple(settings.blip_caption) for name, settings in trained.items()} == PROCESSED


def test_the_page_names_the_same_texts() -> None:
    page = (ROOT / "docs" / "recipe.md").read_text()
    rows = re.findall(r"^\| (answer|question|both|none) \| (.*) \|$", page, re.MULTILINE)
    of = {"answer": ANSWER, "question": QUESTION, "both": BOTH, "none": ()}
    assert {name: of[what] for what, names in rows for name in re.findall(r"`(\w+)`", names)} == PROCESSED


def test_what_the_page_says_of_the_released_recipe_is_in_the_profile() -> None:
    stages = [PAPER.stage(name) for name in STAGES]
    assert all(stage.prompt.bos_between_turns and stage.prompt.bos_in_training for stage in stages)
    assert stages[3].prompt.template == "[INST] {}  [/INST]", "the template's space, and that of the question"
    assert stages[2].prompt.template == "###Human: {} ###Assistant: ", "alignment prompts have none of their own"
    assert all(isinstance(stages[number].batch_size, dict) for number in (0, 1, 3)), "a step is of one set"
    assert len(stages[2].mixture) == 1
    assert not {"coco_caption", "ocrvqa"} & set(stages[3].mixture)
    assert [stage.max_answer_tokens for stage in stages] == [32, 32, 160, 1024]
    assert stages[3].max_sequence_tokens == PAPER.model.text.max_position_embeddings
