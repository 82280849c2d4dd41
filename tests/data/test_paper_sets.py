"""The profiles `paper` and `paper-mini`: all sets of the paper, read by their forms from files in true layouts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.paper_files import SHARES, write
from tests.data.conftest import alone, pictured
from tinygptv.config import parse_entry
from tinygptv.config.profiles import read_config
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.record_rules import check_record
from tinygptv.data.source import open_source, raw_files, read_source
from tinygptv.ground.files import sha256_file
from tinygptv.ground.names import STAGES

ROOT = Path(__file__).resolve().parents[2]
PAPER, MINI = (read_config(ROOT / "configs" / f"{name}.yaml") for name in ("paper", "paper-mini"))
TRAINED = [name for name, settings in MINI.data.items() if settings.split.get("test") != 1.0]
PICTURES = 20
REJECTED = {"laion": 2, "cc_sbu": 2, "ocrvqa": 3 * 2}
"""Of every set of 20 pictures: addresses that are dead, and questions about books without a cover."""
TASKS = {
    "laion": "caption", "cc_sbu": "caption", "cc_sbu_align": "caption", "multitask_conversation": "conversation",
    "llava_conversation": "conversation", "llava_detail": "conversation", "llava_reason": "conversation",
    "unnatural_instruction": "conversation", "flickr_grounded_caption": "grounding",
    "flickr_CaptionToPhrase": "detection", "flickr_ObjectToPhrase": "detection", "coco_caption": "caption",
    "textcaps_caption": "caption", "coco_vqa": "vqa", "ok_vqa": "vqa", "aok_vqa": "vqa", "gqa": "vqa",
    "ocrvqa": "vqa", "refcoco": "refer", "refcocop": "refer", "refcocog": "refer", "invrefcoco": "identify",
    "invrefcocop": "identify", "invrefcocog": "identify", "refvg": "refer",
}  # fmt: skip
"""Set → what its records ask for, by table 1 of the paper."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Set → its records with their images, and its rejections."""
    root = tmp_path_factory.mktemp("paper")
    write(root / "data" / "raw" / "paper-mini", dict.fromkeys(SHARES, PICTURES), 1)
    read = {}
    for name in TRAINED:
        settings, manifest = MINI.data[name], root / f"{name}.manifest"
        seen = [RawFile(file, path.stat().st_size, sha256_file(path)) for file, path in raw_files(settings, root)]
        write_manifest(manifest, seen)
        read[name] = list(read_source(open_source(name, settings, root, manifest)))
    return read


def records(items):
    return [item for item in items if not isinstance(item, dict)]


def test_the_small_files_lie_as_those_of_paper_do_and_are_read_alike():
    assert list(TASKS) == TRAINED and len(TRAINED) == 25
    assert [name for name in PAPER.data if name in TASKS] == TRAINED
    for name in TRAINED:
        true, small = PAPER.data[name], MINI.data[name]
        at = "data/raw/"
        assert [file.replace(at, f"{at}paper-mini/") for file in true.files] == list(small.files), name
        assert true.images.replace(at, f"{at}paper-mini/") == small.images, name
        for key in ("format", "part", "task", "templates", "blip_caption"):
            assert getattr(true, key) == getattr(small, key), (name, key)
        assert (true.max_rejected is None) == (small.max_rejected is None), name


def test_stages_of_paper_mini_mix_and_prompt_as_those_of_paper():
    for name in STAGES:
        true, small = PAPER.stage(name), MINI.stage(name)
        out = {"coco_caption": 10, "ocrvqa": 30} if name == "stage4" else {}
        assert small.mixture == true.mixture | out
        assert (small.prompt, small.trainable) == (true.prompt, true.trainable)
        assert isinstance(true.batch_size, dict), "a step draws from one set"
        assert isinstance(small.batch_size, dict)
        shares = {small.batch_size[entry] / size for entry, size in true.batch_size.items()}
        assert len(shares) == 1, name


@pytest.mark.parametrize("name", TRAINED)
def test_each_set_gives_records_and_rejects_what_lacks_its_picture(found, name):
    read = records(found[name])
    assert read
    assert len(found[name]) - len(read) == REJECTED.get(name, 0)
    assert {item.record.task for item in read} == {TASKS[name]}
    assert all((item.image is None) == (name == "unnatural_instruction") for item in read)
    for item in read:
        check_record(replace(item.record, dataset=name), "key")


@pytest.mark.parametrize("name", TRAINED)
def test_blip_caption_is_for_the_texts_that_the_authors_process(found, name):
    turns = [turn for item in records(found[name]) for turn in item.record.turns]
    questions = [text for turn in turns for text in turn.questions]
    answers = [text for turn in turns for text in turn.answers]
    for what, texts in (("question", questions), ("answer", answers)):
        plain = not any(text != text.lower() or set(text) & set('.!"()*#:;~') for text in texts)
        if what in MINI.data[name].blip_caption:
            assert plain, name
        elif name in ("llava_conversation", "llava_detail", "llava_reason", "cc_sbu_align") and any(texts):
            assert not plain, name


def test_stage_4_draws_from_every_set_and_a_step_from_one(found, build):
    samples = []
    for name in MINI.stage4.mixture:
        for number, item in enumerate(records(found[name])[:2]):
            of_set = pictured(item.record, dataset=name, number=number)
            samples.append(of_set if item.image is not None else alone(item.record, name))
    batches = build(MINI.stage4, samples=samples)
    drawn = Counter()
    for step in range(MINI.stage4.steps_per_epoch):
        (entry,) = {draw.entry for draw in batches.draws(step)}
        assert len(batches.draws(step)) == MINI.stage4.batch_size[entry]
        drawn[entry] += 1
    assert drawn.keys() == MINI.stage4.mixture.keys()
    assert all(abs(drawn[entry] - weight / 2) <= 1 for entry, weight in MINI.stage4.mixture.items())
    for entry in MINI.stage4.mixture:
        step = next(step for step in range(MINI.stage4.steps_per_epoch) if batches.draws(step)[0].entry == entry)
        (batch, *_) = batches.batch(step)
        assert batch.target_tokens > 0 and parse_entry(entry).dataset == entry
