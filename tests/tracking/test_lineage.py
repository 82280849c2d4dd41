"""The walk, in a real store: the whole chain, every way to break it, and which run is taken of several."""

import json

import pytest

from tests.tracking.pipelines import COMMIT, ENVIRONMENT, GRAPH, NEW_TAGS, some_md5
from tinygptv.ground.names import STEPS
from tinygptv.tracking import facts
from tinygptv.tracking.chain import Start
from tinygptv.tracking.lineage import walk

BACKWARDS = tuple(reversed(STEPS))


def chain_of(made, version="1", graph=GRAPH, running=None):
    return walk(made.tracking.mlflow, graph, Start(subject="x", version=(made.name, version)), running)


def links_of(chain):
    return {link.step: link for link in chain.links}


def test_the_whole_chain_of_a_version(made):
    chain = chain_of(made)
    assert chain.broken == ()
    assert tuple(link.step for link in chain.links) == BACKWARDS
    version = chain.version
    assert (version.name, version.version, version.aliases) == (made.name, "1", ("champion",))
    assert (version.promoted_by, version.promoted_at) == ("someone", "2026-11-21T16:25:34+00:00")
    assert (version.gate_passed, version.gate_reasons, version.metrics) == (True, "none", {"easy_vqa": "0.99"})
    for link in chain.links:
        assert (link.run_id, link.md5) == (made.runs[link.step], made.md5.get(link.step))
        assert (link.git_sha, link.git_dirty, link.user) == (COMMIT, False, "someone")
        assert link.config_sha256 == facts.digest({"step": link.step})
        assert (link.environment, link.environment_sha256) == (ENVIRONMENT, facts.digest(ENVIRONMENT))
        assert link.flow_run_id == made.flow
        assert link.inputs == {name: made.md5[name] for name in GRAPH[link.step]}
        assert link.finished_at == facts.iso(made.start / 1000 + 10 * STEPS.index(link.step) + 5)
    shown = json.loads(json.dumps(chain.as_json()))
    assert (shown["complete"], shown["broken"], len(shown["links"])) == (True, [], len(STEPS))


def test_a_record_of_older_code_is_whole_and_what_it_lacks_is_absent(made):
    for step in STEPS:
        for tag in NEW_TAGS:
            made.forget(step, tag)
    old = made.version(made.runs["register"], **{"promoted.by": None, "promoted.at": None})
    chain = chain_of(made, old)
    assert chain.broken == ()
    assert (chain.version.promoted_by, chain.version.promoted_at) == (None, None)
    assert {link.step for link in chain.links} == set(STEPS)
    assert {(link.config_sha256, link.environment, link.user) for link in chain.links} == {(None, None, None)}


def without_run(made):
    made.tracking.mlflow.delete_run(made.runs["stage2"])


def without_digest(made):
    made.forget("stage3", "dvc.input.features")


def without_digest_in_older_code(made):
    made.forget("stage3", "dvc.input.features")
    made.forget("stage3", facts.INPUTS_TAG)


def unfinished(made):
    made.tracking.mlflow.set_terminated(made.runs["shards"], "KILLED")


def without_commit(made):
    made.forget("evaluate", "git.sha")


def changed_environment(made):
    made.tracking.mlflow.set_tag(made.runs["stage1"], facts.ENVIRONMENT_TAG, '{"python":"2.7"}')


def damaged_environment(made):
    made.tracking.mlflow.set_tag(made.runs["stage1"], facts.ENVIRONMENT_TAG, '{"python"')


def deleted_registration(made):
    made.tracking.mlflow.delete_run(made.runs["register"])


def version_without_tags(made):
    for tag in made.tracking.mlflow.get_model_version(made.name, "1").tags:
        made.tracking.mlflow.delete_model_version_tag(made.name, "1", tag)


def version_without_figures(made):
    made.tracking.mlflow.delete_model_version_tag(made.name, "1", "metric.easy_vqa")


