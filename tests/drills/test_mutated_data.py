"""500 mutated files of each form of own data: records, counted rejections, or one line; never a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.official import draw, write_json, write_lines
from tests.data_sets import sample, write_set
from tests.drills.mutations import mutated
from tests.drills.plugin import Trials
from tinygptv.config import DataSet
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.recognise import recognise
from tinygptv.data.record_rules import RecordError, check_record
from tinygptv.data.source import form, open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file

FEW, TRIALS = 40, 500
NUMBERS = range(4)
PICTURES = "pictures"


def talk(number: int, who: str, text: str, roles: tuple[str, str]) -> list[dict[str, str]]:
    return [{who: roles[0], text: f"<image>\nWhat is {number}?"}, {who: roles[1], text: f"A cat, {number}."}]


def llava(root: Path) -> dict[str, Any]:
    turns = [talk(number, "from", "value", ("human", "gpt")) for number in NUMBERS]
    write_json(root / "own.json", [{"id": n, "image": f"{n}.png", "conversations": turns[n]} for n in NUMBERS])
    return {"files": ("own.json",), "images": PICTURES}


def messages(root: Path) -> dict[str, Any]:
    said = [talk(number, "role", "content", ("user", "assistant")) for number in NUMBERS]
    objects = {"ref": ["a cat"], "bbox": [[0, 1, 4, 8]], "bbox_type": "real"}
    parts = [
        {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "text", "text": "What?"}]},
        said[0][1],
    ]
    entries = [
        {"messages": said[0], "images": ["0.png"], "system": "Be brief."},
        {"messages": parts, "images": ["1.png"]},
        {"query": "<image>Find <ref-object>", "response": "<bbox>", "images": "2.png", "objects": objects},
        {
            "instruction": "What?",
            "input": "<image>",
            "output": "A cat.",
            "history": [["Hi", "Ho"]],
            "images": ["3.png"],
        },
    ]
    write_lines(root / "set" / "own.jsonl", entries)
    write_json(root / "set" / "dataset_info.json", {"own": {"file_name": "own.jsonl", "columns": {"images": "images"}}})
    return {"files": ("set",), "images": PICTURES}


def pairs(root: Path) -> dict[str, Any]:
    rows = "".join(
        f'{n},{n}.png,"what, ""{n}""?",a cat,{split}\n' for n, split in enumerate(("train", "", "val", "test"))
    )
    (root / "own.csv").write_text(f"id,image,question,answer,split\n{rows}")
    write_json(root / "own.json", [{"image": f"{n}.png", "captions": ["a cat", "a pet"]} for n in NUMBERS])
    return {"files": ("own.csv", "own.json"), "images": PICTURES}


def questions(root: Path) -> dict[str, Any]:
    entries = [{"id": n, "image": f"{n}.png", "question": "What?", "answers": ["a", ["b", 2]]} for n in NUMBERS]
    write_lines(root / "own.jsonl", entries)
    return {"files": ("own.jsonl",), "images": PICTURES}


def imagefolder(root: Path) -> dict[str, Any]:
    rows = [{"file_name": f"{number}.png", "text": f"a cat, {number}"} for number in NUMBERS]
    write_lines(root / PICTURES / "metadata.jsonl", rows)
    draw(root / PICTURES / "test" / "7.png", 7)
    (root / PICTURES / "test" / "metadata.csv").write_text("file_name,label\n7.png,cat\n")
    return {"images": PICTURES}


def records(root: Path) -> dict[str, Any]:
    write_set(root / "made", "cats", [sample(number, "cats") for number in NUMBERS])
    (root / "own").mkdir()
    for tar in (root / "made" / "cats").glob("*.tar"):
        tar.rename(root / "own" / tar.name)
    return {"files": ("own",)}


EXAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    made.__name__: made for made in (llava, messages, pairs, questions, imagefolder, records)
}
"""Form → what writes a good set of it, and the keys that read it. A form of own data has its row here."""


def found_in(root: Path, settings: DataSet) -> tuple[int, list[dict[str, str]]]:
    """How many records there are, checked as ``shards`` does, and what is left out."""
    seen = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, root)]
    write_manifest(root / "manifest", seen)
    good, left_out = 0, []
    for item in form(settings).read(open_source("own", settings, root, root / "manifest")):
        if isinstance(item, dict):
            left_out.append(item)
            continue
        try:
            check_record(replace(item.record, dataset="own"), "own")
            good += 1
        except RecordError as error:
            left_out.append({"id": error.record, "reason": error.reason})
    return good, left_out


@pytest.mark.drill(17, "mutated files of each form of own data: no traceback")
@pytest.mark.parametrize("most", [FEW, pytest.param(TRIALS, marks=pytest.mark.drills)])
@pytest.mark.parametrize("name", EXAMPLES)
def test_mutated_files(name: str, most: int, tmp_path: Path, trials: Trials) -> None:
    for number in NUMBERS:
        draw(tmp_path / PICTURES / f"{number}.png", number)
    settings = DataSet(**{"format": name, "licence": "MIT", **EXAMPLES[name](tmp_path)})
    good, left_out = found_in(tmp_path, settings)
    assert (good >= len(NUMBERS), left_out) == (True, []), "the set is good before"
    files = [path for _, path in raw_files(settings, tmp_path) if path.suffix != ".png"]
    outcomes = {"read": 0, "left out": 0, "refused": 0}
    for trial in range(most):
        chance = random.Random(f"{name} {trial}")
        path = chance.choice(files)
        content = path.read_bytes()
        path.write_bytes(mutated(chance, content))
        try:
            outcomes[outcome(tmp_path, settings, path)] += 1
        except Exception as error:
            raise AssertionError(f"trial {trial} of {name}: {path.read_bytes()!r}") from error
        path.write_bytes(content)
    trials.count = most
    assert outcomes["refused"] < most > outcomes["read"], f"mutations have no bite: {json.dumps(outcomes)}"


def outcome(root: Path, settings: DataSet, changed: Path) -> str:
    """What becomes of the set; and nothing that looks at it fails."""
    for place in (root, changed):
        recognise(place)
    try:
        _, left_out = found_in(root, settings)
    except DataError as error:
        assert str(error).isprintable(), str(error)
        return "refused"
    assert all("\n" not in item["reason"] for item in left_out)
    return "left out" if left_out else "read"
