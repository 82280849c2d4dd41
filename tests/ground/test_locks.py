"""The lock of a step names its holder, and nobody once it is free."""

from __future__ import annotations

import os

import pytest

from tinygptv.ground.errors import BusyError
from tinygptv.ground.locks import only_one


def test_a_lock_names_its_holder_until_it_is_free(tmp_path):
    lock = tmp_path / "locks" / "x.lock"
    for end in (None, ValueError):
        try:
            with only_one(lock, "x"):
                assert lock.read_text() == str(os.getpid())
                with pytest.raises(BusyError, match=f"x runs already .PID {os.getpid()}"), only_one(lock, "x"):
                    pass
                if end is not None:
                    raise end
        except ValueError:
            pass
        # This process lives on: its number would be told to who comes before the next holder has written its own.
        assert lock.read_text() == ""
