"""The newest resume point with a flipped bit or cut short: found out each time, and the one before it is taken."""

from __future__ import annotations

import random
import shutil

import pytest

from tests.drills import aftermath

NEWEST, BEFORE = 11, 8


def stopped(checkout, run, monkeypatch):
    """Stop stage 1 after step 11: its points are of step 8 and of step 11."""
    from tinygptv.ground.signals import StopRequest
    from tinygptv.training import loop

    compute = loop.optimizer_step
    requests = []
    install = StopRequest.install
    steps = iter(range(1, 100))

    def optimizer_step(*arguments, **how):
        if next(steps) == NEWEST:
            requests[0].number = 15
        return compute(*arguments, **how)

    def remembered():
        requests.append(install())
        return requests[0]

    shutil.rmtree(checkout.data / "stage1")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimizer_step", optimizer_step)
        patch.setattr(StopRequest, "install", remembered)
        assert run(checkout, "stage1") == 143
    assert [int(path.name[-8:]) for path in aftermath.points(checkout, "stage1")] == [BEFORE, NEWEST]


def damage(point, source: random.Random) -> str:
    """Flip a bit of one of the point's files, or cut it short; what was done, in words."""
    path = source.choice(sorted(point.iterdir()))
    content = bytearray(path.read_bytes())
    place = source.randrange(len(content))
    if source.random() < 0.25:
        path.write_bytes(content[:place])
        return f"{path.name} cut to {place} bytes"
    bit = source.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {path.name}"


def try_damages(checkout, with_stage1, run, capfd, monkeypatch, numbers) -> None:
    """Damage the newest point in one way after the other; each time the stage goes on and ends as ever."""
    stopped(checkout, run, monkeypatch)
    kept = shutil.copytree(checkout.root / ".state", checkout.root / "kept")
    expected = aftermath.results(with_stage1, "stage1")
    for number in numbers:
        shutil.rmtree(checkout.root / ".state")
        shutil.rmtree(checkout.data / "stage1", ignore_errors=True)
        shutil.copytree(kept, checkout.root / ".state")
        done = damage(aftermath.points(checkout, "stage1")[-1], random.Random(number))
        capfd.readouterr()
        assert run(checkout, "stage1") == 0, done
        said = capfd.readouterr().out
        assert f"stage1: resume point step-{NEWEST:08d} is damaged and was passed over\n" in said, done
        assert f"stage1: going on after step {BEFORE}\n" in said, done
        assert aftermath.results(checkout, "stage1") == expected, done


@pytest.mark.drill(5, "flipped bits and cuts of the newest resume point", trials=3)
def test_a_damaged_point_is_passed_over(checkout, with_stage1, run, capfd, monkeypatch):
    try_damages(checkout, with_stage1, run, capfd, monkeypatch, range(3))


@pytest.mark.drills
@pytest.mark.drill(5, "flipped bits and cuts of the newest resume point", trials=100)
def test_every_damage_is_found_out(checkout, with_stage1, run, capfd, monkeypatch):
    try_damages(checkout, with_stage1, run, capfd, monkeypatch, range(100, 200))
