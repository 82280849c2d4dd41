"""Answers that processes side by side have given are those of one: same files, and nobody is asked twice."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from tests.serving.helpers import strong_model
from tinygptv.evaluation import asking, sittings
from tinygptv.evaluation.package import PackageJob, answer_all, answers_of
from tinygptv.evaluation.sittings import runs
from tinygptv.ground.crew import Crew
from tinygptv.ground.files import read_json
from tinygptv.model.int8 import save_quantized


@pytest.fixture
def job(smoke, small_shards, make_model, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "BLOCK", 10)
    (tmp_path / "model").mkdir()
    model = strong_model(make_model(seed=4), processor, seed=4)
    save_quantized(model, tmp_path / "model", outlier_threshold=0.0, max_new_tokens=4)
    one = smoke.runtime.model_copy(update={"threads": 1, "deterministic": False})
    return PackageJob(
        config=smoke.model_copy(update={"runtime": one}),
        seed=7,
        shards=small_shards,
        package=tmp_path / "model",
        store=tmp_path / "answers",
        asker="test",
        measured=tmp_path / "measured.json",
        beside=("authors_released",),
    )


def files(job):
    return {path.relative_to(job.store): path.read_bytes() for path in job.store.glob("*/*.json")}


@pytest.fixture
def crew_of_two(monkeypatch):
    """Two desks in this process, which get what they would be sent, last job first; the blocks of each job."""
    given = []

    def mapped(prepare, jobs, crew):
        desks = [pickle.loads(pickle.dumps(prepare))() for _ in range(crew.size)]
        for place, job in enumerate(reversed([pickle.loads(pickle.dumps(job)) for job in jobs])):
            given.append((job.sitting, job.blocks))
            yield pickle.loads(pickle.dumps(desks[place % 2](job)))

    monkeypatch.setattr(sittings, "crew_here", lambda **_: Crew(2))
    monkeypatch.setattr(sittings, "map_blocks", mapped)
    return given


def test_any_split_among_processes_leaves_the_same_answers(job, crew_of_two, monkeypatch):
    alone = replace(job, store=job.store.with_name("alone"))
    with monkeypatch.context() as patch:
        patch.setattr(sittings, "crew_here", lambda **_: Crew())
        answer_all(alone)
    assert crew_of_two == [] and len(files(alone)) > 20
    answer_all(job)
    assert files(job) == files(alone)
    assert {sitting for sitting, _ in crew_of_two} == {0, 1} and max(len(blocks) for _, blocks in crew_of_two) > 1
    assert {"questions_per_second", "tokens_per_second", "peak_rss_mib"} <= read_json(job.measured).keys()
    assert list(answers_of(job)) == list(answers_of(alone))


def test_what_is_kept_is_not_asked_again(job, crew_of_two):
    answer_all(job)
    whole = files(job)
    crew_of_two.clear()
    for name in ("000001.json", "000002.json", "000004.json"):
        next(job.store.glob(f"*/{name}")).unlink()
    answer_all(job)
    assert files(job) == whole
    assert sum(len(blocks) for _, blocks in crew_of_two) == 3
    crew_of_two.clear()
    answer_all(job)
    assert crew_of_two == [] and "questions_per_second" not in read_json(job.measured)


def test_neighbours_are_asked_together():
    assert list(runs([], 3)) == []
    assert list(runs([0, 1, 2, 3, 5, 6, 9], 3)) == [range(3), range(3, 4), range(5, 7), range(9, 10)]
    assert list(runs(iter([4]), 8)) == [range(4, 5)]
