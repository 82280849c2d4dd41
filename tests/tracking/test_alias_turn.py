from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from tinygptv.ground.errors import UserError
from tinygptv.tracking import alias_turn

SHORT = 0.5
NAME = "tinygptv-turn"


@pytest.fixture
def shared(tracking, monkeypatch):
    """The store, taken for a server's."""
    monkeypatch.setattr(alias_turn, "POLL_SECONDS", 0.01)
    return replace(tracking, uri="http://a-server")


def marks(tracking):
    return [model.name for model in tracking.mlflow.search_registered_models() if model.name.endswith(".moving")]


def test_the_second_waits_for_the_first(shared):
    said = []

    def second():
        with alias_turn.alias_turn(shared, NAME):
            said.append("second")

    with alias_turn.alias_turn(shared, NAME):
        assert len(marks(shared)) == 1
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(SHORT)
        said.append("first")
    waiting.join()
    assert said == ["first", "second"]
    assert marks(shared) == []


def test_it_ends_with_an_error_too(shared):
    with pytest.raises(ValueError, match="of the move"), alias_turn.alias_turn(shared, NAME):
        raise ValueError("of the move")
    assert marks(shared) == []


def test_what_a_kill_left_is_taken_over(shared, monkeypatch):
    monkeypatch.setattr(alias_turn, "STALE_SECONDS", SHORT)
    shared.mlflow.create_registered_model(f"{NAME}.left{alias_turn.END}")
    began = time.monotonic()
    with alias_turn.alias_turn(shared, NAME):
        assert time.monotonic() - began > SHORT
    assert marks(shared) == []


def test_who_wakes_up_can_neither_go_on_nor_take_the_mark_of_the_next(shared, monkeypatch):
    monkeypatch.setattr(alias_turn, "STALE_SECONDS", 0.0)
    changes = []
    with alias_turn.alias_turn(shared, NAME) as first:
        first.do(changes.append, "first")
        with alias_turn.alias_turn(shared, NAME) as second:
            (mark,) = marks(shared)
            with pytest.raises(UserError, match=r"another promotion or rollback .* run the command again"):
                first.do(changes.append, "first, late")
            first.give_back()
            assert marks(shared) == [mark]
            second.do(changes.append, "second")
    assert (changes, marks(shared)) == (["first", "second"], [])


def test_who_changed_last_and_lost_the_turn_is_told_at_its_end(shared, monkeypatch):
    monkeypatch.setattr(alias_turn, "STALE_SECONDS", 0.0)
    with pytest.raises(UserError, match="another promotion"), alias_turn.alias_turn(shared, NAME) as first:
        first.do(list)
        with alias_turn.alias_turn(shared, NAME):
            pass
    with alias_turn.alias_turn(shared, NAME), alias_turn.alias_turn(shared, NAME):
        pass  # nothing was changed, so nothing can be wrong


def test_who_works_is_not_taken_for_dead(shared, monkeypatch):
    monkeypatch.setattr(alias_turn, "STALE_SECONDS", SHORT)
    said = []

    def second():
        with alias_turn.alias_turn(shared, NAME) as mine:
            mine.do(said.append, "second")

    with alias_turn.alias_turn(shared, NAME) as first:
        waiting = threading.Thread(target=second)
        waiting.start()
        until = time.monotonic() + 3 * SHORT
        while time.monotonic() < until:
            first.do(time.sleep, SHORT / 10)
        first.do(said.append, "first")
    waiting.join()
    assert said == ["first", "second"]


def test_many_at_once_take_turns(shared):
    inside, most, done = [], [], []

    def one(number):
        with alias_turn.alias_turn(shared, NAME):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)
            done.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), sorted(done), marks(shared)) == (1, list(range(8)), [])


def test_a_model_whose_name_begins_alike_is_another_one(shared):
    with alias_turn.alias_turn(shared, f"{NAME}-smoke"), alias_turn.alias_turn(shared, NAME):
        assert len(marks(shared)) == 2


def test_a_database_in_a_file_gets_no_mark(tracking):
    with alias_turn.alias_turn(tracking, NAME):
        assert marks(tracking) == []
