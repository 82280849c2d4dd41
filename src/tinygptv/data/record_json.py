"""A sample's JSON as records, and one record's own part of it: checked by ``data/record_rules.py``, all of it."""

from __future__ import annotations

import json
from typing import Any

from tinygptv.data.boxes import widened
from tinygptv.data.record_rules import MAX_RECORDS, RecordError, check_header, check_image, check_record
from tinygptv.data.records import FIRST_SET, VERSION, ImageInfo, ImageRecord, ImageSample, Record, Turn


def parse_sample(key: str, json_bytes: bytes, image_bytes: bytes) -> ImageSample:
    """Check a sample's files and decode its image; a sample without one has no bytes of it.

    Raises:
        RecordError: the first broken rule.
    """
    record = parse_record(key, json_bytes)
    image = None if record.image is None else check_image(record, image_bytes)
    return ImageSample(record, image, image_bytes)


def parse_record(key: str, json_bytes: bytes) -> ImageRecord:
    """Check a sample's JSON without its image.

    Raises:
        RecordError: the first broken rule.
    """
    content = _content(json_bytes, key)
    if not isinstance(content, dict):
        raise RecordError(f"the sample must be an object, not {type(content).__name__}", key)
    if "version" not in content:
        content = {**content, "version": VERSION, "dataset": FIRST_SET}
    if content["version"] != VERSION:
        raise RecordError(f"is of version {content['version']!r}, and {VERSION} is the newest known here", key)
    _fields(content, {"version", "dataset", "image", "source", "licence", "records"}, "the sample", key)
    image = None
    if content["image"] is not None:
        _fields(content["image"], {"file", "width", "height", "sha256"}, "image", key)
        image = ImageInfo(**content["image"])
    if not isinstance(content["records"], list) or not 1 <= len(content["records"]) <= MAX_RECORDS:
        raise RecordError(f"records must be a list of 1 to {MAX_RECORDS}", key)
    records = tuple(_record(item, content["dataset"], key) for item in content["records"])
    record = ImageRecord(key, image, content["source"], content["licence"], records)
    check_header(record)
    seen: set[str] = set()
    for item in records:
        check_record(item, key)
        if item.id in seen:
            raise RecordError("the id appears twice", item.id)
        seen.add(item.id)
    return record


def parse_alone(json_bytes: bytes, dataset: str, name: str) -> Record:
    """Check one record's own part of a sample's JSON.

    Args:
        json_bytes: as ``Record.to_json`` gives it.
        dataset: its data set.
        name: what to call it if it has no id.

    Raises:
        RecordError: the first broken rule.
    """
    record = _record(_content(json_bytes, name), dataset, name)
    check_record(record, name)
    return record


def _content(json_bytes: bytes, name: str) -> Any:
    try:
        return _JSON.decode(json_bytes.decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordError("is not valid UTF-8", name) from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not valid JSON ({error})", name) from None


def _record(content: Any, dataset: str, key: str) -> Record:
    """Types of one record's JSON; ``check_record`` checks the values."""
    annotation = content.get("annotation", {}) if isinstance(content, dict) else {}
    _fields(content, {"id", "task", "turns", "boxes"} | ({"annotation"} if annotation else set()), "a record", key)
    name = content["id"] if isinstance(content["id"], str) else key
    if not isinstance(content["turns"], list) or not isinstance(content["boxes"], list):
        raise RecordError("turns and boxes must be lists", name)
    turns = tuple(_turn(turn, name) for turn in content["turns"])
    boxes = tuple(widened(tuple(box)) if isinstance(box, list) else box for box in content["boxes"])
    return Record(content["id"], content["task"], turns, boxes, dataset, annotation)


def _turn(content: Any, record: str) -> Turn:
    told: dict[str, Any] = content if isinstance(content, dict) else {}
    there = {name for name in ("accepted", "wordings") if told.get(name) is not None}
    _fields(content, {"question", "answer"} | there, "a turn", record)
    accepted, wordings = content.get("accepted") or [], content.get("wordings") or []
    if not isinstance(accepted, list) or not all(isinstance(item, list) and len(item) == 2 for item in accepted):
        raise RecordError("accepted must be a list of [text, weight]", record)
    if not isinstance(wordings, list):
        raise RecordError("wordings must be a list of texts", record)
    votes = tuple((text, weight) for text, weight in accepted)
    return Turn(content["question"], content["answer"], votes, tuple(wordings))


def _fields(content: Any, names: set[str], what: str, record: str) -> None:
    """An object with exactly these fields."""
    if not isinstance(content, dict):
        raise RecordError(f"{what} must be an object, not {type(content).__name__}", record)
    if missing := sorted(names - content.keys()):
        raise RecordError(f"{what} lacks {', '.join(missing)}", record)
    if unknown := sorted(content.keys() - names):
        raise RecordError(f"{what} has the unknown field {unknown[0]!r}", record)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


_JSON = json.JSONDecoder(parse_constant=_no_constant)
