"""Folders for the time being: gone afterwards, and those of killed processes the next time."""

from __future__ import annotations

import os

from tinygptv.ground.folders import STATE
from tinygptv.own_data.scratch import BEGIN, scratch_folder


def test_a_folder_is_gone_afterwards_and_so_are_those_that_were_left(tmp_path):
    state = tmp_path / STATE
    for name in (f"{BEGIN}999999999-left", f"{BEGIN}{os.getppid()}-busy", "cats"):
        (state / name).mkdir(parents=True)
        (state / name / "file").touch()
    with scratch_folder(tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == state
    assert sorted(path.name for path in state.iterdir()) == sorted(["cats", f"{BEGIN}{os.getppid()}-busy"])
