"""A promotion and a rollback, killed before and after every change of the registry, and what the next command does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.promotion.worlds import World, examine
from tinygptv.ground.errors import UserError
from tinygptv.promotion import aliases
from tinygptv.promotion.promote import promote
from tinygptv.promotion.rollback import rollback
from tinygptv.tracking import alias_turn
from tinygptv.tracking.registry import model_tags

CHANGES = ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag")
CHANGES += ("delete_model_version_tag", "set_registered_model_tag", "delete_registered_model_tag")


class Killed(BaseException):
    """As SIGKILL: nobody says anything more."""


@contextmanager
def at_change(world: World, number: int, after: bool, act: Callable[[], None]) -> Iterator[list[str]]:
    """Do something before, or after, the change of that number; gives the names of all changes."""
    client, seen = type(world.client), []

    def watched(name: str, original: Any) -> Any:
        def change(self: Any, *arguments: Any, **named: Any) -> Any:
            seen.append(name)
            mine = len(seen) == number
            if mine and not after:
                act()
            done = original(self, *arguments, **named)
            if mine and after:
                act()
            return done

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(client, name, watched(name, getattr(client, name)))
        yield seen


def kill() -> None:
    raise Killed


def state(world: World) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Champion, previous, and which versions were rolled back."""
    back = tuple(version for version in ("1", "2", "3") if "rolled_back.at" in world.tags(version))
    return world.alias("champion"), world.alias("previous"), back


def put_back(world: World, champion: str, previous: str | None) -> None:
    """3 was promoted over 1, or not yet."""
    world.client.set_registered_model_alias(world.name, "champion", champion)
    if previous is None:
        world.client.delete_registered_model_alias(world.name, "previous")
    else:
        world.client.set_registered_model_alias(world.name, "previous", previous)
    for tag in model_tags(world.tracking, world.name):
        world.client.delete_registered_model_tag(world.name, tag)
    for version, key in itertools.product("123", ("rolled_back.at", "rolled_back.by")):
        if key in world.tags(version):
            world.client.delete_model_version_tag(world.name, version, key)


def move(world: World) -> None:
    aliases.make_champion(world.tracking, world.name, "3", "2")


def back(world: World) -> None:
    rollback(world.root, world.name)


@pytest.mark.drill(32, "a kill before and after every change that a promotion or a rollback makes; then either of them")
@pytest.mark.parametrize(
    ("killed", "then"),
    [
        pytest.param("promotion", "the same", marks=pytest.mark.drills),
        ("promotion", "a rollback"),
        pytest.param("rollback", "the same", marks=pytest.mark.drills),
    ],
)
def test_a_kill_at_every_change(world, killed, then):
    """Version 2 was promoted over 1, then 3 over 2."""
    world.tag("2", "promoted.over", "1")
    world.tag("3", "promoted.over", "2")
    begin, first = {"promotion": (("2", "1"), move), "rollback": (("3", "2"), back)}[killed]
    whole = {"promotion": ("3", "2", ()), "rollback": ("2", "1", ("3",))}[killed]
    put_back(world, *begin)
    with at_change(world, 0, False, kill) as changes:
        first(world)
    count, ends = len(changes), []
    assert state(world) == whole and count > 5
    for number, after in itertools.product(range(1, count + 1), (False, True)):
        put_back(world, *begin)
        with at_change(world, number, after, kill), pytest.raises(Killed):
            first(world)
        assert world.alias("champion") in (begin[0], whole[0])
        started = (number, after) > (1, False)
        if (killed, then) == ("promotion", "the same"):
            done = promote(world.root, world.profile, "3", examine)
            assert done.promoted or (number, after) == (count, True), done.line()
            assert state(world)[:2] == ("3", "2") and not done.refused
        elif killed == "promotion":
            done = rollback(world.root, world.name)
            assert (done.champion, done.rolled_back) == (("2", "3") if started else ("1", "2"))
        elif (number, after) != (count, True):  # done, only nobody heard it
            done = rollback(world.root, world.name)
            assert (done.champion, done.rolled_back, done.previous) == ("2", "3", "1")
            assert state(world) == whole
        ends.append(state(world))
    print(f"{killed}, then {then}: {len(ends)} kills, {len(set(ends))} ends")


def test_a_kill_loses_no_way_back(world):
    """Between ``previous`` and ``champion``: version 1, which was previous, is still the way back."""
    promote(world.root, world.profile, None, examine)  # 3 over 1
    world.tag("2", "rolled_back.at", "")
    setter = type(world.client).set_registered_model_alias

    def fatal(client, model, alias, version):
        if alias == "champion":
            raise Killed
        setter(client, model, alias, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.client), "set_registered_model_alias", fatal)
        with pytest.raises(Killed):
            aliases.make_champion(world.tracking, world.name, "2", "3")
    assert world.alias("champion") == "3"
    assert rollback(world.root, world.name).champion == "3"
    assert rollback(world.root, world.name).champion == "1"


def test_what_cannot_be_finished_is_undone(world):
    """The version was deleted after the kill, or somebody moved the alias by hand."""
    for hand in (False, True):
        version = world.refused(60)
        world.client.set_registered_model_alias(world.name, "previous", "2")
        world.tag("2", "promoted.over", "none")
        with at_change(world, 3, False, kill), pytest.raises(Killed):
            aliases.make_champion(world.tracking, world.name, version, "1")
        if hand:
            world.client.set_registered_model_alias(world.name, "champion", "3")
        else:
            world.client.delete_model_version(world.name, version)
        with aliases.moves(world.tracking, world.name) as (_, left):
            assert left is None
        assert state(world)[:2] == (("3", "1") if hand else ("1", "2"))


@pytest.fixture
def shared(world, monkeypatch):
    """The store, taken for a server's, with a turn that is lost after a second."""
    monkeypatch.setattr(alias_turn, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(alias_turn, "STALE_SECONDS", 0.3)
    return replace(world.tracking, uri="http://a-server")


@pytest.mark.drills
@pytest.mark.drill(32, "a promotion sleeps at each change until another one took its turn, then wakes up")
def test_a_stalled_one_wakes_up(world, shared):
    put_back(world, "1", None)
    world.tag("3", "promoted.over", "none")
    world.tag("2", "promoted.over", "1")

    def others() -> None:
        """Another checkout: finishes what it finds, goes on from there, and sees its own move whole."""
        with aliases.moves(shared, world.name):
            pass
        champion = world.alias("champion")
        if champion != "2":
            aliases.make_champion(shared, world.name, "2", champion)
        ends.append(state(world)[:2])

    with at_change(world, 0, False, kill) as changes:
        aliases.make_champion(shared, world.name, "3", "1")
    for number, after in itertools.product(range(1, len(changes) + 1), (False, True)):
        put_back(world, "1", None)
        ends: list[Any] = []
        with at_change(world, number, after, others), pytest.raises(UserError, match="took over"):
            aliases.make_champion(shared, world.name, "3", "1")
        assert [state(world)[:2]] == ends, (number, after)
        assert [found.name for found in world.client.search_registered_models()] == [world.name]
