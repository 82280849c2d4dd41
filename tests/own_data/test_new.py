from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.own_data.conftest import write_llava
from tests.own_pictures import FORMS
from tinygptv.config.profiles import read_config
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import sha256_tree
from tinygptv.own_data.new import new, next_command


def write(root: Path, name: str, data: Path, **more) -> list[str]:
    said: list[str] = []
    new(root, name, data, say=said.append, **more)
    return said


def test_a_profile_that_is_whole_and_says_where_things_are(with_tiny, tmp_path):
    path = write_llava(tmp_path / "other place", 60, turns=3)
    raw = sha256_tree(path.parent)
    said = write(with_tiny, "my-cats", path, images=path.parent / "my pictures")
    config = read_config(with_tiny / "configs" / "my-cats.yaml")
    (name,) = config.data
    mine = config.data[name]
    assert (name, mine.format, mine.files, mine.images) == (
        "my_cats",
        "llava",
        (str(path),),
        f"{path.parent}/my pictures",
    )
    assert (mine.task, mine.licence, mine.split) == ("vqa", "unknown", {"val": 0.1, "test": 0.2})
    assert config.init is not None and config.init.from_ == "tiny/stage4"
    assert [config.stage(stage).epochs for stage in ("stage1", "stage2", "stage3", "stage4")] == [0, 0, 0, 1]
    assert config.model == read_config(with_tiny / "configs" / "tiny.yaml").model
    assert config.stage4.mixture == {"my_cats": 1.0}
    assert config.stage4.validation is not None
    assert config.register_.model_name == "tinygptv-my-cats"
    assert config.register_.gate.min_value == {"my_cats": 0.69}
    assert said[0] == f"{path}: llava, for the entries of cats.json have `conversations` and `image`"
    assert said[1] == "60 records (60 conversation) of 60 pictures"
    assert said[-1] == f"next: {next_command(with_tiny, 'my-cats')}"
    assert any("licence is `unknown`" in line for line in said)
    assert sha256_tree(path.parent) == raw


def test_who_has_so_few_pictures_that_none_is_held_out_is_told(with_tiny, tmp_path):
    few = write(with_tiny, "few", write_llava(tmp_path / "few", 2), images=tmp_path / "few" / "my pictures")
    more = write(with_tiny, "more", write_llava(tmp_path / "more", 40), images=tmp_path / "more" / "my pictures")
    told = "no picture is held out to be asked at the end: add some, or raise `test` in the profile's `split`"
    assert (told in few, told in more) == (True, False)


def test_data_below_the_checkout_are_named_from_there_on(with_tiny):
    path = write_llava(with_tiny / "mine", 40)
    write(with_tiny, "cats", Path("mine/cats.json"), images=Path("mine/my pictures"), licence="CC0-1.0")
    mine = read_config(with_tiny / "configs" / "cats.yaml").data["cats"]
    assert (mine.files, mine.images, mine.licence) == (("mine/cats.json",), "mine/my pictures", "CC0-1.0")
    assert path.is_file()


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_of_the_docs_is_recognised(with_tiny, tmp_path, form):
    options = dict(zip(("data", "images"), map(Path, FORMS[form](tmp_path, 30)[1::2]), strict=False))
    said = write(with_tiny, "shapes", options["data"], images=options.get("images"))
    assert said[0].startswith(f"{options['data']}: {form}, for ")
    config = read_config(with_tiny / "configs" / "shapes.yaml")
    assert config.data["shapes"].format == form
    assert all(0 < value < 1 for value in config.register_.gate.min_value.values())


def test_a_profile_is_never_overwritten_nor_half_written(with_tiny, tmp_path, monkeypatch):
    path = write_llava(tmp_path, 40)
    images = tmp_path / "my pictures"
    before = (with_tiny / "configs" / "tiny.yaml").read_text()
    with pytest.raises(UserError, match=r"configs/tiny\.yaml exists"):
        write(with_tiny, "tiny", path, images=images)
    assert (with_tiny / "configs" / "tiny.yaml").read_text() == before
    path.write_text(path.read_text()[:-1])
    with pytest.raises(DataError):
        write(with_tiny, "cats", path, images=images, format_="llava")
    path.write_text("[]")
    with pytest.raises(DataError):
        write(with_tiny, "cats", path, images=images, format_="llava")
    assert not (with_tiny / "configs" / "cats.yaml").exists()


def test_what_is_left_out_is_shown(with_tiny, tmp_path):
    path = write_llava(tmp_path, 40)
    records = json.loads(path.read_text())
    for record in records[:8]:
        record["image"] = "nosuch.png"
    path.write_text(json.dumps(records))
    said = write(with_tiny, "cats", path, images=tmp_path / "my pictures")
    assert "8 of them are left out:" in said
    assert sum("nosuch.png" in line for line in said) == 5
    assert read_config(with_tiny / "configs" / "cats.yaml").shards.max_rejected == 0.21
    assert "8 of 40 were left out" in (with_tiny / "configs" / "cats.yaml").read_text()


def test_without_the_folder_of_pictures_the_fix_is_named(with_tiny, tmp_path):
    path = write_llava(tmp_path, 20)
    (tmp_path / "my pictures").rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    with pytest.raises(DataError, match="--images") as error:
        write(with_tiny, "cats", path)
    assert "\n" not in str(error.value)


def test_two_forms_that_fit_are_a_question(with_tiny, tmp_path, monkeypatch):
    from tinygptv.data.formats import pairs
    from tinygptv.data.recognise import Recognised

    path = write_llava(tmp_path, 20)
    monkeypatch.setattr(pairs, "recognise", lambda look: Recognised(why="it could be", files=(path,)))
    with pytest.raises(
        UserError, match=r"could be of 2 forms; name one with --format \(llava: .*; pairs: it could be\)"
    ):
        write(with_tiny, "cats", path, images=tmp_path / "my pictures")
    write(with_tiny, "cats", path, images=tmp_path / "my pictures", format_="llava")


def test_the_next_command_works_from_where_the_user_is(with_tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert (
        next_command(with_tiny, "cats")
        == f"{Path(sys.executable).with_name('python')} -m flows.pipeline --profile cats"
    )
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert next_command(with_tiny, "cats") == "python -m flows.pipeline --profile cats"
    monkeypatch.chdir(tmp_path)
    assert next_command(with_tiny, "cats") == f"cd {with_tiny} && python -m flows.pipeline --profile cats"


def test_stages_that_are_told_train_too(with_tiny, tmp_path):
    data = Path(FORMS["pairs"](tmp_path, 40)[1])
    write(with_tiny, "shapes", data, stages=["stage3", "stage4"])
    config = read_config(with_tiny / "configs" / "shapes.yaml")
    assert [config.stage(stage).epochs for stage in ("stage1", "stage2", "stage3", "stage4")] == [0, 0, 1, 1]
    assert config.stage3.mixture == {"shapes/align": 1.0}
    assert config.stage3.image_size == 64
    assert config.stage1.image_size == config.stage4.image_size
