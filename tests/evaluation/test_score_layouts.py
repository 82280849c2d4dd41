"""Small files of every benchmark in its official layout: right predictions reach all, and what is wrong is one line."""

import json
from importlib import import_module

import pytest

from scripts.benchmark_files import write
from tinygptv import cli
from tinygptv.config.formats import FORMATS
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.score_files import scorable

TEXT = "answer"
SETS = {
    "gqa": ("gqa", "", "questionId", "prediction"),
    "vsr": ("vsr", "", "id", "prediction"),
    "iconqa": ("iconqa", "", "pid", "prediction"),
    "vizwiz": ("vizwiz", "", "image", TEXT),
    "hateful_memes": ("hateful_memes", "", "id", "proba"),
    "ok_vqa": ("ok_vqa", "", "question_id", TEXT),
    "vqa_v2": ("vqa_v2", "", "question_id", TEXT),
    "textvqa": ("textvqa", "", "question_id", TEXT),
    "a_okvqa": ("a_okvqa", "", "question_id", "direct_answer"),
    "refcoco": ("refcoco", "testA", "sent_id", "bbox"),
    "refcoco_plus": ("refcoco+", "testB", "sent_id", "bbox"),
    "refcocog": ("refcocog", "test", "sent_id", "bbox"),
    "pope": ("pope", "", "question_id", TEXT),
    "captions": ("captions", "", "image_id", "caption"),
}
"""Benchmark → folder of its files, split, and the keys of a prediction: id and answer."""
IN_WORDS = sorted(name for name in SETS if SETS[name][3] not in ("bbox", "proba"))


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    write(folder, 6)
    return folder


@pytest.fixture
def score(official, tmp_path, capsys):
    """Score entries, with more options; gives exit code, JSON and the line on stderr."""

    def run(name, entries, *options):
        folder, split, _, _ = SETS[name]
        answers = tmp_path / "answers.json"
        answers.write_text(json.dumps(entries))
        arguments = ["score", name, "--annotations", str(official / folder), "--predictions", str(answers), "--json"]
        code = cli.main([*arguments, *(("--split", split) if split else ()), *options])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run


def right(name, official):
    """A right prediction for each question."""
    folder, split, key, answer = SETS[name]
    benchmark = benchmark_of(name)
    files = sorted(path for path in (official / folder).iterdir() if path.is_file())
    part = split or next(iter(benchmark.parts), "")
    for found in import_module(FORMATS[benchmark.form]).annotations(files, part):
        said = {"bbox": found.truth.get("bbox"), "proba": float(found.answer == "yes")}
        yield {key: found.id, answer: said.get(answer, found.answer)}


def test_every_benchmark_with_official_files_is_here():
    assert {name for name in scorable() if benchmark_of(name).form} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_right_predictions_reach_all(name, official, score):
    entries = list(right(name, official))
    code, found, err = score(name, entries)
    assert (code, err) == (0, "")
    first = benchmark_of(name).official[0].name
    assert found["n"] == len(entries) > 0 and found["complete"] == (found["expected_n"] is None)
    best = found["official"][first]
    assert best == 1.0 or name == "captions"
    code, found, _ = score(name, entries[:1], "--allow-missing")
    assert code == 0 and found["n"] == len(entries) and not found["complete"]
    assert found["official"][first] is None or found["official"][first] < best
    assert f"{len(entries) - 1} questions have no prediction and count as wrong: " in " ".join(found["notes"])


@pytest.mark.parametrize("name", SETS)
def test_what_is_wrong_with_ids_is_one_line(name, official, score):
    entries, key = list(right(name, official)), SETS[name][2]
    for broken, said in (
        (entries[1:], "have no prediction: "),
        ([*entries, entries[0]], "has a prediction already"),
        ([*entries, {**entries[0], key: "999999999"}], "are of no question of "),
        ([{**entries[0], key: None}, *entries[1:]], f"`{key}` must be"),
        ([{**entries[0], key: [1]}, *entries[1:]], f"`{key}` must be"),
        ([{}, *entries], "entry 1 has no `"),
    ):
        code, found, err = score(name, broken)
        assert (code, found, err.count("\n")) == (2, None, 1) and said in err, err


@pytest.mark.parametrize("name", SETS)
def test_what_is_no_answer_is_one_line(name, official, score):
    entries, key = list(right(name, official)), SETS[name][3]
    for value in (float("nan"), {"a": 1}, None, True, *([3] if name in IN_WORDS else ["x"])):
        if (value is None and key == "bbox") or (value in (3, True) and name in ("iconqa", "vsr")):
            continue  # no box, the number of a choice, and a truth value are answers
        code, found, err = score(name, [{**entries[0], key: value}, *entries[1:]])
        assert (code, found, err.count("\n")) == (2, None, 1) and "answers.json, entry 1" in err, (value, err)


@pytest.mark.parametrize("name", IN_WORDS)
@pytest.mark.parametrize("text", ["", " ", "x" * 10_000, "🙂🙂", "\ud800", "a\u0000b", "###", "?" * 300])
def test_any_text_is_an_answer(name, text, official, score):
    entries = list(right(name, official))
    code, found, _ = score(name, [{**entry, SETS[name][3]: text} for entry in entries])
    first = benchmark_of(name).official[0].name
    assert code == 0 and found["n"] == len(entries)
    assert 0.0 <= found["official"][first] <= 0.5, "POPE takes anything for a yes"
