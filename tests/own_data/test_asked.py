"""A profile's name or a path: what is looked at, and the line where it is neither."""

from __future__ import annotations

import shutil

import pytest

from tests.own_data.conftest import CHECKOUT, talk
from tinygptv.cli import main
from tinygptv.ground.errors import UserError
from tinygptv.own_data import asked


@pytest.fixture
def usual(checkout):
    shutil.copy(CHECKOUT / "configs" / "tiny.yaml", checkout.root / "configs")
    checkout.pictures(0, 1)
    checkout.records(talk("c0", "0.png"), talk("c1", "1.png"), file="my cats 2.json")
    return checkout


def test_a_path_is_one_data_set_that_the_last_stage_trains(usual, capsys):
    found = asked.find(usual.root, "my cats 2.json", usual.root / "pictures", None)
    (name,) = found.sets
    assert (name, found.sets[name].format, found.profile) == ("my_cats_2", "llava", "tiny")
    assert [stage for stage in ("stage1", "stage4") if found.config.stage(stage).steps] == ["stage4"]
    assert found.config.stage4.max_answer_tokens == found.config.model.text.max_position_embeddings
    assert main(["data", "check", "my cats 2.json", "--images", "pictures"]) == 0
    assert "my cats 2.json: llava, for " in capsys.readouterr().out


def test_a_name_that_is_both_is_the_profile(usual):
    usual.profile({"cats": usual.set("my cats 2.json")})
    (usual.root / "cats").mkdir()
    assert asked.find(usual.root, "cats", None, None).profile == "cats"
    with pytest.raises(UserError, match="is of no form"):
        asked.find(usual.root, "./cats", None, None)
    (usual.root / "cats" / "00000.tar").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"; 00000\.tar may be damaged: --format webdataset says so; name one"):
        asked.find(usual.root, "./cats", None, None)


@pytest.mark.parametrize(
    ("given", "form", "said"),
    [
        ("nosuch", None, r"nosuch is neither a profile \(tiny\) nor a file or folder"),
        ("tin", None, "did you mean tiny"),
        ("", None, "an empty name is neither"),
        ("tiny", "llava", "tiny is a profile, which says"),
        ("my cats 2.json", "nosuch", "--format nosuch: no such form"),
    ],
)
def test_what_is_neither_is_one_line(usual, given, form, said):
    with pytest.raises(UserError, match=said):
        asked.find(usual.root, given, None, form)


def test_a_named_form_is_taken_at_its_word(usual, capsys):
    (usual.root / "my cats 2.json").write_text("{}")
    assert main(["data", "check", "my cats 2.json", "--format", "llava"]) == 2
    assert "cannot be trained on" in capsys.readouterr().err
