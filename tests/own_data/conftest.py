"""A checkout with a user's own pictures and profiles of them, in which nothing was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tests.data_sets import picture
from tinygptv.ground.file_names import LANGUAGE_MODEL
from tinygptv.ground.yaml_files import read_yaml

CHECKOUT = Path(__file__).parents[2]
Record = dict[str, Any]


def talk(name: str, image: str | None, *turns: tuple[str, str]) -> Record:
    """A record of LLaVA's form."""
    said = [
        {"from": who, "value": text}
        for question, answer in turns or (("<image>\nwhat is it?", "a cat"),)
        for who, text in (("human", question), ("gpt", answer))
    ]
    return {"id": name, **({} if image is None else {"image": image}), "conversations": said}


class Checkout:
    """Its folder, and what writes into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "configs").mkdir(parents=True)
        (root / "dvc.yaml").write_text("stages: {}\n")
        (root / "params.yaml").write_text("profile: cats\nseed: 1\n")

    def pictures(self, *numbers: int, folder: str = "pictures") -> None:
        """Write ``0.png``, ``1.png`` and so on, each with other bytes."""
        (self.root / folder).mkdir(exist_ok=True)
        for number in numbers:
            (self.root / folder / f"{number}.png").write_bytes(picture(number))

    def records(self, *records: Record, file: str = "cats.json") -> None:
        """Write a file of records."""
        (self.root / file).write_text(json.dumps(records))

    def profile(self, sets: dict[str, Any] | None = None, most_rejected: float = 0.5, **stage4: Any) -> None:
        """Write the profile ``cats``, which trains stage 4 on its sets; ``stage4``: keys of it that differ."""
        content = read_yaml(CHECKOUT / "configs" / "smoke.yaml")
        content["data"] = sets or {"cats": self.set()}
        last = {**content["stage4"], "mixture": dict.fromkeys(content["data"], 1.0), "batch_size": 2}
        for name in ("stage1", "stage2", "stage3", "stage4"):
            content[name] = {**last, "micro_batch_size": 2, "epochs": 0}
        content["stage4"] |= {"epochs": 1, **stage4}
        content["shards"]["max_rejected"] = most_rejected
        content["backbones"], content["init"] = {"source": "init"}, {"from": "./start"}
        content["evaluate"]["benchmarks"] = list(content["data"])
        content["register"]["gate"] |= {of: dict.fromkeys(content["data"], 0.1) for of in ("min_value", "margin")}
        (self.root / "configs" / "cats.yaml").write_text(json.dumps(content))

    @staticmethod
    def set(file: str = "cats.json", **keys: Any) -> dict[str, Any]:
        """A data set of the profile."""
        return {"format": "llava", "files": [file], "images": "pictures", "licence": "CC0-1.0", **keys}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """One without a tokenizer, which is the current folder."""
    made = Checkout(tmp_path / "checkout")
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def with_tokenizer(checkout: Checkout, tokenizer: PreTrainedTokenizerFast) -> Callable[[], None]:
    """``with_tokenizer()``: what the profile starts from has a tokenizer."""

    def add() -> None:
        tokenizer.save_pretrained(checkout.root / "start")
        (checkout.root / "start" / LANGUAGE_MODEL).touch()

    return add


@pytest.fixture
def with_tiny(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which tiny is trained as far as `tinygptv new` looks; the current folder."""
    root = tmp_path / "checkout"
    for name in ("dvc.yaml", "params.yaml", "configs/tiny.yaml", "configs/paper.yaml", "configs/backbones.lock.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, root / name)
    (root / "data/tiny/stage4").mkdir(parents=True)
    tokenizer.save_pretrained(root / "data/tiny/backbones")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


def write_llava(folder: Path, count: int, answer: str = "cat", turns: int = 1) -> Path:
    """So many records of so many turns about as many pictures in `my pictures`."""
    (folder / "my pictures").mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for number in range(count):
        (folder / "my pictures" / f"{number}.png").write_bytes(picture(number))
        said = []
        for turn in range(turns):
            said += [
                {"from": "human", "value": f"{'' if turn else '<image>'}what is {turn}?"},
                {"from": "gpt", "value": answer if number % 3 else "dog"},
            ]
        records.append({"id": f"r{number}", "image": f"{number}.png", "conversations": said})
    path = folder / "cats.json"
    path.write_text(json.dumps(records))
    return path
