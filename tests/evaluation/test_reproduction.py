"""What the paper published of which data set, and the table; tests/pipeline/test_reproduction.py runs it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tinygptv.config.profiles import Profile, read_config
from tinygptv.evaluation import reproduction
from tinygptv.evaluation.authors_files import AuthorsFiles
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.ground.errors import UserError
from tinygptv.ground.names import STAGES

CONFIGS = Path(__file__).parents[2] / "configs"
REPRODUCED, PAPER = (read_config(CONFIGS / f"{name}.yaml") for name in ("reproduce-paper", "paper"))
TABLE_2 = {
    "gqa_testdev": 0.389,
    "vsr_zeroshot": 0.547,
    "iconqa_choose_txt": 0.447,
    "vizwiz_val": 0.378,
    "hateful_memes_dev": 0.54,
}
LOG = {"refcoco_val": 0.0603, "refcoco_testA": 0.0675, "refcoco_testB": 0.0536}


def test_the_profile_asks_all_that_is_published_and_nothing_else() -> None:
    for config in (REPRODUCED, PAPER):
        found = {ask.name: reproduction.published_of(config, ask) for ask in asks_of(config)}
        told = {name: one for name, one in found.items() if one is not None}
        assert {name: one.value for name, one in told.items() if one.where == "table 2"} == TABLE_2
        assert {name: one.value for name, one in told.items() if one.where == "their log"} == LOG
        assert all(one.questions for one in told.values())
    assert [ask.name for ask in asks_of(REPRODUCED)] == [*TABLE_2, *LOG]
    assert sum(TABLE_2.values()) / 5 == pytest.approx(0.4602), "the average that the paper prints"


def test_the_profile_is_the_papers_but_for_what_trains() -> None:
    assert REPRODUCED.model == PAPER.model
    assert REPRODUCED.runtime == PAPER.runtime
    assert REPRODUCED.data == {name: PAPER.data[name] for name in REPRODUCED.data}
    kept = {"benchmarks": PAPER.evaluate.benchmarks}
    assert REPRODUCED.evaluate.model_copy(update=kept) == PAPER.evaluate
    for stage in STAGES:
        ours, theirs = REPRODUCED.stage(stage), PAPER.stage(stage)
        assert ours.steps == 0
        for key in ("image_size", "prompt", "trainable", "max_answer_tokens", "max_sequence_tokens"):
            assert getattr(ours, key) == getattr(theirs, key), (stage, key)


def test_a_profile_without_such_a_benchmark_is_told_of_the_one_that_has_them() -> None:
    tiny = Profile("tiny", 7, read_config(CONFIGS / "tiny.yaml"))
    with pytest.raises(UserError, match=r"profile tiny asks no benchmark .* --profile reproduce-paper does"):
        reproduction.reproduce(Path("nowhere"), tiny, AuthorsFiles({}, {}))


def entry(value: float, authors: float | None = None, **changed: Any) -> dict[str, Any]:
    """Of a report."""
    told = {"accuracy": authors} if authors is not None else None
    ends = None if authors is None else [authors - 0.1, authors + 0.1]
    return {
        **{"metric": "accuracy", "value": value, "ci95": [value - 0.1, value + 0.1], "n": 72, "excluded": 0},
        **{"authors": told, "authors_ci95": ends, "blind": 0.4, "majority": 0.2, "trivial": None, "chance": None},
        **changed,
    }


def test_the_table_has_the_papers_number_beside_the_authors_count() -> None:
    found = {
        "gqa": reproduction.PaperNumber(value=0.389, where="table 2", questions=12_578),
        "vsr": reproduction.PaperNumber(value=0.547, where="table 2", questions=72),
        "refcoco": reproduction.PaperNumber(value=0.0603, where="their log", questions=72),
    }
    entries = {
        "gqa": entry(0.3, 0.5),
        "vsr": entry(0.6, 0.7, metric="auroc", blind=None),
        "refcoco": entry(0.1, blind=None, majority=None),
    }
    beside = reproduction._beside(entries, found)
    assert beside["average"] == {"of": ["gqa", "vsr"], "authors": 0.6, "paper": 0.468}
    stages = {"stage4": {"checkpoint": "TinyGPT-V_for_Stage4.pth", "presets": {"as_trained": beside}}}
    whole = {"source": "s", "missing": ["TinyGPT-V_for_Stage1.pth"], "stages": stages}
    _, *rows = reproduction.plain(whole).splitlines()
    assert [" ".join(row.split()).removeprefix("TinyGPT-V_for_Stage4 as_trained ") for row in rows] == [
        "gqa 0.3890 0.5000 0.4000-0.6000 0.3000 accuracy 0.2000-0.4000 0.4000 72 of 12,578",
        "vsr 0.5470 0.7000 0.6000-0.8000 0.6000 auroc 0.5000-0.7000 0.2000 72",
        "refcoco 0.0603 0.1000 0.0000-0.2000 0.1000 accuracy 0.0000-0.2000 72",
        "average of 2 0.4680 0.6000",
    ]
    page = reproduction.markdown(whole)
    assert "Not there: TinyGPT-V_for_Stage1.pth." in page
    assert {line.count("|") for line in page.splitlines() if line.startswith("|")} == {len(reproduction.HEADER) + 1}
