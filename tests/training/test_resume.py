"""A killed stage goes on bit for bit, and only from a point that is whole and its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tinygptv.config import Stage
from tinygptv.data.batches import Batch
from tinygptv.ground.errors import DataError
from tinygptv.model.adapters import trainable_parameters
from tinygptv.training import resume
from tinygptv.training.loop import TrainingState, new_state, train
from tinygptv.training.resume import ResumePoints

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
PRINT = {"stage": "stage4", "seed": 7, "config": {"runtime": {"threads": 2}}, "backbones": {"a": "1"}}


class KilledError(Exception):
    """The process ends here."""


def run(state: TrainingState, make_batch: MakeBatch, stage: Stage, folder: Path | None = None, until: int = 0) -> None:
    """Train; with a folder, save after every step and end after ``until`` steps."""

    def on_step(state: TrainingState) -> None:
        if folder is not None:
            ResumePoints(folder, PRINT).save(state)
            if state.step == until:
                raise KilledError

    batches = ([make_batch(step, slice(4)), make_batch(step, slice(4, 8))] for step in range(state.step, stage.steps))
    train(state, batches, stage, on_step=on_step)


def points(folder: Path) -> list[Path]:
    """All points of all runs, the oldest first."""
    return sorted(folder.glob("*/step-*"))


def resumed(new_training: NewTraining, folder: Path) -> TrainingState:
    state = new_training()
    ResumePoints(folder, PRINT).restore(state)
    return state


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
    torch.manual_seed(999)  # and what is drawn does not depend on what was drawn before
    assert ResumePoints(tmp_path, PRINT).restore(fresh) == ["going on after step 5"]
    assert fresh.trace == straight.trace[:5]
    run(fresh, make_batch, stage)

    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, fresh.parameters[name]), name
    assert fresh.trace == straight.trace
    assert fresh.step == straight.step == 10


def kinds(state: TrainingState) -> dict[str, tuple[bool, torch.dtype, torch.Size]]:
    """Every tensor of parameters and optimizer: whether it lies with its parameter, its format and its shape."""
    found = {}
    for name, parameter in state.parameters.items():
        for key, tensor in {"parameter": parameter, **state.optimizer.state[parameter]}.items():
            found[f"{key}/{name}"] = tensor.device == parameter.device, tensor.dtype, tensor.shape
    return found


def test_a_point_puts_every_tensor_where_an_uninterrupted_step_has_it(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    """On ``meta``, which like a GPU can be told apart from the CPU: the fused AdamW counts its steps there, too."""
    killed(tmp_path, new_training, make_batch, stage, until=2)
    straight = new_training()
    run(straight, make_batch, stage.model_copy(update={"steps_per_epoch": 2, "epochs": 1}))
    elsewhere = {name: torch.nn.Parameter(p.to("meta")) for name, p in straight.parameters.items()}
    state = new_state(straight.model, elsewhere, stage, straight.drawn_from)
    ResumePoints(tmp_path, PRINT).restore(state)
    assert len(kinds(state)) == 4 * len(state.parameters)
    assert kinds(state) == kinds(straight)
    assert {p.device.type for p in state.parameters.values()} == {"meta"}
    for made, kept in zip(state.optimizer.param_groups, straight.optimizer.param_groups, strict=True):
        assert {**made, "params": 0, "lr": 0} == {**kept, "params": 0, "lr": 0}


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.usefixtures("deterministic")
def test_a_stage_resumed_on_a_gpu_equals_an_uninterrupted_one(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    def on_gpu() -> TrainingState:
        state = new_training()
        model = state.model.to("cuda")
        return new_state(model, trainable_parameters(model), stage, state.drawn_from)

    straight = on_gpu()
    run(straight, make_batch, stage)
    killed(tmp_path, on_gpu, make_batch, stage)
    fresh = resumed(on_gpu, tmp_path)
    run(fresh, make_batch, stage)
    assert fresh.trace == straight.trace
    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, fresh.parameters[name]), name
    assert {kind for kind, *_ in kinds(fresh).values()} == {True}


@pytest.mark.parametrize("change", ["fewer", "more", "another shape"])
def test_a_point_of_other_tensors_is_refused_even_where_the_difference_is_allowed(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, change: str
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=2)
    made = new_training()
    parameters = dict(made.parameters)
    name = "projector.linear_1.bias"
    if change == "more":
        parameters["projector.linear_3.bias"] = torch.nn.Parameter(torch.zeros(3))
        name = "projector.linear_3.bias"
    elif change == "fewer":
        del parameters[name]
    else:
        parameters[name] = torch.nn.Parameter(torch.zeros(3))
    state = new_state(made.model, parameters, stage, made.drawn_from)
    with pytest.raises(DataError, match=rf"step-00000002 .*\({re.escape(name)}\).* without `--allow-changed`"):
        ResumePoints(tmp_path, PRINT).restore(state)
    assert state.step == 0


def test_only_the_two_newest_points_are_kept(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage)
    assert [path.name for path in points(tmp_path)] == ["step-00000004", "step-00000005"]


def test_an_older_point_stays_where_the_newer_one_does_not_read_back(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=3)
    put = resume.replace_folder

    def put_damaged(staged: Path, final: Path) -> None:
        put(staged, final)
        flip_a_bit(final)

    monkeypatch.setattr(resume, "replace_folder", put_damaged)
    with pytest.raises(DataError, match="step-00000004 does not read back"):
        run(resumed(new_training, tmp_path), make_batch, stage, tmp_path)
    assert [path.name for path in points(tmp_path)][:2] == ["step-00000002", "step-00000003"]


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


def flip_a_bit_of_the_state(point: Path) -> None:
    """In the fingerprint, which is still JSON: 7 becomes 6."""
    content = (point / resume.STATE).read_text()
    assert content.count('"seed":7') == 1
    (point / resume.STATE).write_text(content.replace('"seed":7', '"seed":6'))


def forget_the_digest(point: Path) -> None:
    content = json.loads((point / resume.STATE).read_text())
    del content["sha256"]
    (point / resume.STATE).write_text(json.dumps(content))


def not_an_object(point: Path) -> None:
    (point / resume.STATE).write_text("[1]")


def write_it_otherwise(point: Path) -> None:
    """The same JSON in other bytes."""
    content = json.loads((point / resume.STATE).read_text())
    (point / resume.STATE).write_text(json.dumps(content, indent=1))


DAMAGES = (
    cut_tensors,
    flip_a_bit,
    remove_tensors,
    remove_state,
    cut_state,
    flip_a_bit_of_the_state,
    forget_the_digest,
    not_an_object,
    write_it_otherwise,
)


@pytest.mark.drill(5, "kinds of damage to the newest resume point")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_point_is_passed_over_for_the_one_before(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=2)
    damage(points(tmp_path)[-1])
    state = new_training()
    lines = ResumePoints(tmp_path, PRINT).restore(state)
    assert lines == ["resume point step-00000002 is damaged and was passed over", "going on after step 1"]
    assert state.step == 1


OTHER = PRINT | {"seed": 8, "config": {"runtime": {"threads": 1}}, "more": 3}


def test_a_point_of_another_run_is_refused_key_by_key_and_kept(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=2)
    state = new_training()
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    (line,) = ResumePoints(tmp_path, OTHER).restore(state, allowed=("seed", "more"))
    assert "step-00000002 is of another run and is not used: config.runtime.threads (2 -> 1); it is kept" in line
    (line,) = ResumePoints(tmp_path, OTHER).restore(state)
    assert "config.runtime.threads (2 -> 1), more (None -> 3), seed (7 -> 8); it is kept" in line
    assert "--allow-changed KEY" in line
    assert state.step == 0
    assert all(torch.equal(before[name], p) for name, p in state.parameters.items())
    ResumePoints(tmp_path, OTHER).save(resumed(new_training, tmp_path))
    assert len(points(tmp_path)) == 3
    assert ResumePoints(tmp_path, PRINT).restore(state) == ["going on after step 2"]


def test_changes_that_are_allowed_are_on_record(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=2)
    resume_points, state = ResumePoints(tmp_path, OTHER), new_training()
    lines = resume_points.restore(state, allowed=("seed", "more", "config.runtime.threads"))
    assert lines == ["going on after step 2"]
    expected = ["config.runtime.threads (2 -> 1)", "more (None -> 3)", "seed (7 -> 8)"]
    assert resume_points.changes == [f"after step 2: {text}" for text in expected]
    resume_points.save(state)
    later = ResumePoints(tmp_path, OTHER)
    assert later.restore(new_training()) == ["going on after step 2"]
    assert later.changes == resume_points.changes


def test_a_half_written_point_is_not_seen(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage, tmp_path: Path
) -> None:
    killed(tmp_path, new_training, make_batch, stage, until=1)
    (point,) = points(tmp_path)
    point.rename(point.with_name(".step-00000001.tmp"))
    state = new_training()
    assert ResumePoints(tmp_path, PRINT).restore(state) == []
    assert state.step == 0
    killed(tmp_path, new_training, make_batch, stage, until=1)
    assert [path.name for path in point.parent.iterdir()] == ["step-00000001"]


def test_without_points_nothing_happens(new_training: NewTraining, tmp_path: Path) -> None:
    assert ResumePoints(tmp_path / "none", PRINT).restore(new_training()) == []
