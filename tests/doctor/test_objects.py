from __future__ import annotations

import pytest

from tinygptv.doctor import Finding, objects


def look(checkout, deep: bool = False) -> list[Finding]:
    return list(objects.cache(checkout, deep=deep))


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_sound_objects(checkout, stored):
    assert [check.level for check in look(checkout)] == ["ok"]
    stored("shards", a=b"one", b=b"two")
    stored("stage1", a=b"one")
    (check,) = look(checkout)
    assert (check.level, check.finding) == ("ok", "4 objects are what their names say")
    assert [check.level for check in look(checkout, deep=True)] == ["ok", "ok"]


@pytest.mark.drill(30, "a cache object flipped: doctor names it and the command")
@pytest.mark.parametrize("which", ["a", "."])
def test_a_flipped_object_beside_a_sound_output(checkout, stored, which):
    path = stored("shards", a=b"one", b=b"two")[which]
    flip(path)
    (check,) = look(checkout)
    assert check.level == "problem"
    assert str(path) in check.finding
    assert "data/tiny/shards" in check.finding
    assert check.fix == f"rm -f {path} && dvc commit shards"


def test_a_flipped_object_that_was_checked_out(checkout, stored):
    path = stored("shards", a=b"one", b=b"two")["a"]
    output = checkout / "data" / "tiny" / "shards"
    flip(path)
    flip(output / "a")
    (check,) = look(checkout)
    assert check.fix == f"rm -rf {path} {output} && dvc repro shards"


def test_an_object_that_is_not_there_is_no_damage(checkout, stored):
    stored("shards", a=b"one")["a"].unlink()
    assert [check.level for check in look(checkout)] == ["ok"]


def test_large_objects_are_left_to_deep(checkout, stored, monkeypatch):
    path = stored("shards", a=b"one", b=b"two" * 1000)["b"]
    flip(path)
    monkeypatch.setattr(objects, "QUICK_BYTES", 2000)
    (check,) = look(checkout)
    assert check.finding.startswith("2 objects are what their names say; 1 larger ones were not read")
    assert "--deep" in check.finding
    assert look(checkout, deep=True)[0].level == "problem"


def test_deep_reads_what_no_lock_names_and_the_workspace(checkout, stored):
    stored("shards", a=b"one")
    orphan = checkout / ".dvc" / "cache" / "files" / "md5" / "ab" / "c"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"whatever")
    output = checkout / "data" / "tiny" / "shards"
    flip(output / "a")
    assert [check.level for check in look(checkout)] == ["ok"]
    cache, workspace = look(checkout, deep=True)
    assert (cache.level, cache.fix) == ("problem", f"rm -f {orphan}")
    assert workspace.level == "warning"
    assert f"dvc checkout {output}" in workspace.fix
