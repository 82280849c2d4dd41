from __future__ import annotations

import pytest

from flows.graph import Step, read_graph, select
from tinygptv.ground.errors import UserError


def steps(**upstream: tuple[str, ...]) -> list[Step]:
    return [Step(name=name, upstream=up, retries=0, retry_delay=0, outputs=True) for name, up in upstream.items()]


CHAIN = steps(a=(), b=("a",), side=("a",), c=("b",), d=("c", "side"))


def names(first: str | None = None, last: str | None = None, force: list[str] | None = None) -> list[str]:
    return [step.name for step in select(CHAIN, first, last, force or [])]


def test_order_edges_and_meta_come_from_dvc(graph):
    assert [step.name for step in graph] == ["zebra", "middle", "last"]
    assert [step.upstream for step in graph] == [(), ("zebra",), ("middle",)]
    assert [step.retries for step in graph] == [1, 0, 0]


def test_a_broken_graph_is_one_line(project):
    (project / "dvc.yaml").write_text("stages:\n  a:\n    cmd: true\n    deps: [x]\n    outs: [x]\n")
    with pytest.raises(UserError) as caught:
        read_graph(project)
    assert "dvc.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_selection():
    assert names() == ["a", "b", "side", "c", "d"]
    assert names(first="b") == ["b", "c", "d"]
    assert names(last="c") == ["a", "b", "c"]
    assert names(first="b", last="c") == ["b", "c"]
    assert names(first="side") == ["side", "d"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"first": "nix"}, "--from nix"),
        ({"last": "nix"}, "--to nix"),
        ({"force": ["nix"]}, "--force nix"),
        ({"first": "c", "last": "a"}, "nothing to run"),
        ({"first": "c", "force": ["a"]}, "--force a"),
    ],
)
def test_a_wrong_selection_is_refused(arguments, named):
    with pytest.raises(UserError, match=named):
        names(**arguments)
