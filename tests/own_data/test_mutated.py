"""200 small data sets with faults through ``tinygptv data check`` itself: counts or one line, never a traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.drills.mutations import mutated
from tests.drills.plugin import Trials
from tests.own_data.conftest import CHECKOUT, Checkout, talk
from tinygptv.cli import main

FEW, TRIALS = 12, 50
NUMBERS = range(4)


def llava(checkout: Checkout) -> str:
    checkout.records(*(talk(f"c{n}", f"pictures/{n}.png") for n in NUMBERS))
    return "cats.json"


def messages(checkout: Checkout) -> str:
    said = [{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": "{<1><2><3><4>}"}]
    lines = (json.dumps({"messages": said, "images": [f"pictures/{n}.png"]}) for n in NUMBERS)
    (checkout.root / "cats.jsonl").write_text("\n".join(lines))
    return "cats.jsonl"


def pairs(checkout: Checkout) -> str:
    rows = "\n".join(f'pictures/{n}.png,"what, then?",a cat,{("train", "test")[n % 2]}' for n in NUMBERS)
    (checkout.root / "cats.csv").write_text(f"image,question,answer,split\n{rows}\n")
    return "cats.csv"


def coco_captions(checkout: Checkout) -> str:
    images = [{"id": n, "file_name": f"{n}.png"} for n in NUMBERS]
    said = [{"id": n, "image_id": n % 4, "caption": f"a cat {n}"} for n in range(8)]
    (checkout.root / "cats.json").write_text(json.dumps({"images": images, "annotations": said}))
    return "cats.json"


@pytest.mark.parametrize("make", [llava, messages, pairs, coco_captions])
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(FEW, marks=pytest.mark.drill(17, "mutated data sets through `data check`: counts or one line")),
        pytest.param(TRIALS, marks=pytest.mark.drills, id="all"),
    ],
)
def test_a_mutated_data_set_is_counted_or_one_line(
    checkout: Checkout, capsys: Any, make: Callable[[Checkout], str], count: int, trials: Trials
) -> None:
    (checkout.root / "configs" / "tiny.yaml").write_text((CHECKOUT / "configs" / "tiny.yaml").read_text())
    chance, codes, left_out = random.Random(f"{make.__name__} {count}"), [], 0
    for _ in range(count):
        checkout.pictures(*NUMBERS)
        name = make(checkout)
        hurt = [checkout.root / name] if chance.random() < 0.7 else []
        if not hurt or chance.random() < 0.5:
            hurt.append(checkout.root / "pictures" / f"{chance.choice(NUMBERS)}.png")
        for path in hurt:
            path.write_bytes(mutated(chance, path.read_bytes()))
        named = ["--format", make.__name__] if chance.random() < 0.5 else []
        images = ["--images", "pictures" if make is coco_captions else "."]
        codes.append(main(["data", "check", name, *images, *named, "--json"]))
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("tinygptv: ")]
        assert (codes[-1], len(told)) in ((0, 0), (2, 1)), (hurt, err)
        assert "Traceback" not in err
        if out:
            found = json.loads(out)
            assert found["trainable"] == (codes[-1] == 0)
            for of_set in found["sets"].values():
                left_out += of_set["rejected"]
                assert sum(of_set["splits"].values()) == of_set["records"] == sum(of_set["tasks"].values())
        trials.count += 1
    assert list(checkout.root.glob(".state/*")) == []
    assert 0 in codes and (2 in codes or left_out), "mutations have no bite"
