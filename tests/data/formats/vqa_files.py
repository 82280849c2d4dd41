"""Files of VQA's kind for the tests, in the layout of the official ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = {"info": {"version": "2.0", "year": 2017}, "data_subtype": "val2014", "data_type": "mscoco", "license": {}}


def question(number: int, text: str = "what is it?", image: int = 42) -> dict[str, Any]:
    """An entry of the questions."""
    return {"image_id": image, "question": text, "question_id": number}


def annotation(number: int, answers: list[str], image: int = 42, **fields: Any) -> dict[str, Any]:
    """An entry of the annotations."""
    said = [
        {"answer": text, "answer_confidence": "yes", "answer_id": place} for place, text in enumerate(answers, start=1)
    ]
    kinds = {"question_type": "what is", "answer_type": "other", "multiple_choice_answer": answers[0]}
    return {"question_id": number, "image_id": image, "answers": said, **kinds, **fields}


def write(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def questions_file(folder: Path, entries: list[dict[str, Any]], **head: Any) -> Path:
    """The file of the questions."""
    return write(folder / "v2_questions.json", {**HEAD, "task_type": "Open-Ended", **head, "questions": entries})


def annotations_file(folder: Path, entries: list[dict[str, Any]], **head: Any) -> Path:
    """The file of the annotations."""
    return write(folder / "v2_annotations.json", {**HEAD, **head, "annotations": entries})
