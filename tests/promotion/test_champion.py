"""The champion asked again."""

from __future__ import annotations

import pytest

from tests.promotion.worlds import GATE, examine
from tinygptv.ground.errors import UserError
from tinygptv.promotion.champion import evaluate_champion


def test_it_reaches_its_limits_and_then_stricter_ones_not(world):
    done = evaluate_champion(world.root, world.profile, examine)
    assert done.decision.passed, done.decision.reasons
    assert "reaches every limit; http://" in done.line()
    run = world.client.get_run(done.url.rpartition("/")[2].partition("?")[0])
    assert (run.info.run_name, run.info.status) == ("evaluate-champion", "FINISHED")
    assert run.data.tags["model.version"] == f"{world.name}/1"
    assert run.data.metrics["easy_vqa"] == pytest.approx(0.8, abs=0.1)
    assert {file.path for file in world.client.list_artifacts(run.info.run_id)} == {"gate.json", "gate.md"}
    world.gate = GATE.model_copy(update={"min_value": {"easy_vqa": 0.99}})
    strict = evaluate_champion(world.root, world.profile, examine)
    assert strict.decision.reasons == ("easy_vqa: " + strict.decision.reasons[0].partition(": ")[2],)
    assert "is below 0.9900" in strict.line()
    assert world.alias("champion") == "1"
    world.client.delete_registered_model_alias(world.name, "champion")
    with pytest.raises(UserError, match="has no champion"):
        evaluate_champion(world.root, world.profile, examine)
