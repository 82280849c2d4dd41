"""Outputs that ``dvc.lock`` records and that are gone, from the cache or from everywhere, with the command for each."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tinygptv.doctor import examine, has_problem, lost, objects


def look(checkout):
    return list(lost.outputs(checkout))


def remove_cache(checkout):
    shutil.rmtree(checkout / ".dvc" / "cache")


@pytest.mark.parametrize("deep", [False, True])
def test_gone_from_cache_and_checkout(checkout, stored, deep):
    paths = stored("shards", a=b"one", b=b"two")
    stored("stage1", w=b"weights")
    for path in paths.values():
        path.unlink()
    shutil.rmtree(checkout / "data" / "tiny" / "shards")
    checks = [check for check in examine(checkout, deep=deep) if check.name == lost.NAME]
    (check,) = checks
    assert (check.level, check.fix) == ("problem", "dvc repro shards")
    assert check.finding == "data/tiny/shards is gone from DVC's cache and from the checkout"
    assert has_problem(checks)


def test_nothing_is_gone(checkout, stored):
    assert look(checkout) == []
    stored("shards", a=b"one", b=b"two")
    (check,) = look(checkout)
    assert (check.level, check.finding) == ("ok", "1 of dvc.lock, none is gone")
    shutil.rmtree(checkout / "data")  # the cache has it; `dvc repro` checks it out by itself
    assert [check.level for check in look(checkout)] == ["ok"]


@pytest.mark.parametrize("which", ["a", "."])
def test_gone_from_the_cache_alone(checkout, stored, which):
    """DVC would run the step again although its result is there."""
    stored("shards", a=b"one", b=b"two")[which].unlink()
    (check,) = look(checkout)
    assert (check.level, check.fix) == ("warning", "dvc commit shards")
    assert check.finding == "data/tiny/shards is gone from DVC's cache, the checkout still has it"


@pytest.mark.parametrize("which", ["a", "."])
def test_a_part_is_gone_everywhere(checkout, stored, which):
    stored("shards", a=b"one", b=b"two")[which].unlink()
    output = checkout / "data" / "tiny" / "shards"
    (output / "a").unlink()
    (check,) = look(checkout)
    assert check.level == "problem"
    assert check.finding == "data/tiny/shards is gone from DVC's cache, and the checkout has another"
    assert check.fix == f"dvc repro shards if you changed it; else rm -rf {output} && dvc repro shards"


def test_a_remote_is_asked_first(checkout, stored):
    (checkout / ".dvc" / "config").write_text("['remote \"store\"']\n    url = /nowhere\n")
    stored("shards", a=b"one")
    stored("stage1", a=b"two")
    remove_cache(checkout)
    shutil.rmtree(checkout / "data" / "tiny" / "stage1")
    assert {check.fix for check in look(checkout)} == {
        "dvc commit shards",
        "dvc pull stage1, or dvc repro stage1 where the remote lacks it",
    }


def test_a_fresh_clone_has_everything_before_it(checkout, stored):
    for step in ("shards", "stage1"):
        stored(step, a=step.encode())
    remove_cache(checkout)
    shutil.rmtree(checkout / "data")
    checks = look(checkout)
    assert [(check.level, check.fix) for check in checks] == [
        ("warning", "dvc repro shards"),
        ("warning", "dvc repro stage1"),
    ]


def test_outputs_of_another_profile(checkout, stored):
    stored("shards", a=b"one")
    stored("stage1", a=b"two")
    (checkout / "params.yaml").write_text("profile: paper\nseed: 7\n")
    remove_cache(checkout)
    shutil.rmtree(checkout / "data" / "tiny" / "shards")
    assert [check.fix for check in look(checkout)] == [
        "with `profile: tiny` in params.yaml: dvc repro shards",
        "with `profile: tiny` in params.yaml: dvc commit stage1",
    ]


def test_files_in_git_are_never_in_the_cache(checkout, stored):
    stored("evaluate", a=b"one")
    lock = checkout / "dvc.lock"
    report = '{"path": "reports/tiny/evaluate.json", "md5": "0123456789abcdef0123456789abcdef"}'
    lock.write_text(lock.read_text().replace('"outs": [', f'"outs": [{report}, '))
    (checkout / "dvc.yaml").write_text(
        "stages:\n  evaluate:\n    cmd: x\n    outs: ['data/${profile}/evaluate']\n"
        "    metrics:\n      - reports/${profile}/evaluate.json: {cache: false}\n"
    )
    (check,) = look(checkout)
    assert (check.level, check.fix) == ("problem", "dvc repro evaluate")
    written = checkout / "reports" / "tiny" / "evaluate.json"
    written.parent.mkdir(parents=True)
    written.write_text("{}")
    assert [check.level for check in look(checkout)] == ["ok"]
    for command in (["init", "--quiet"], ["add", str(written)]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    written.unlink()
    assert [check.fix for check in look(checkout)] == ["git checkout reports/tiny/evaluate.json"]


def test_deep_does_not_send_to_a_cache_that_lacks_it(checkout, stored):
    stored("shards", a=b"one")["a"].unlink()
    output = checkout / "data" / "tiny" / "shards"
    (output / "a").write_bytes(b"mine")
    checks = [check for check in objects.cache(checkout, deep=True) if check.name == "outputs"]
    assert all("dvc checkout" not in check.fix for check in checks)
    (check,) = look(checkout)
    assert check.finding == "data/tiny/shards is gone from DVC's cache, and the checkout has another"
    assert check.fix == f"dvc repro shards if you changed it; else rm -rf {output} && dvc repro shards"
