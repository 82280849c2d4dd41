"""One command back, and what it leaves behind."""

from __future__ import annotations

import pytest

from tests.promotion.worlds import examine
from tinygptv.ground.errors import UserError
from tinygptv.promotion.promote import promote
from tinygptv.promotion.rollback import rollback


@pytest.mark.drill(32, "rollback: one command, the former champion is champion again")
def test_back_and_not_forth_again(world):
    promote(world.root, world.profile, None, examine)
    done = rollback(world.root, world.name)
    assert done.as_json() == {"name": world.name, "champion": "1", "rolled_back": "3", "previous": None}
    assert done.line() == f"{world.name} version 1 is champion again, not version 3"
    assert (world.alias("champion"), world.alias("previous"), world.alias("challenger")) == ("1", None, "3")
    assert {"rolled_back.at", "rolled_back.by"} <= world.tags("3").keys()
    with pytest.raises(UserError, match="has no previous champion"):
        rollback(world.root, world.name)
    (reason,) = promote(world.root, world.profile, None, examine).decision.reasons
    assert reason.startswith("rollback: rolled back at 20")
    assert world.alias("champion") == "1"
    done = promote(world.root, world.profile, "3", examine)  # asked for by its number
    assert done.promoted, done.decision.reasons
    assert (world.alias("champion"), world.alias("previous")) == ("3", "1")
    assert "rolled_back.at" not in world.tags("3")


@pytest.mark.drills
@pytest.mark.drill(32, "rollback twice: one champion further back each time")
def test_further_back(world):
    promote(world.root, world.profile, None, examine)
    world.register(100)
    assert (world.alias("champion"), world.alias("previous")) == ("4", "3")
    done = rollback(world.root, world.name)
    assert done.line() == f"{world.name} version 3 is champion again, not version 4; before it was version 1"
    assert (world.alias("champion"), world.alias("previous")) == ("3", "1")
    assert rollback(world.root, world.name).previous is None
    assert (world.alias("champion"), world.alias("previous")) == ("1", None)


def test_only_what_is_whole_and_there_is_restored(world):
    world.client.set_registered_model_alias(world.name, "previous", "2")
    world.tag("2", "promoted.over", "77")
    package = world.package("2") / "model.safetensors"
    whole = package.read_text()
    package.write_text("other")
    with pytest.raises(UserError, match="version 2 cannot be champion again: its sha256 is"):
        rollback(world.root, world.name)
    assert (world.alias("champion"), world.alias("previous")) == ("1", "2")
    package.write_text(whole)
    assert rollback(world.root, world.name).previous is None  # version 77 does not exist
    assert (world.alias("champion"), world.alias("previous")) == ("2", None)
