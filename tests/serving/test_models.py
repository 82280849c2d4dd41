"""The served models: bound to an alias, replaced when it moves, freed when nobody asks them any more."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from tests.serving.helpers import altered, pictures, post_all, question, said, talk
from tinygptv.ground.errors import DataError, UserError
from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.models import Models
from tinygptv.serving.requests import RequestError
from tinygptv.tracking.versions import ResolvedVersion

ALIAS, OTHER = "models:/m@champion", "models:/m@challenger"


class Registry:
    """Aliases and packages of a registry in memory."""

    def __init__(self, **aliases):
        self.aliases = aliases
        self.downloads = 0
        self.fault = None

    def find(self, source):
        if self.fault:
            raise UserError(self.fault)
        alias = source.rpartition("@")[2]
        if alias not in self.aliases:
            raise UserError(f"no {alias}")
        return ResolvedVersion(f"models:/m/{self.aliases[alias]}", None)

    def download(self, version, target):
        self.downloads += 1
        (target / version.address.rpartition("/")[2]).mkdir()
        return target / version.address.rpartition("/")[2]


@pytest.fixture
def served(known, monkeypatch):
    def make(registry, *sources, optional=()):
        by_version = {"1": known["one"], "2": known["two"]}
        models = Models(sources, optional=optional, load=lambda folder, device: altered(by_version[folder.name]))
        models._registry = registry
        models.load()
        return models

    return make


def test_an_alias_is_followed_and_the_former_model_goes(served):
    registry = Registry(champion=1)
    models = served(registry, ALIAS)
    former = weakref.ref(models.get(ALIAS))
    assert models.refresh() == (0, "")
    registry.aliases["champion"] = 2
    assert models.refresh() == (1, "")
    assert models.versions() == {ALIAS: "models:/m/2"}
    assert former() is None
    assert registry.downloads == 2


def test_aliases_of_one_version_share_a_model(served):
    registry = Registry(champion=1, challenger=1)
    models = served(registry, ALIAS, OTHER)
    assert models.get(ALIAS) is models.get(OTHER)
    assert registry.downloads == 1
    registry.aliases["challenger"] = 2
    assert models.refresh() == (1, "")
    registry.aliases["champion"] = 2
    assert models.refresh() == (1, "")
    assert registry.downloads == 2


def test_a_faulty_registry_leaves_what_is_served(served):
    registry = Registry(champion=1)
    models = served(registry, ALIAS)
    registry.fault = "down"
    assert models.refresh() == (0, "down")
    assert models.versions() == {ALIAS: "models:/m/1"}


def test_what_is_missing_is_named_and_the_optional_may_come_later(served):
    registry = Registry(champion=1)
    with pytest.raises(UserError, match="no challenger"):
        served(registry, ALIAS, OTHER)
    models = served(registry, ALIAS, OTHER, optional=[ALIAS, OTHER])
    with pytest.raises(RequestError, match="not served"):
        models.get(OTHER)
    registry.aliases["challenger"] = 2
    assert models.refresh() == (1, "")
    assert models.get(OTHER).version == "models:/m/2"
    with pytest.raises(UserError, match="none of"):
        served(Registry(), ALIAS, optional=[ALIAS])


def test_what_may_be_missing_may_not_be_damaged(served, known):
    registry = Registry(champion=1, challenger=2)
    models = served(registry, ALIAS, OTHER, optional=[ALIAS, OTHER])
    whole = models._load

    def load(folder, device):
        if folder.name == "2":
            raise DataError("weights were changed")
        return whole(folder, device)

    damaged = Models([ALIAS, OTHER], optional=[ALIAS, OTHER], load=load)
    damaged._registry = registry
    with pytest.raises(DataError, match="weights were changed"):
        damaged.load()
    later = Models([ALIAS, OTHER], optional=[ALIAS, OTHER], load=load)
    later._registry = Registry(champion=1)
    later.load()
    later._registry.aliases["challenger"] = 2
    assert later.refresh() == (0, "weights were changed")
    assert later.versions() == {ALIAS: "models:/m/1"}


def test_an_alias_that_is_refused_keeps_its_model_and_holds_no_other_up(served):
    registry = Registry(champion=1, challenger=1)
    models = served(registry, OTHER, ALIAS)
    found = registry.find
    registry.aliases |= {"champion": 2, "challenger": 2}

    def find(source):
        if source == OTHER:
            raise UserError("its gate did not pass")
        return found(source)

    registry.find = find
    assert models.refresh() == (1, "its gate did not pass")
    assert models.versions() == {OTHER: "models:/m/1", ALIAS: "models:/m/2"}


def test_what_may_be_missing_is_left_out_where_it_is_refused_and_that_is_said(served, caplog):
    registry = Registry(champion=1)
    models = served(registry, ALIAS, OTHER, optional=[ALIAS, OTHER])
    assert models.versions() == {ALIAS: "models:/m/1"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{OTHER} is not served: no challenger"
    ]


def test_a_switch_under_load_drops_no_question_and_every_answer_is_one_models(served, known):
    registry = Registry(champion=1)
    models = served(registry, ALIAS)
    images = pictures(4)
    bodies = [question(ALIAS, images[i % 4], "why") for i in range(30)]

    async def act(client, engine):
        first = asyncio.create_task(post_all(client, bodies))
        await asyncio.sleep(0.02)
        registry.aliases["champion"] = 2
        responses = await first
        while "models:/m/2" not in engine.models.versions().values():
            responses += await post_all(client, bodies[:4])
        return responses + await post_all(client, bodies[:4])

    responses = talk(models, act, ServiceLimits(poll_seconds=0.05, max_batch=4))
    expected = {f"models:/m/{v}": known[n].answer(images, ["why"] * 4) for v, n in ((1, "one"), (2, "two"))}
    assert expected["models:/m/1"] != expected["models:/m/2"]
    seen = [response.json()["model"] for response in responses]
    assert set(seen) == {"models:/m/1", "models:/m/2"}
    for place, response in enumerate(responses):
        image = place % 4 if place < 30 else (place - 30) % 4
        assert said(response) == expected[seen[place]][image]
