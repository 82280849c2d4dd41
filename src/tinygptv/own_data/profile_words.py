"""What ``tinygptv new`` says of a profile: in its comments, and on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tinygptv.ground.names import LAST_STAGE
from tinygptv.own_data.amounts import FEWEST_STEPS, held_out

if TYPE_CHECKING:
    from tinygptv.own_data.amounts import Amounts
    from tinygptv.own_data.judging import Judged
    from tinygptv.own_data.lengths import Limits
    from tinygptv.own_data.reading import Reading
    from tinygptv.own_data.start import Beginning

READ_WITH = held_out(1)
"""The shares with which a set is read."""
FEW = 100
"""Training records below which little can be expected."""


def head(name: str, start: Beginning) -> list[str]:
    """The comment above a profile."""
    return [
        f"The profile {name}, written by `tinygptv new`. Every value may be changed: docs/own_data.md says which one",
        f"for what, docs/configuration.md explains every key. Model and settings are those of {start.profile}.yaml.",
    ]


def comments(
    dataset: str, judged: Judged, chosen: Mapping[str, Amounts], reading: Reading, records: int
) -> dict[str, str]:
    """Section, or ``section.key``, to a comment."""
    least = ", ".join(f"{name} {value}" for name, value in judged.least.items())
    found = {
        "data": "Your files. Paths begin at the checkout, or are absolute. `split`: shares of the images that are held "
        "out, chosen by\ncontent: `val` to watch the training, `test` to be asked at the end.",
        "shards.max_rejected": f"{reading.rejections.count:,} of {reading.found:,} were left out when this was written",
        "init": "What training starts from (docs/checkpoints.md): `PROFILE/stage4`, `PROFILE` for its backbones alone",
        "evaluate.max_new_tokens": "the longest answer",
        "register": f"The gate: `min_value` is a little above what needs no picture ({least}), on your own records.\n"
        "Raise it to what you need.",
    }
    for stage, settings in chosen.items():
        found |= {
            f"{stage}.validation": "the weights of the best look stay; `patience` looks without a better one end it",
            f"{stage}.steps_per_epoch": f"a record is met about {settings.passes:.0f} times",
            f"{stage}.max_answer_tokens": "holds the longest answer that was looked at",
        }
    if LAST_STAGE in chosen:
        found[LAST_STAGE] = f"What trains on your {records:,} records."
    if "stage1" not in chosen:
        found["stage1"] = "With `epochs: 0` a stage hands on what it begins with."
    return found


def shares(reading: Reading, split: Mapping[str, float]) -> str:
    """What is held out."""
    val, test = (reading.images[part] for part in ("val", "test"))
    if split != READ_WITH:
        val, test = (round(split[part] * sum(reading.images.values())) for part in ("val", "test"))
    return f"about {val:,} pictures to watch the training, about {test:,} to be asked at the end"


def training(chosen: Mapping[str, Amounts], records: int) -> str:
    """How long it trains."""
    return "; ".join(
        f"{stage} trains {amounts.steps:,} steps of {amounts.batch_size}, so that each of about {records:,} records is "
        f"met {amounts.passes:.0f} times"
        for stage, amounts in chosen.items()
    )


def warnings(reading: Reading, limits: Limits, chosen: Mapping[str, Amounts], start: Beginning) -> Iterator[str]:
    """What may spoil the result."""
    if reading.turns < FEW:
        yield f"only {reading.turns} questions: some hundred are needed before a model learns more than to guess"
    if not reading.images["test"]:
        yield "no picture is held out to be asked at the end: add some, or raise `test` in the profile's `split`"
    if limits.cut:
        yield (
            f"{limits.cut:,} of {len(reading.sample):,} records are longer than the {limits.sequence:,} tokens of the "
            "model: their last turns are left out, or their answers cut"
        )
    for stage, amounts in chosen.items():
        if not amounts.fits:
            yield f"{stage} does not fit this device; `tinygptv plan` says what would"
        if amounts.steps == FEWEST_STEPS:
            yield f"{stage}: so few records that {FEWEST_STEPS} steps meet each {amounts.passes:.0f} times"
    if start.init is None:
        yield "the published backbones were never trained together: with few records start from a trained model"
