"""Packages of a store that is not on this disk: copied for a promotion's time; a fault there decides nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.promotion.worlds import examine
from tinygptv.ground.errors import UserError
from tinygptv.promotion import promote as promoting
from tinygptv.promotion.champion import evaluate_champion
from tinygptv.promotion.promote import promote
from tinygptv.promotion.rollback import rollback
from tinygptv.tracking import packages


@pytest.fixture
def far(monkeypatch):
    """The store's files count as those of a server: they have to be copied."""
    monkeypatch.setattr(packages, "on_this_disk", lambda files: False)


def asking(temporary: Path, seen: list[int]):
    """Ask a package, and count the copies that lie there meanwhile."""

    def ask(exam, package):
        assert package.is_relative_to(temporary)
        seen.append(sum(1 for _ in temporary.rglob("MLmodel")))
        return examine(exam, package)

    return ask


def test_copies_go_with_a_promotion_an_examination_and_a_rollback(world, far, temporary):
    seen: list[int] = []
    assert promote(world.root, world.profile, None, asking(temporary, seen)).promoted
    assert seen == [2, 1]  # the champion, beside the challenger; then the challenger alone
    assert not list(temporary.iterdir())
    assert evaluate_champion(world.root, world.profile, asking(temporary, seen)).version == "3"
    assert not list(temporary.iterdir())
    assert rollback(world.root, world.name).champion == "1"
    assert not list(temporary.iterdir())


def test_copies_go_with_a_promotion_that_fails(world, far, temporary):
    def broken(exam, package):
        raise UserError("no answers")

    with pytest.raises(UserError, match="no answers"):
        promote(world.root, world.profile, None, broken)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOSPC])
@pytest.mark.parametrize("version", ["1", "3"])
def test_a_machine_that_does_not_let_a_package_be_read_decides_nothing(world, monkeypatch, version, number):
    """Neither is the challenger refused for it, nor the champion called damaged."""
    before, package, digest = world.tags("3"), world.package(version), promoting.sha256_tree

    def fail(folder):
        if folder == package:
            raise OSError(number, os.strerror(number), str(folder))
        return digest(folder)

    monkeypatch.setattr(promoting, "sha256_tree", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        promote(world.root, world.profile, None, examine)
    assert world.tags("3") == before
    assert world.alias("champion") == "1"
