"""The registered model through MLflow, in process and over its scoring protocol: every row is judged by itself."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.serving.helpers import QUESTIONS, TOKENS, data_url, encoded, pictures, strong_model
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized

IMAGES = pictures(4)


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


@pytest.fixture(scope="module")
def package(make_model, processor, tmp_path_factory) -> Path:
    """An 8-bit package. Read only."""
    folder = tmp_path_factory.mktemp("quantize") / "model"
    model = strong_model(make_model(seed=11), processor, seed=4)
    save_quantized(model, folder, outlier_threshold=0.0, max_new_tokens=TOKENS)
    return folder


@pytest.fixture(scope="module")
def model(package) -> VisionLanguageModel:
    return VisionLanguageModel.from_folder(package)


@pytest.fixture(scope="module")
def served(package, tmp_path_factory) -> Any:
    """The package as ``register`` logs it and MLflow loads it."""
    import mlflow
    from mlflow.models import Model

    from tinygptv.tracking.saved import save

    folder = tmp_path_factory.mktemp("logged") / "model"
    save(folder, package, Model())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        patch.syspath_prepend(str(folder))  # the loader's changes of sys.path end with the block
        return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture
def invoke(served):
    """What MLflow's server answers to a body of ``/invocations``."""
    from mlflow.pyfunc.scoring_server import invocations

    def post(body: Any, kind: str = "application/json") -> list[dict[str, Any]]:
        content = json.dumps(body) if kind == "application/json" else body
        response = invocations(content, kind, served, served.metadata.get_input_schema())
        assert response.status == 200, response.response
        return json.loads(response.response, parse_constant=pytest.fail)["predictions"]

    return post


def frame(images, questions, **more):
    return pd.DataFrame({"image": images, "question": questions}, **more)