@pytest.mark.parametrize(
    ("damage", "place", "problem"),
    [
        (without_run, "stage2", "no run made this output"),
        (without_digest, "stage3", "its run names no digest of the features that it read"),
        (without_digest_in_older_code, "stage3", "its run names no digest of the features that it read"),
        (unfinished, "shards", "its run did not finish: KILLED"),
        (without_commit, "evaluate", "its run names no commit"),
        (changed_environment, "stage1", "its environment does not have the digest beside it"),
        (damaged_environment, "stage1", "its environment is not JSON"),
        (deleted_registration, "register", "its run was deleted"),
        (
            version_without_tags,
            "version",
            "it has no tag dvc.md5, git.sha, package.sha256, gate.passed, gate.reasons, metric.*",
        ),
        (version_without_figures, "version", "it has no tag metric.*"),
    ],
)
def test_a_broken_link_is_told_in_its_place_and_the_rest_of_the_chain_stays(made, damage, place, problem):
    damage(made)
    chain = chain_of(made)
    assert chain.broken == ((place, problem),)
    assert tuple(link.step for link in chain.links) == BACKWARDS
    assert {link.step: link.md5 for link in chain.links if link.md5} == made.md5
    assert not chain.as_json()["complete"]


def test_a_version_that_somebody_registered_by_hand(made):
    bare = dict.fromkeys(made.tracking.mlflow.get_model_version(made.name, "1").tags)
    chain = chain_of(made, made.version(None, **bare))
    assert dict(chain.broken)["register"] == "no run registered this version"
    assert links_of(chain)["quantize"].problems == ("no digest of its output is on record",)
    assert tuple(link.step for link in chain.links) == BACKWARDS
    assert {link.run_id for link in chain.links} == {None}


def test_a_version_whose_tags_are_all_that_is_known(made):
    run_id = "f" * 32
    for step in STEPS:
        made.tracking.mlflow.delete_run(made.runs[step])
    chain = chain_of(made, made.version(run_id))
    assert dict(chain.broken)["register"] == f"its run {run_id} does not exist"
    for step, link in links_of(chain).items():
        if step != "register":
            assert (link.md5, link.problems) == (made.md5[step], ("no run made this output",))


def test_without_a_run_and_without_tags_what_is_before_is_unknown(made):
    without_run(made)
    chain = walk(made.tracking.mlflow, GRAPH, Start(subject="x", step="stage2", md5=made.md5["stage2"]))
    assert chain.broken[0] == ("stage2", "no run made this output")
    assert dict(chain.broken)["download"] == "no digest of its output is on record"
    assert tuple(link.step for link in chain.links) == BACKWARDS[BACKWARDS.index("stage2") :]


def test_a_chain_of_different_outputs_of_one_step(made):
    other = some_md5()
    edited = made.version(made.runs["register"], **{"dvc.stage1": other})
    chain = chain_of(made, edited)
    places = [place for place, _ in chain.broken]
    assert places == ["stage1"] * 3  # no run made the other output, and each of both disagrees with the other
    told = [problem for _, problem in chain.broken]
    users = "quantize, evaluate and stage2"
    assert f"this output of stage1 is named by the version, but {made.md5['stage1']} by {users}" in told
    assert f"this output of stage1 is named by {users}, but {other} by the version" in told


def test_who_depends_on_a_view_may_have_read_another_output_with_the_same_view(made):
    """Another data set came for stage 4: the shards were made again, and stage 1 did not run again."""
    later, earlier = made.md5["shards"], some_md5()
    made.md5["shards"] = earlier
    made.run("shards", seconds=12)
    client = made.tracking.mlflow
    client.set_tag(made.runs["stage1"], "dvc.input.shards", earlier)
    assert {place for place, _ in chain_of(made).broken} == {"shards"}, "read as a whole, it cannot be both"
    client.set_tag(made.runs["stage1"], facts.VIEWED_TAG, "shards,features")
    chain = chain_of(made)
    assert chain.broken == ()
    assert {link.md5 for link in chain.links if link.step == "shards"} == {earlier, later}


