from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from tinygptv.tracking import turn

SHORT = 0.5
NAME = "tinygptv-turn"


@pytest.fixture
def shared(tracking, monkeypatch):
    """The store, taken for a server's."""
    monkeypatch.setattr(turn, "POLL_SECONDS", 0.01)
    return replace(tracking, uri="http://a-server")


def marks(tracking):
    return [model.name for model in tracking.mlflow.search_registered_models() if model.name.endswith(".moving")]


def test_the_second_waits_for_the_first(shared):
    said = []

    def second():
        with turn.turn(shared, NAME):
            said.append("second")

    with turn.turn(shared, NAME):
        assert marks(shared) == [f"{NAME}.moving"]
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(SHORT)
        said.append("first")
    waiting.join()
    assert said == ["first", "second"]
    assert marks(shared) == []


def test_it_ends_with_an_error_too(shared):
    with pytest.raises(ValueError, match="of the move"), turn.turn(shared, NAME):
        raise ValueError("of the move")
    assert marks(shared) == []


def test_what_a_kill_left_is_taken_over(shared, monkeypatch):
    monkeypatch.setattr(turn, "STALE_SECONDS", SHORT)
    shared.mlflow.create_registered_model(f"{NAME}.moving")
    began = time.monotonic()
    with turn.turn(shared, NAME):
        assert time.monotonic() - began > SHORT
    assert marks(shared) == []


def test_a_database_in_a_file_gets_no_mark(tracking):
    with turn.turn(tracking, NAME):
        assert marks(tracking) == []
