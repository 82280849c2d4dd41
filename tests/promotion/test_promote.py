"""Promotions in a real registry: who becomes champion, every attack of drill 32, and the aliases at every moment."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest

from tests.promotion.worlds import World, earlier_steps, examine
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import sha256_tree
from tinygptv.promotion.aliases import only_promotion
from tinygptv.promotion.promote import promote

drill = pytest.mark.drill
AS_REGISTERED = "easy_vqa as registered: the version carries "


def reasons(world: World, version: str | None = None, ask=examine) -> tuple[str, ...]:
    """Try to promote; the reasons of the refusal, after which the aliases must be as they were."""
    before = {alias: world.alias(alias) for alias in ("challenger", "champion", "previous")}
    done = promote(world.root, world.profile, version, ask)
    assert done.refused and not done.promoted
    assert {alias: world.alias(alias) for alias in before} == before
    tags = world.tags(done.version)
    assert (tags["gate.passed"], tags["gate.reasons"]) == ("false", "; ".join(done.decision.reasons))
    return done.decision.reasons


def test_a_better_model_becomes_champion_and_says_why(world):
    done = promote(world.root, world.profile, None, examine)
    assert done.promoted, done.decision.reasons
    assert done.line() == f"{world.name} version 3 is champion; version 1 is previous"
    assert (world.alias("champion"), world.alias("previous"), world.alias("challenger")) == ("3", "1", "3")
    found = world.client.get_model_version(world.name, "3")
    assert (found.tags["gate.passed"], found.tags["gate.champion"]) == ("true", "1")
    assert {"promoted.by", "promoted.at"} <= found.tags.keys()
    assert found.description.startswith("## Decision of the gate\n\n| check | value | limit | passed |")
    assert "| easy_vqa against champion |" in found.description
    assert "| passed | champion | before stage 1 |" in found.description
    (reached,) = (row for row in done.decision.rows if row.check == "easy_vqa")
    assert reached.champion < 0.9 < reached.value and reached.start is None  # its tags were written by hand
    assert found.description.count("Gate: passed. Champion: by ") == 1 and "Gate: refused" not in found.description
    folder = next(parent for parent in world.package("3").parents if (parent / "MLmodel").is_file()) / "gate"
    stored = json.loads((folder / "gate.json").read_bytes())
    assert (stored["passed"], stored["champion"], len(stored["questions_sha256"])) == (True, "1", 64)
    assert "easy_vqa against champion" in (folder / "gate.md").read_text()
    again = promote(world.root, world.profile, None, examine)
    assert (again.decision, again.line()) == (None, f"{world.name} version 3 is the champion already")


def test_an_experiment_becomes_champion_when_it_is_told_to_by_its_number(world):
    before = {alias: world.alias(alias) for alias in ("challenger", "champion", "previous")}
    tried = world.register(99, experiment={"dvc.exp.name": "wide-lora"})
    assert {alias: world.alias(alias) for alias in before} == before
    assert promote(world.root, world.profile, None, examine).version == before["challenger"]
    done = promote(world.root, world.profile, tried.version, examine)
    assert done.promoted, done.decision.reasons
    found = world.client.get_model_version(world.name, tried.version)
    assert (world.alias("champion"), world.alias("challenger")) == (tried.version, before["challenger"])
    assert (found.tags["dvc.exp.name"], found.tags["gate.passed"]) == ("wide-lora", "true")
    assert found.description.startswith("## Decision of the gate")
    assert "Gate: passed. Champion: by " in found.description


@drill(32, "a worse model: refused, with the table")
def test_a_worse_metric(world):
    (reason,) = reasons(world, "2")
    assert reason.startswith("easy_vqa against champion: difference -0.")
    description = world.client.get_model_version(world.name, "2").description
    assert "| easy_vqa against champion |" in description and "| NO |" in description
    assert "Gate: refused: easy_vqa against champion" in description


@drill(32, "a metric that is not a number: refused")
@pytest.mark.parametrize("value", [float("nan"), pytest.param("1.0", marks=pytest.mark.drills)])
def test_a_metric_that_is_no_number(world, value):
    world.tell_the_truth("3", 95, value=value)
    (reason,) = reasons(world)
    assert reason == f"{AS_REGISTERED}{value}, which is not a number"


@pytest.mark.drills
@drill(32, "a metric of the train split: refused, as it is not what the test split gives")
def test_a_metric_from_the_train_split(world):
    world.tell_the_truth("2", 60, value=1.0, n=4000)
    told, compared = reasons(world, "2")
    assert told.startswith(f"{AS_REGISTERED}1.0000, measured were 0.6")
    assert compared.startswith("easy_vqa against champion: ")


@pytest.mark.drills
@drill(32, "a test split with images of the train split: refused")
def test_a_test_set_that_was_trained_with(world):
    shards = world.root / "data" / "tiny" / "shards" / "easy_vqa"
    write_shards(shards, "test", read_samples([shards / "train-000000.tar"]), images_per_shard=16)
    version = world.refused(99, pipeline=earlier_steps(world.tracking, shards.parent))
    assert reasons(world, version) == ("test split: easy_vqa: 16 images were trained with",)


@pytest.mark.drills
@drill(32, "a smaller test set: refused")
def test_a_smaller_test_set(world):
    shards = world.root / "data" / "tiny" / "shards" / "easy_vqa"
    fewer = list(read_samples(sorted(shards.glob("test-*.tar"))))[:-1]
    (shards / "test-000000.tar").unlink()
    write_shards(shards, "test", fewer, images_per_shard=16)
    version = world.refused(99, pipeline=earlier_steps(world.tracking, shards.parent))
    (reason,) = reasons(world, version)
    assert reason.startswith("easy_vqa samples: ") and ", the champion had " in reason


@pytest.mark.drills
@drill(32, "the test set of this checkout is another one: that of the lineage is asked, from DVC's cache")
def test_a_checkout_that_has_moved_on(world):
    folder = world.root / "data" / "tiny" / "shards" / "easy_vqa"
    shutil.copy(*(folder / f"{name}-000000.tar" for name in ("val", "test")))
    done = promote(world.root, world.profile, None, examine)
    assert done.promoted, done.decision.reasons


@pytest.mark.drills
@drill(32, "answers to a part of the questions: refused")
def test_answers_to_a_part_of_the_questions(world):
    def part(exam, package):
        found = examine(exam, package)
        mine = package == world.package("3")
        return replace(found, given=found.given[:-1]) if mine else found

    (reason,) = reasons(world, ask=part)
    assert reason.startswith("questions: the challenger answered ")


@drill(32, "missing lineage: refused before anything is measured")
def test_missing_lineage(world):
    world.client.delete_run(world.pipeline.runs["stage2"])
    (reason,) = reasons(world, ask=lambda *_: pytest.fail("asked"))
    assert reason == "lineage: broken at stage2; stage2: no run made this output"


@drill(32, "edited tags: refused")
@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        pytest.param("package.sha256", "0" * 64, "package: its sha256 is ", marks=pytest.mark.drills),
        ("metric.easy_vqa", "0.999", AS_REGISTERED),
        pytest.param("record", "{", f"{AS_REGISTERED}None", marks=pytest.mark.drills),
        pytest.param("record", '{"report": []}', f"{AS_REGISTERED}None", marks=pytest.mark.drills),
        pytest.param("report", "{", f"{AS_REGISTERED}None", marks=pytest.mark.drills),
        ("record", json.dumps({"outputs": {"stage1": "f" * 32}}), "lineage: broken at stage1; "),
        ("dvc.stage1", "f" * 32 + ".dir", "lineage: broken at stage1; "),
        pytest.param("dvc.md5", "f" * 32 + ".dir", "lineage: broken at ", marks=pytest.mark.drills),
        pytest.param("gate.passed", None, "lineage: broken at version; version: it has no", marks=pytest.mark.drills),
    ],
)
def test_an_edited_tag(world, tag, value, reason):
    if value is None:
        world.client.delete_model_version_tag(world.name, "3", tag)
    else:
        world.tag("3", tag, value)
    found = reasons(world)
    assert any(line.startswith(reason) for line in found), found


@drill(32, "a package that was exchanged after it was registered: refused")
def test_an_exchanged_package(world):
    (world.package("2") / "config.json").write_text('{"right": 100}')
    (reason,) = reasons(world, "2")
    assert reason.startswith("package: its sha256 is ")
    world.tag("2", "package.sha256", sha256_tree(world.package("2")))
    assert reasons(world, "2") == ("package: its files are not those that its run of quantize made",)


@pytest.mark.drills
@drill(32, "gate.passed written by hand: it is not read")
def test_a_passed_gate_by_hand_passes_nothing(world):
    world.tag("2", "gate.passed", "true")
    assert reasons(world, "2")


@pytest.mark.drills
@drill(32, "a damaged champion: named")
def test_a_damaged_champion_is_named(world):
    (world.package("1") / "config.json").write_text("{}")
    (reason,) = reasons(world)
    assert reason.startswith("champion: version 1 is damaged: its sha256 is ")
    assert reason.endswith("delete its alias to start afresh")


def test_what_a_user_can_mend_is_one_line(world):
    with pytest.raises(UserError, match=f"{world.name} has no version @nobody"):
        promote(world.root, world.profile, "@nobody", examine)
    with pytest.raises(UserError, match=f"{world.name} has no version 7 in sqlite"):
        promote(world.root, world.profile, "7", examine)
    world.tag("3", "profile", "smoke")
    with pytest.raises(UserError, match="is of the profile smoke; add --profile smoke"):
        promote(world.root, world.profile, None, examine)
    with (
        only_promotion(world.root, world.name),
        pytest.raises(UserError, match=rf"a promotion of {world.name} runs already \(PID {os.getpid()}\)"),
    ):
        promote(world.root, world.profile, None, examine)


@drill(32, "the champion changes while a challenger is measured: nothing moves")
def test_compare_and_set(world):
    def meanwhile(exam, package):
        world.client.set_registered_model_alias(world.name, "champion", "2")
        return examine(exam, package)

    with pytest.raises(UserError, match="changed meanwhile, from version 1 to version 2; run the command again"):
        promote(world.root, world.profile, None, meanwhile)
    assert (world.alias("champion"), world.alias("previous")) == ("2", None)


@drill(32, "a kill at each move of an alias: champion names a complete version, the next try goes through", trials=2)
@pytest.mark.parametrize("fatal", [pytest.param("previous", marks=pytest.mark.drills), "champion"])
def test_a_kill_between_the_moves(world, monkeypatch, fatal):
    move = type(world.client).set_registered_model_alias
    seen = []

    def die(client, model, alias, version):
        if alias == fatal:
            raise KeyboardInterrupt
        move(client, model, alias, version)
        seen.append((alias, version))

    with monkeypatch.context() as patch:
        patch.setattr(type(world.client), "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            promote(world.root, world.profile, None, examine)
    assert seen == ([] if fatal == "previous" else [("previous", "1")])  # champion moves last
    assert world.alias("champion") == "1"
    done = promote(world.root, world.profile, None, examine)
    assert done.promoted, done.decision.reasons
    assert (world.alias("champion"), world.alias("previous")) == ("3", "1")


@pytest.mark.drills
@drill(32, "what an alias gets is complete before it moves")
def test_what_an_alias_gets_is_complete_before_it_moves(world, monkeypatch):
    move, seen = type(world.client).set_registered_model_alias, []

    def watch(client, model, alias, version):
        tags = world.tags(version)
        seen.append((alias, version, tags["gate.passed"], "promoted.at" in tags))
        move(client, model, alias, version)

    monkeypatch.setattr(type(world.client), "set_registered_model_alias", watch)
    world.register(99)
    assert seen == [
        ("challenger", "4", "false", False),
        ("previous", "1", "true", True),
        ("champion", "4", "true", True),
    ]
