"""Forms of files of predictions, and what is wrong in them."""

import json

import pytest

from tests.evaluation.small_benchmark import ANSWERS, read_prediction
from tinygptv.evaluation.prediction_files import read_predictions
from tinygptv.ground.errors import DataError

EXPECTED = dict(map(read_prediction, ANSWERS))
TABLE = "id,answer,score\n1,yes,0.9\n2,not,0.2\n\n3,yes,0.1\n4,no,0.15\n"
FORMS = {
    "a list": json.dumps(ANSWERS),
    "a list in lines": json.dumps(ANSWERS, indent=1),
    "a mark of UTF-8": "\ufeff" + json.dumps(ANSWERS),
    "lines": "\n".join(map(json.dumps, ANSWERS)),
    "lines with empty ones": "\n\n".join(map(json.dumps, ANSWERS)) + "\n\n",
    "an object around the list": json.dumps({"results": ANSWERS}),
    "with other members": json.dumps({"info": {"model": "m"}, "n": 4, "tags": ["x"], "results": ANSWERS}, indent=2),
    "members after it": json.dumps({"results": ANSWERS, "info": {"model": "m"}}),
    "lines with lists of objects": "\n".join(json.dumps({**entry, "beams": [{"text": "x"}]}) for entry in ANSWERS),
    "keys that nobody reads": json.dumps([{**entry, "reason": None} for entry in ANSWERS]),
    "a table": TABLE,
    "a table with tabs": TABLE.replace(",", "\t"),
    "a table of Windows": "\ufeff" + TABLE.replace("\n", "\r\n"),
    "a quoted table": TABLE.replace("yes", '"yes"'),
}


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "p.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_predictions(path, read_prediction)

    return from_text


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(read, form):
    assert read(FORMS[form]) == EXPECTED


def test_one_prediction_alone_is_one(read):
    assert read(json.dumps(ANSWERS[0])) == dict([read_prediction(ANSWERS[0])])
    assert read("[]") == {}


def test_a_cell_is_a_number_or_the_text_that_stands_there(read):
    found = read("id,answer,score\n1,2.50,0.5\n2,2,1\n007,none,0\n")
    assert [(name, said.answer, said.score) for name, said in found.items()] == [
        ("1", "2.50", 0.5),
        ("2", "2", 1.0),
        ("007", "none", 0.0),
    ]


GOOD = '{"id": 1, "answer": "a"}'
WRONG = {
    f'{{"results": [\n{GOOD},\n{{"id"': "p.json, line 3, column 6: not valid JSON",
    "": "p.json is empty",
    "\n \n": "p.json is empty",
    "hello": "begins with 'hello': it must be JSON",
    "id,id\n1,2\n": "begins with 'id,id'",
    "id,answer\n1\n": "p.json, line 2: 1 cells below a head of 2",
    'id,answer\n1,"a\n': "p.json is no table",
    b"id,answer\n1,\xff\n": "p.json is no table",
    b'[{"id": 1, "answer": "\xff"}]': "p.json is not UTF-8 text",
    GOOD.encode("utf-16"): "p.json is not UTF-8 text",
    f"[{GOOD}": "line 1, column 26: not valid JSON",
    f"[{GOOD}, 3]": "p.json, entry 2 is no object",
    f"{GOOD}\n[1]": "p.json, line 2 is no object",
    f"{GOOD}\n{{": "p.json, line 2 is not valid JSON",
    f'{{"results": [{GOOD}, {{]}}': "not valid JSON",
    f'{{"a": [{GOOD}], "b": [{GOOD}]}}': "p.json holds several lists, a and b; keep that of the predictions",
    f"[{GOOD}, {GOOD}]": "p.json, entry 2: 1 has a prediction already; keep one",
    f'[{GOOD}, {{"id": "1", "answer": "b"}}]': "entry 2: 1 has a prediction already",
    '[{"id": 1}]': "p.json, entry 1 has no `answer`",
    '[{"id": 1, "answer": null}]': "p.json, entry 1: `answer` must be text, not None",
    '[{"answer": "a"}]': "p.json, entry 1 has no `id`",
    '[{"id": null, "answer": "a"}]': "p.json, entry 1: `id` must be an id",
    '[{"id": 1, "answer": 3}]': "p.json, entry 1: `answer` must be text, not 3",
    '[{"id": 1.5, "answer": "a"}]': "p.json, entry 1: `id` must be an id",
    '[{"id": 1, "answer": "a", "score": NaN}]': "p.json, entry 1: `score` is nan, which is no number",
    '[{"id": 1, "answer": "a", "score": -Infinity}]': "p.json, entry 1: `score` is -inf, which is no number",
    '[{"id": 1, "answer": "a", "box": [1, 2, NaN, 4]}]': "p.json, entry 1: `box` is nan",
    '[{"id": 1, "answer": "a", "score": "0.5"}]': "p.json, entry 1: `score` must be a number",
    '{"predictions": []}': "has no `id`",
    "id,answer,score\n1,a,nan\n": "p.json, line 2: `score` must be a number, not 'nan'",
    "id,answer,score\n1,a,1e999\n": "p.json, line 2: `score` is inf",
    "id,answer\n1,\n": "p.json, line 2: `answer` must be text, not None",
}


@pytest.mark.parametrize("text", WRONG, ids=[repr(text)[:40] for text in WRONG])
def test_what_is_wrong_is_told_in_one_line_with_its_place(read, text):
    with pytest.raises(DataError) as told:
        read(text)
    assert WRONG[text] in str(told.value) and "\n" not in str(told.value)
