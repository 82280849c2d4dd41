"""What RefCOCO, RefCOCO+ and RefCOCOg share: a box for each expression, and when it is the right one.

Sources: the sets are Kazemzadeh et al. 2014, Yu et al. 2016 (arXiv 1608.00272) and Mao et al. 2016, in the files of
github.com/lichengunc/refer. No script comes with those. Whoever made them counts a box from IoU 0.5 on in his own
model (github.com/lichengunc/MAttNet, ``lib/models/eval_dets_utils.py``), and so do lmms-eval and TRI-ML's
vlm-evaluation: that is the official rule here. The authors of TinyGPT-V count by MiniGPT-v2's
``eval_scripts/eval_ref.py``, without its new tries, which are greedy and so give the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygptv.data.boxes import PixelBox, in_pixels, parse_box, pixel_box
from tinygptv.evaluation.benchmarks.instructions import task_instruction
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.benchmarks.submissions import as_given, name, text
from tinygptv.evaluation.metrics.boxes import IOU_THRESHOLD, Edges, iou, iou_of_last_pixels

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Response

_AT_START = re.compile(r"\{<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>\}")


def referring(title: str, parts: Mapping[str, int | None]) -> Benchmark:
    """A benchmark of referring expressions.

    Args:
        title: its name.
        parts: its splits, each with its number of expressions.
    """
    return Benchmark(
        title=title,
        source="github.com/lichengunc/refer; overlap as github.com/lichengunc/MAttNet, lib/models/eval_dets_utils.py",
        official=(OFFICIAL,),
        authors=(AUTHORS,),
        form="refer",
        parts=parts,
        instruction=task_instruction,
        predict=_predict,
        read_prediction=_read,
        write_prediction=_write,
        images_may_train=True,
    )


def _predict(truth: Truth, response: Response) -> Prediction:
    """The box in pixels of the image that the whole answer is, if it is one."""
    box = parse_box(response.text.strip())
    if box is None or box[0] > box[2] or box[1] > box[3]:
        return Prediction(answer=response.text)
    return Prediction(answer=response.text, box=in_pixels(box, (truth["width"], truth["height"])))


def _read(entry: Mapping[str, Any]) -> tuple[str, Prediction]:
    """``bbox`` is null where a model named no box, which is wrong; ``answer`` is its text, where it is of interest."""
    box, said = entry["bbox"], text(entry, "answer") if "answer" in entry else ""
    return name(entry, "sent_id"), Prediction(answer=said, box=None if box is None else pixel_box(box))


def _write(id_: str, prediction: Prediction, _truth: Truth) -> dict[str, Any]:
    box = prediction.box
    said = {"answer": prediction.answer} if prediction.answer else {}
    return {"sent_id": as_given(id_), "bbox": None if box is None else list(box), **said}


def _right(truth: Truth, prediction: Prediction) -> tuple[float]:
    box = prediction.box
    return (float(box is not None and iou(_edges(box), _edges(truth["bbox"])) >= IOU_THRESHOLD),)


def _right_to_authors(truth: Truth, prediction: Prediction) -> tuple[float]:
    edges = _edges_to_authors(truth, prediction)
    return (float(edges is not None and iou_of_last_pixels(edges, _edges(truth["bbox"])) > IOU_THRESHOLD),)


def _edges_to_authors(truth: Truth, prediction: Prediction) -> Edges | None:
    """The box at the start of an answer; of predictions that have no text, the box that they are.

    What follows the box may have no number: with more than four of them their script fails on the answer and passes on.
    """
    if not prediction.answer:
        return prediction.box and _edges(prediction.box)
    said = prediction.answer.replace("<unk>", "").replace(" ", "").strip()
    numbers = re.findall(r"\d+", said)
    if not _AT_START.match(said) or len(numbers) != 4:
        return None
    width, height = truth["width"], truth["height"]
    x1, y1, x2, y2 = map(int, numbers)
    return x1 / 100 * width, y1 / 100 * height, x2 / 100 * width, y2 / 100 * height


def _edges(box: PixelBox) -> Edges:
    left, top, width, height = box
    return left, top, left + width, top + height


OFFICIAL = Metric(
    name="acc_at_0.5",
    variant="IoU >= 0.5 of boxes in pixels, edges exclusive; of a text, the whole answer is one box",
    columns=each(_right),
    value=mean,
)
AUTHORS = Metric(
    name="acc_at_0.5",
    variant="IoU > 0.5 of boxes that are a pixel wider and higher; of a text, the box that it begins with",
    columns=each(_right_to_authors),
    value=mean,
)
