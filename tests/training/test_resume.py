"""A killed stage goes on bit for bit, and only from a point that is whole and its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tinygptv.config import Stage
from tinygptv.data.batches import Batch
from tinygptv.training import resume
from tinygptv.training.loop import TrainingState, train

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
PRINT = {"stage": "stage4", "seed": 7, "config": {"runtime": {"threads": 2}}, "backbones": {"a": "1"}}


class KilledError(Exception):
    """The process ends here."""


def run(state: TrainingState, make_batch: MakeBatch, stage: Stage, folder: Path | None = None, until: int = 0) -> None:
    """Train; with a folder, save after every step and end after ``until`` steps."""

    def on_step(state: TrainingState, _: Any) -> None:
        if folder is not None:
            resume.save(folder, state, PRINT)
            if state.step == until:
                raise KilledError

    def batches(step: int) -> list[Batch]:
        return [make_batch(step, slice(4)), make_batch(step, slice(4, 8))]

    train(state, batches, stage, on_step=on_step)


def killed(folder: Path, new_training: NewTraining, make_batch: MakeBatch, stage: Stage, until: int = 5) -> None:
    with pytest.raises(KilledError):
        run(new_training(), make_batch, stage, folder, until)


def test_a_resumed_stage_equals_an_uninterrupted_one(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    straight = new_training()
    run(straight, make_batch, stage)

    killed(tmp_path, new_training, make_batch, stage)
    fresh = new_training(seed=0)
    for parameter in fresh.parameters.values():
        parameter.data.fill_(0.5)  # everything that trains must come from the point
    torch.manual_seed(999)  # and so must the random state
    assert resume.restore(tmp_path, fresh, PRINT) == ["going on after step 5"]
    assert (len(fresh.history), len(fresh.window)) == (1, 2)  # a point every third step: two losses wait
    run(fresh, make_batch, stage)

    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, fresh.parameters[name]), name
    assert fresh.history == straight.history
    assert fresh.step == straight.step == 10


def test_only_the_two_newest_points_are_kept(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def cut_tensors(point: Path) -> None:
    (point / resume.TENSORS).write_bytes((point / resume.TENSORS).read_bytes()[:-1])


def flip_a_bit(point: Path) -> None:
    content = bytearray((point / resume.TENSORS).read_bytes())
    content[-10] ^= 4
    (point / resume.TENSORS).write_bytes(content)


def remove_tensors(point: Path) -> None:
    (point / resume.TENSORS).unlink()


def remove_state(point: Path) -> None:
    (point / resume.STATE).unlink()


def cut_state(point: Path) -> None:
    (point / resume.STATE).write_text((point / resume.STATE).read_text()[:40])


def forget_the_digest(point: Path) -> None:
    content = json.loads((point / resume.STATE).read_text())
    del content["sha256"]
    (point / resume.STATE).write_text(json.dumps(content))


def not_an_object(point: Path) -> None:
    (point / resume.STATE).write_text("[1]")


def forget_the_fingerprint(point: Path) -> None:
    content = json.loads((point / resume.STATE).read_text())
    del content["fingerprint"]
    (point / resume.STATE).write_text(json.dumps(content))


DAMAGES = (
    cut_tensors,
    flip_a_bit,
    remove_tensors,
    remove_state,
    cut_state,
    forget_the_digest,
    not_an_object,
    forget_the_fingerprint,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_point_is_passed_over_for_the_one_before(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=2)
    damage(tmp_path / "step-00000002")
    state = new_training()
    lines = resume.restore(tmp_path, state, PRINT)
    assert lines == ["resume point step-00000002 is damaged and was passed over", "going on after step 1"]
    assert state.step == 1


def test_a_point_of_another_run_is_passed_over_and_says_why(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=1)
    state = new_training()
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    other = PRINT | {"seed": 8, "config": {"runtime": {"threads": 1}}, "more": 3}
    (line,) = resume.restore(tmp_path, state, other)
    assert "step-00000001 is of another run" in line
    assert "config.runtime.threads (2 -> 1), more (None -> 3), seed (7 -> 8)" in line
    assert state.step == 0
    assert all(torch.equal(before[name], p) for name, p in state.parameters.items())


def test_a_half_written_point_is_not_seen(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=1)
    (tmp_path / "step-00000001").rename(tmp_path / ".step-00000001.tmp")
    state = new_training()
    assert resume.restore(tmp_path, state, PRINT) == []
    assert state.step == 0
    killed(tmp_path, new_training, make_batch, stage, until=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_without_points_nothing_happens(new_training: NewTraining, tmp_path: Path) -> None:
    assert resume.restore(tmp_path / "none", new_training(), PRINT) == []


def test_equal_fingerprints_have_no_differing_keys() -> None:
    assert resume.differing_keys(PRINT, json.loads(json.dumps(PRINT))) == []
