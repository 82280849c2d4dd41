"""The folder of tasks that a profile's test questions become."""

import io
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tinygptv.config.profiles import read_profile
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv_lmms.data import COLUMNS, main, write_tasks
from tinygptv_lmms.scoring import doc_to_messages


def test_a_row_says_what_evaluate_asks(root, tasks):
    asks = asks_of(read_profile(root, "tiny").config)
    questions = evenly_spaced(open_questions(root / "data/tiny/shards", "test", asks), 120)
    assert sorted(path.stem for path in tasks.glob("*.parquet")) == sorted(
        f"tiny_{name}" for name in questions.counts()
    )
    rows = [row for ask in asks for row in pq.read_table(tasks / f"tiny_{ask.name}.parquet").to_pylist()]
    assert [row["id"] for row in rows] == [question.record for question in questions]
    for place, (row, question) in enumerate(zip(rows, questions, strict=True)):
        words = questions.words(place, question, "as_trained")
        assert (row["instruction"], row["benchmark"], row["key"]) == (words, question.benchmark, question.key)
        assert json.loads(row["truth"]) == question.annotation
        assert row["image"]["bytes"] == questions.image_file(place)


def test_the_files_are_read_as_images(tasks):
    """lmms-eval leaves out of its copy for scoring what has the type of an image, and nothing else."""
    told = json.loads(pq.read_schema(tasks / "tiny_easy_vqa.parquet").metadata[b"huggingface"])
    assert {name for name, kind in told["info"]["features"].items() if kind.get("_type") == "Image"} == {"image"}
    assert set(told["info"]["features"]) == set(COLUMNS)


def test_equal_questions_are_equal_files(root, tasks, tmp_path):
    write_tasks(root, "tiny", tmp_path / "tasks", 120)
    for path in tasks.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "tasks" / path.name).read_bytes()


def test_an_earlier_folder_is_replaced_and_another_one_is_not(root, package, tmp_path, capsys):
    out = tmp_path / "tasks"
    for limit in (3, 2):
        assert main(["--profile", "tiny", "--root", str(root), "--out", str(out), "--limit", str(limit)]) == 0
        assert pq.read_metadata(out / "tiny_easy_vqa.parquet").num_rows == limit
        assert f"tiny_easy_vqa: {limit} questions" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    assert main(["--profile", "tiny", "--root", str(root), "--out", str(tmp_path / "mine")]) == 2
    assert "holds no tasks" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--limit", "0"], ["--profile", "nothing"], ["--root", "/"]])
def test_a_wrong_command_is_one_line(words, root, tmp_path, capsys):
    try:
        code = main(
            ["--out", str(tmp_path / "tasks"), *(["--root", str(root)] if "--root" not in words else []), *words]
        )
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert Counter(capsys.readouterr().err)["\n"] == 1


def test_a_conversation_becomes_turns():
    image = Image.new("RGB", (4, 4))
    content = io.BytesIO()
    image.save(content, "PNG")
    row = {"image": image, "instruction": "and now?", "earlier": [{"instruction": "what is it?", "answer": "a cat"}]}
    first, answer, last = doc_to_messages(row)
    assert [part["type"] for part in first["content"]] == ["image", "text"]
    assert (answer["role"], answer["content"][0]["text"]) == ("assistant", "a cat")
    assert last == {"role": "user", "content": [{"type": "text", "text": "and now?"}]}
