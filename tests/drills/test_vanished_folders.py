"""Folders that vanish, or that must not be written any more, while a stage runs."""

from __future__ import annotations

import shutil

import pytest

from tests.drills import aftermath
from tests.limits import without_override

AT = 5
"""The step in which it happens; points are saved every fourth step."""


@pytest.fixture
def during(monkeypatch):
    """``during(change)`` makes the change while step 5 computes; gives the list of steps that were begun."""

    def arrange(change):
        from tinygptv.training import loop

        compute = loop.optimizer_step
        begun: list[int] = []

        def optimizer_step(*arguments, **how):
            begun.append(len(begun) + 1)
            if len(begun) == AT:
                change()
            return compute(*arguments, **how)

        monkeypatch.setattr(loop, "optimizer_step", optimizer_step)
        return begun

    return arrange


def folder_of(checkout, name):
    """A folder of the stage by name; the one of its points has the fingerprint's name."""
    return aftermath.points(checkout, "stage1")[-1].parent if name == "points" else checkout.root / name


@pytest.mark.drill(6, "a folder that must not be written any more")
@pytest.mark.parametrize(
    ("name", "latest"),
    [
        ("points", 8),
        (".state/smoke/staging/stage1", 12),  # is first written when all steps are done
        ("data/smoke", 12),
    ],
)
def test_a_folder_that_becomes_read_only(checkout, with_stage1, run, capfd, during, name, latest):
    shutil.rmtree(checkout.data / "stage1")
    (checkout.state / "staging" / "stage1").mkdir(parents=True, exist_ok=True)
    changed = []

    def protect():
        changed.append(folder_of(checkout, name))
        changed[0].mkdir(exist_ok=True, parents=True)
        changed[0].chmod(0o555)

    begun = during(protect)
    before = checkout.outputs()
    with without_override():
        code = run(checkout, "stage1")
    changed[0].chmod(0o755)
    error = capfd.readouterr().err
    assert code == 2, error
    assert error.startswith("stage1: ")
    assert error.count("\n") == 1
    assert "no permission to write" in error
    assert str(changed[0]) in error
    assert begun[-1] == latest
    assert checkout.outputs() == before
    assert run(checkout, "stage1") == 0
    assert f"going on after step {4 if name == 'points' else 8}\n" in capfd.readouterr().out
    assert aftermath.results(checkout, "stage1") == aftermath.results(with_stage1, "stage1")


LONG = pytest.mark.drills
WHERE = ["points", *(pytest.param(name, marks=LONG) for name in (".state/smoke/stage1", ".state/smoke", ".state"))]
WHERE.append("data/smoke")


@pytest.mark.drill(6, "a folder that vanishes: made again, the same bytes")
@pytest.mark.parametrize("name", WHERE)
def test_a_folder_that_vanishes(checkout, with_stage1, run, during, name):
    shutil.rmtree(checkout.data / "stage1")
    during(lambda: shutil.rmtree(folder_of(checkout, name)))
    assert run(checkout, "stage1") == 0
    assert aftermath.results(checkout, "stage1") == aftermath.results(with_stage1, "stage1")


@pytest.mark.drill(6, "a file in a folder's place: one line, nothing half in place")
@pytest.mark.parametrize("name", WHERE)
def test_a_file_in_the_place_of_a_folder(checkout, run, capfd, during, name):
    shutil.rmtree(checkout.data / "stage1")

    def replace():
        folder = folder_of(checkout, name)
        folder.rename(checkout.root / "aside")
        folder.write_text("")

    begun = during(replace)
    assert run(checkout, "stage1") == 2
    error = capfd.readouterr().err
    assert error.startswith("stage1: reading or writing files: ")
    assert error.count("\n") == 1
    assert str(checkout.root / ("data/smoke" if name == "data/smoke" else ".state/smoke/stage1")) in error
    assert begun[-1] == (12 if name == "data/smoke" else 8)
    assert not aftermath.published(checkout, "stage1")