def test_of_several_runs_the_newest_that_finished_counts(made):
    again = made.run("stage4", seconds=75)  # evaluate began at 80
    made.run("stage4", seconds=76, status="FAILED")
    made.run("stage4", seconds=77, status="RUNNING")
    link = links_of(chain_of(made))["stage4"]
    assert (link.run_id, link.runs, link.problems) == (again, 2, ())


def test_a_rerun_after_the_model_was_made_is_not_where_it_comes_from(made):
    made.run("stage4", seconds=500)
    link = links_of(chain_of(made))["stage4"]
    assert (link.run_id, link.runs) == (made.runs["stage4"], 2)
    alone = walk(made.tracking.mlflow, GRAPH, Start(subject="x", step="stage4", md5=made.md5["stage4"]))
    assert alone.links[0].run_id != made.runs["stage4"]  # of the output itself, the newest
    assert alone.broken == ()


def test_a_run_that_made_the_same_of_something_else_is_not_taken(made):
    made.run("shards", seconds=12, inputs={"download": some_md5()})
    chain = chain_of(made)
    assert chain.broken == ()
    assert links_of(chain)["shards"].run_id == made.runs["shards"]


def test_a_run_is_where_it_says_even_if_another_made_the_same(made):
    older = made.runs["stage4"]
    made.run("stage4", seconds=75)
    chain = walk(made.tracking.mlflow, GRAPH, Start(subject="x", step="stage4", run_id=older))
    assert chain.links[0].run_id == older
    assert chain.broken == ()
    assert tuple(link.step for link in chain.links) == BACKWARDS[BACKWARDS.index("stage4") :]


def test_a_failed_run_has_made_nothing(made):
    failed = made.run("stage4", seconds=75, status="FAILED")
    made.tracking.mlflow.delete_tag(failed, "dvc.md5")
    chain = walk(made.tracking.mlflow, GRAPH, Start(subject="x", step="stage4", run_id=failed))
    assert chain.broken == (
        ("stage4", "its run did not finish: FAILED"),
        ("stage4", "its run names no digest of what it made"),
    )
    assert links_of(chain)["stage3"].run_id == made.runs["stage3"]


def test_the_registration_that_asks_need_not_have_ended(made):
    running = made.run("register", seconds=200, status="RUNNING")
    version = made.version(running)
    assert chain_of(made, version).broken == (("register", "its run did not finish: RUNNING"),)
    chain = chain_of(made, version, running=running)
    assert chain.broken == ()
    assert (chain.links[0].run_id, chain.links[0].status, chain.links[0].finished_at) == (running, "RUNNING", None)


def test_the_same_package_registered_again(made):
    """The version keeps the run that added it; the digests that it names now are those of the later one."""
    made.md5["quantize"] = some_md5()
    made.run("quantize", seconds=120)
    later = made.run("register", seconds=130)
    made.tracking.mlflow.set_tag(later, "model.version", f"{made.name}/1")
    for tag in ("dvc.md5", "dvc.quantize"):
        made.tracking.mlflow.set_model_version_tag(made.name, "1", tag, made.md5["quantize"])
    chain = chain_of(made)
    assert chain.broken == ()
    assert chain.links[0].run_id == later


def test_a_registration_that_was_killed_and_done_again(made):
    killed = made.run("register", seconds=120, status="KILLED")
    version = made.version(killed)
    assert chain_of(made, version).broken == (("register", "its run did not finish: KILLED"),)
    again = made.run("register", seconds=140)
    made.tracking.mlflow.set_tag(again, "model.version", f"{made.name}/{version}")
    chain = chain_of(made, version)
    assert chain.broken == ()
    assert chain.links[0].run_id == again
