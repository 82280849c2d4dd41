"""What lies at a path is recognised as one form, with its files, its folder of pictures and why."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.official import draw, write_json, write_lines
from tests.data_sets import sample, write_set
from tinygptv.data.recognise import recognise

TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
MESSAGES = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]
PICTURED = {
    "llava": [{"id": 1, "image": "1.png", "conversations": TALK}, {"id": 2, "conversations": TALK}],
    "messages": [{"messages": MESSAGES, "images": ["1.png"]}],
    "questions": [{"id": 1, "image": "1.png", "question": "What?", "answer": "a cat"}],
    "pairs": [{"image": "1.png", "text": "a cat"}],
}
TEXT_ALONE = {
    "llava": [{"conversations": TALK}],
    "messages": [{"messages": MESSAGES}],
}


@pytest.mark.parametrize("name", PICTURED)
@pytest.mark.parametrize("folder", ["", "pictures"])
@pytest.mark.parametrize("file", ["a.json", "a.jsonl"])
def test_a_file_of_entries_beside_its_pictures(tmp_path, name, folder, file):
    draw(tmp_path / folder / "1.png")
    path = (write_json if file == "a.json" else write_lines)(tmp_path / file, PICTURED[name])
    for place in (path, tmp_path):
        ((form, found),) = recognise(place).items()
        assert form == name
        assert found.files == (path,)
        assert found.images == tmp_path / folder
        assert "a.json" in found.why


@pytest.mark.parametrize("name", TEXT_ALONE)
def test_texts_alone_need_no_folder(tmp_path, name):
    ((form, found),) = recognise(write_json(tmp_path / "a.json", TEXT_ALONE[name])).items()
    assert (form, found.images) == (name, None)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("messages", {"conversations": TALK, "images": ["1.png"]}),
        ("messages", {"conversations": TALK, "image": "1.png", "objects": {"ref": []}}),
        ("messages", {"query": "What?", "response": "A cat.", "images": ["1.png"]}),
        ("messages", {"instruction": "What?", "input": "", "output": "A cat."}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image", "image": "1.png"}]}, MESSAGES[1]]}),
        ("messages", {"conversation": [{"human": "What?", "assistant": "A cat."}], "images": "1.png"}),
        ("llava", {"conversations": MESSAGES, "image": "1.png"}),
        ("pairs", {"image": "1.png", "question": "What?", "answer": "a cat"}),
        ("pairs", {"image": "1.png", "prompt": "What?", "response": "a cat"}),
        ("pairs", {"file_name": "1.png", "captions": ["a cat", "a pet"]}),
        ("questions", {"id": 1, "image": "1.png", "question": "What?", "answers": ["a cat"], "choices": ["a", "b"]}),
    ],
)
def test_variants_are_of_one_form(tmp_path, name, entry):
    draw(tmp_path / "1.png")
    ((form, found),) = recognise(write_json(tmp_path / "a.json", [entry])).items()
    assert form == name
    assert found.images in (tmp_path, None)


@pytest.mark.parametrize(
    ("file", "text"),
    [("a.csv", "image;caption\n1.png;a cat\n"), ("a.tsv", "1.png\ta cat\n"), ("a.csv", "path,label\n1.png,cat\n")],
)
def test_tables(tmp_path, file, text):
    draw(tmp_path / "images" / "1.png")
    (tmp_path / file).write_text(text)
    ((form, found),) = recognise(tmp_path).items()
    assert (form, found.images) == ("pairs", tmp_path / "images")


def test_the_folder_that_is_named_is_taken_and_that_of_absolute_names_found(tmp_path):
    draw(tmp_path / "1.png")
    path = write_json(tmp_path / "a.json", PICTURED["llava"])
    assert recognise(path, tmp_path / "elsewhere")["llava"].images == tmp_path / "elsewhere"
    away = [{"image": f"/data/cats/{name}/1.png", "text": "a cat"} for name in ("x", "y")]
    assert str(recognise(write_json(tmp_path / "b.json", away))["pairs"].images) == "/data/cats"
    missing = [{"image": "9.png", "text": "a cat"}]
    assert recognise(write_json(tmp_path / "sub" / "c.json", missing))["pairs"].images == tmp_path / "sub"


def test_dataset_info_is_read(tmp_path):
    entry = {"talk": [{"who": "me", "what": "What?"}, {"who": "it", "what": "A cat."}], "pics": ["1.png"]}
    tags = {"role_tag": "who", "content_tag": "what", "user_tag": "me", "assistant_tag": "it"}
    described = {"file_name": "a.json", "columns": {"messages": "talk", "images": "pics"}, "tags": tags}
    path = write_json(tmp_path / "a.json", [entry])
    assert recognise(path) == {}
    write_json(tmp_path / "dataset_info.json", {"mine": described})
    draw(tmp_path / "1.png")
    for place in (path, tmp_path):
        found = recognise(place)["messages"]
        assert found.files == (path,)
        assert found.images == tmp_path
        assert "dataset_info.json" in found.why
    write_json(tmp_path / "dataset_info.json", {"mine": {**described, "file_name": "sub/a.json"}})
    path = path.rename(write_json(tmp_path / "sub" / "a.json", []))
    assert recognise(tmp_path)["messages"].files == (path,)


def test_files_of_two_forms_are_told_of_both(tmp_path):
    paths = {name: write_json(tmp_path / f"{name}.json", entries) for name, entries in PICTURED.items()}
    found = recognise(tmp_path)
    assert {form: of_form.files for form, of_form in found.items()} == {name: (path,) for name, path in paths.items()}


def test_many_files_are_their_folder_and_others_are_left_out(tmp_path):
    for number in range(30):
        write_json(tmp_path / f"{number}.json", PICTURED["pairs"])
    assert recognise(tmp_path)["pairs"].files == (tmp_path,)
    few = tmp_path / "few"
    paths = tuple(write_json(few / f"{name}.json", PICTURED["pairs"]) for name in ("test", "train"))
    write_json(few / "config.json", [{"learning_rate": 1}])
    assert recognise(few)["pairs"].files == paths


def test_a_folder_with_metadata(tmp_path):
    draw(tmp_path / "train" / "1.png")
    write_lines(tmp_path / "train" / "metadata.jsonl", [{"file_name": "1.png", "text": "a cat"}])
    ((form, found),) = recognise(tmp_path).items()
    assert (form, found.files, found.images) == ("imagefolder", (), tmp_path)
    assert "train/metadata.jsonl" in found.why


def test_folders_of_classes(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        draw(tmp_path / name)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    ((form, found),) = recognise(tmp_path).items()
    assert (form, found.images) == ("imagefolder", tmp_path)
    assert found.why == "its 2 folders of pictures are classes: cat, dog"
    (tmp_path / "train" / "cat" / "1.txt").write_text("a caption")
    assert recognise(tmp_path) == {}


def test_records_of_this_project(tmp_path):
    write_set(tmp_path / "shards", "cats", [sample(1, "cats"), sample(2, "cats")])
    tar = next((tmp_path / "shards" / "cats").glob("*.tar"))
    for place in (tar, tar.parent):
        assert recognise(place)["records"].files == (tar,)
    tar.write_bytes(tar.read_bytes()[:1000])
    assert "records" not in recognise(tar)


@pytest.mark.parametrize("content", [[], [1], [{}], [{"conversations": 3}], [{"image": "1.png"}], [{"messages": [3]}]])
def test_what_is_of_no_form(tmp_path, content):
    path = write_json(tmp_path / "a.json", content)
    assert recognise(path) == {}
    path.write_text(json.dumps(content) + "]")
    assert recognise(path) == {}
    draw(tmp_path / "pictures" / "1.png")
    assert recognise(tmp_path / "pictures") == {}
