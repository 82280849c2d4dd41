from __future__ import annotations

import pytest

NAME = "DVC's remote"
REMOTE = "['remote \"store\"']\n    url = /somewhere/%d\n"


def test_no_remote(checkout, found):
    assert (found(checkout, NAME).level, found(checkout, NAME).finding) == ("ok", "none is set")
    (checkout / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    assert found(checkout, NAME).finding == "none is set"


@pytest.mark.parametrize("value", ["", "    verify = false\n"])
def test_a_remote_that_is_not_verified(checkout, found, value):
    (checkout / ".dvc" / "config").write_text(f"[core]\n    remote = store\n{REMOTE}{value}")
    check = found(checkout, NAME)
    assert (check.level, check.fix) == ("warning", "dvc remote modify store verify true")
    assert "store is not verified" in check.finding


@pytest.mark.parametrize("value", ["true", "True"])
def test_a_verified_remote(checkout, found, value):
    (checkout / ".dvc" / "config").write_text(f"{REMOTE}    verify = {value}\n")
    assert (found(checkout, NAME).level, found(checkout, NAME).finding) == ("ok", "store is verified at each pull")


def test_options_of_one_clone_count(checkout, found):
    (checkout / ".dvc" / "config").write_text(REMOTE)
    (checkout / ".dvc" / "config.local").write_text("['remote \"store\"']\n    verify = true\n")
    assert found(checkout, NAME).level == "ok"


def test_a_remote_of_one_clone(checkout, found):
    (checkout / ".dvc" / "config.local").write_text(REMOTE)
    assert found(checkout, NAME).fix == "dvc remote modify --local store verify true"


@pytest.mark.parametrize(("name", "fix"), [("config", "git checkout"), ("config.local", "rm ")])
@pytest.mark.parametrize("content", [b"url = 1\n", b"[core\n", b"\xff\xfe"])
def test_a_damaged_configuration(checkout, found, name, fix, content):
    path = checkout / ".dvc" / name
    path.write_bytes(content)
    check = found(checkout, NAME)
    assert check.level == "problem"
    assert str(path) in check.finding
    assert check.fix.startswith(fix)
