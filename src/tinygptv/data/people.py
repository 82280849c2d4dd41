"""Questions that several people answered, as the files of VQA and its kin have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tinygptv.data.annotations import Annotation
from tinygptv.data.coco import image_names
from tinygptv.data.entries import value_of
from tinygptv.data.tasks import is_blank
from tinygptv.ground.errors import DataError


def answers_of(content: dict[str, Any], key: str, place: str) -> list[str]:
    """The answers of the people who were asked, in their order: texts, or objects with an `answer`.

    Raises:
        DataError: there are none, or one is none.
    """
    listed: list[Any] = value_of(content, key, list, place)
    if not listed:
        raise DataError(f"{place}: `{key}` is empty; name a file with answers")
    for one in listed:
        if not isinstance(one, str | dict):
            raise DataError(f"{place}: `{key}` must hold texts, not {str(one)[:50]!r}")
    return [one if isinstance(one, str) else value_of(one, "answer", str, place) for one in listed]


def asked(question: str, *, name: str, images: tuple[str, ...], said: Sequence[str], **truth: Any) -> Annotation:
    """A question with what people said; the answer that most of them gave is shown, the first of equals.

    Args:
        question: its text.
        name: its id.
        images: names of its image.
        said: the answers; those that cannot be seen are kept for the metric alone.
        truth: what a benchmark needs beside them.
    """
    votes = Counter(text for text in said if not is_blank(text)).most_common()
    answer = votes[0][0] if votes else ""
    return Annotation(
        id=name,
        images=images,
        question=question,
        answer=answer,
        accepted=tuple((text, float(times)) for text, times in votes),
        truth={"answer": answer, "answers": list(said), **truth},
    )


def image_of(content: dict[str, Any], split: str) -> tuple[str, ...]:
    """Names of the image that `image_id` means: a number of COCO's, or a name; none where there is no such field."""
    image = content.get("image_id")
    if isinstance(image, int) and not isinstance(image, bool):
        return image_names(image, split)
    return (image,) if isinstance(image, str) and image else ()