BAD = {
    "null question": (IMAGES[0], None, "question", "missing"),
    "nan question": (IMAGES[0], float("nan"), "question", "missing"),
    "NA question": (IMAGES[0], pd.NA, "question", "missing"),
    "empty question": (IMAGES[0], "", "question", "empty"),
    "blank question": (IMAGES[0], " \n\t\u200b\u00a0", "question", "empty"),
    "number": (IMAGES[0], 5, "question", "not int"),
    "bytes as question": (IMAGES[0], b"why", "question", "not bytes"),
    "long question": (IMAGES[0], "why " * 1001, "question", "4004 characters; the limit is 4000"),
    "many tokens": (IMAGES[0], "what " * 700, "question", "ask in fewer words"),
    "null image": (None, "why", "image", "missing"),
    "no image": (b"a text", "why", "image", "cannot be decoded"),
    "empty image": (b"", "why", "image", "cannot be decoded"),
    "cut image": (IMAGES[0][:-30], "why", "image", "cannot be decoded"),
    "base 64 of no image": (text(b"a text"), "why", "image", "cannot be decoded"),
    "base 64 cut": (text(IMAGES[0])[:-40], "why", "image", "cannot be decoded"),
    "base 64 of no length": (
        text(IMAGES[0]).rstrip("=")[: len(text(IMAGES[0])) // 4 * 4 - 3],
        "why",
        "image",
        "no valid base 64",
    ),
    "no base 64": ("@@@@", "why", "image", "no valid base 64"),
    "address": ("http://127.0.0.1:9/x.png", "why", "image", "addresses are not read"),
    "path": (__file__, "why", "image", "paths and addresses are not read"),
    "numbers": ([1, 2, 3], "why", "image", "not list"),
    "pixels": (np.zeros((4, 4, 3), np.uint8), "why", "image", "not ndarray"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_gets_its_reason_and_the_others_their_answers(served, model, name):
    image, question, column, words = BAD[name]
    good = [(IMAGES[0], "why"), (IMAGES[1], QUESTIONS[0])]
    rows = [good[0], (image, question), good[1]]
    found = served.predict(frame(*zip(*rows, strict=True)))
    assert list(found.columns) == ["answer", "error"]
    assert [found["answer"][0], found["answer"][2]] == model.answer(*zip(*good, strict=True))
    assert found["answer"][1] is None
    assert found["error"][0] is None and found["error"][2] is None
    assert found["error"][1].startswith(f"{column}: ")
    assert words in found["error"][1]
    assert "\n" not in found["error"][1] and len(found["error"][1]) < 300


def test_both_columns_of_a_row_can_be_at_fault(served):
    (error,) = served.predict(frame([None], [""]))["error"]
    assert error.startswith("image: ") and "; question: " in error
    assert served.predict(frame([None] * 3, [None] * 3))["answer"].tolist() == [None] * 3


def test_no_rows(served, invoke):
    assert served.predict(frame([], [])).shape == (0, 2)
    assert invoke({"dataframe_split": {"columns": ["image", "question"], "data": []}}) == []


def test_a_picture_of_the_servers_disk_is_not_read(served, tmp_path):
    for path in (tmp_path / "a.png", Path("/tmp")):
        if path.name == "a.png":
            path.write_bytes(IMAGES[0])
        for written in (str(path), path, f"file://{path}"):
            assert served.predict(frame([written], ["why"]))["error"][0].startswith("image: ")


def test_images_come_as_bytes_or_base_64(served, model):
    jpeg = encoded(Image.open(io.BytesIO(IMAGES[0])), "JPEG")
    forms = [
        IMAGES[0],
        bytearray(IMAGES[0]),
        memoryview(IMAGES[0]),
        np.bytes_(IMAGES[0]),
        text(IMAGES[0]),
        base64.encodebytes(IMAGES[0]).decode(),  # in lines
        data_url(IMAGES[0]),
        data_url(jpeg, "jpeg"),
    ]
    found = served.predict(frame(forms, [np.str_("why")] * len(forms)))
    assert found["error"].tolist() == [None] * len(forms)
    assert found["answer"].tolist() == model.answer([IMAGES[0]] * 7 + [jpeg], ["why"] * len(forms))


def test_many_rows_in_any_order_of_any_index(served, model):
    pairs = [(IMAGES[n % 4], QUESTIONS[n // 4 % 5]) for n in range(1000)]
    expected = dict(zip(pairs[:20], model.answer(*zip(*pairs[:20], strict=True)), strict=True))
    assert len(set(expected.values())) > 4, "the answers must differ for this test to mean something"
    asked = frame(*zip(*pairs, strict=True), index=[7] * 999 + [3])
    asked.loc[3, "question"] = None
    found = served.predict(asked)
    assert found.index.equals(asked.index)
    assert found["answer"].tolist() == [*(expected[pair] for pair in pairs[:999]), None]


@pytest.mark.parametrize("kind", ["arrow", "string", "category", "numpy"])
def test_types_of_columns(served, model, kind):
    questions = ["why", None, QUESTIONS[0]]
    if kind == "arrow":
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"question": questions, "image": IMAGES[:3], "more": [1, 2, 3]})
        asked = table.to_pandas(types_mapper=pd.ArrowDtype)
    elif kind == "numpy":
        asked = {"image": np.array(IMAGES[:3], object), "question": np.array(questions, object)}
    else:
        asked = frame(IMAGES[:3], pd.Series(questions, dtype=kind))
    found = served.predict(asked)
    assert found["answer"].tolist() == [
        *model.answer(IMAGES[:1], questions[:1]),
        None,
        *model.answer(IMAGES[2:3], questions[2:]),
    ]
    assert [error is None for error in found["error"]] == [True, False, True]


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "instances", "inputs", "columns"])
def test_every_form_that_mlflow_takes(invoke, model, form, null):
    rows = [{"image": text(image), "question": question} for image, question in zip(IMAGES, QUESTIONS, strict=False)]
    if null:
        rows[1]["question"] = rows[2]["image"] = None
    if form == "dataframe_split":
        body = {form: {"columns": ["image", "question"], "data": [[row["image"], row["question"]] for row in rows]}}
    elif form == "columns":
        body = {"inputs": {name: [row[name] for row in rows] for name in rows[0]}}
    else:
        body = {form: rows}
    expected = [{"answer": answer, "error": None} for answer in model.answer(IMAGES, QUESTIONS[:4])]
    found = invoke(body)
    if null:
        assert found[1] == {"answer": None, "error": "question: the question is missing; ask something"}
        assert found[2]["error"].startswith("image: the image is missing")
        found[1:3], expected[1:3] = [], []
    assert found == expected


def test_one_row_in_columns(invoke, served, model):
    (answer,) = model.answer(IMAGES[:1], ["why"])
    for inputs in ({"image": text(IMAGES[0]), "question": "why"}, {"image": [text(IMAGES[0])], "question": ["why"]}):
        assert invoke({"inputs": inputs}) == [{"answer": answer, "error": None}]
        assert served.predict(inputs)["answer"].tolist() == [answer]
    assert invoke({"inputs": {"image": [], "question": []}}) == []


def test_parquet(invoke, model):
    pytest.importorskip("pyarrow")
    file = io.BytesIO()
    frame(IMAGES[:2], ["why", None]).to_parquet(file)
    first, second = invoke(file.getvalue(), "application/vnd.apache.parquet")
    assert first == {"answer": model.answer(IMAGES[:1], ["why"])[0], "error": None}
    assert second["error"].startswith("question: ")


def test_what_is_wrong_with_all_rows_is_said_once(served):
    from mlflow.exceptions import MlflowException

    misspelt = pd.DataFrame({"image": IMAGES[:1], "qestion": ["why"]})
    with pytest.raises(MlflowException, match=r"missing inputs \['question'\].*qestion"):
        served.predict(misspelt)
    for asked in (None, "why", 5, [], np.zeros((2, 2))):
        with pytest.raises(MlflowException):
            served.predict(asked)
    with pytest.raises(MlflowException, match="same length"):
        served.predict({"image": [text(IMAGES[0])], "question": ["why", "why"]})


def test_the_signature_and_the_example_fit_the_model(served):
    from mlflow.models import Model

    assert served.metadata.get_input_schema().input_names() == ["image", "question"]
    assert served.metadata.get_output_schema().input_names() == ["answer", "error"]
    assert served.predict(served.input_example)["error"].tolist() == [None]
    assert isinstance(served.metadata, Model)
