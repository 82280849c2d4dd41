"""``tinygptv data show``: samples of a profile as its last stage will train them, before there are any shards.

The picture is that of ``tinygptv replay``; here boxes are drawn, too, and what the stage cuts is struck out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.images import ImageError
from tinygptv.data.shard_blocks import block_bits, look_at
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.names import STAGES
from tinygptv.own_data.check import BLOCK, uses_of
from tinygptv.own_data.reading import rows_of
from tinygptv.own_data.sample_rows import SampleRows
from tinygptv.own_data.scratch import scratch_folder
from tinygptv.own_data.tokens import tokenizer_folder
from tinygptv.provenance.batch_picture import draw

if TYPE_CHECKING:
    from PIL.Image import Image

    from tinygptv.config import Config
    from tinygptv.config.profiles import Profile
    from tinygptv.data.records import ImageRecord, Record
    from tinygptv.data.rows import Sample, SetRows
    from tinygptv.own_data.counting import Use
    from tinygptv.provenance.batch_view import Row


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample to be drawn."""

    record: Record
    picture: bytes
    """Its file; empty without one."""
    name: str
    """Of the picture."""


def show(root: Path, profile: Profile, count: int, path: Path) -> str:
    """Draw samples of what the last stage that trains takes, evenly spaced over the pictures.

    Args:
        root: the checkout.
        profile: the profile.
        count: of samples, of all entries of the mixture together; each has one at least.
        path: the PNG.

    Returns:
        Lines for the user.

    Raises:
        UserError: files are missing or cannot be read, or there is no record to train on.
    """
    config = profile.config
    name = next((name for name in reversed(STAGES) if config.stage(name).steps), None)
    if name is None:
        raise UserError(f"no stage of the profile {profile.name} trains (`epochs: 0`); name one that does")
    stage = config.stage(name)
    sets = {dataset: settings for dataset, settings in config.data.items() if _taken(config, dataset, name)}
    images: dict[str, Image] = {}
    titles: list[str] = []
    parts: list[list[Row]] = []
    with ExitStack() as held:
        scratch = held.enter_context(scratch_folder(root))
        folder = held.enter_context(tokenizer_folder(root, profile.name, config.init))
        left, unit = len(stage.mixture), "tokens" if folder is not None else "bytes"
        for dataset, settings in sets.items():
            rows = held.enter_context(closing(rows_of(dataset, settings, root, scratch)))
            for use in _taken(config, dataset, name):
                wanted = max(1, -(-(count - sum(map(len, parts))) // left))
                left -= 1
                maker, shown = SampleRows(use, folder), evenly_spaced(rows, settings.licence, dataset, use, wanted)
                drawn = [maker.row(one.record, one.picture, one.name, number, images) for number, one in shown]
                if not drawn:
                    raise DataError(
                        f"{use.label}: there is no record to train on; `tinygptv data check {profile.name}` says why"
                    )
                titles.append(_title(use, drawn, unit))
                parts.append(drawn)
        limits = f"max_answer_tokens {stage.max_answer_tokens}, max_sequence_tokens {stage.max_sequence_tokens}"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(parts, [f"{profile.name}: samples as {name} trains them", limits], images, path, titles=titles)
    return "\n".join([*titles, f"wrote {path.relative_to(root) if path.is_relative_to(root) else path}"])


def evenly_spaced(rows: SetRows, licence: str, dataset: str, use: Use, count: int) -> Iterator[tuple[int, Shown]]:
    """Records that a stage trains on, by number: one of a picture, spread over the pictures in the order of content."""
    total = rows.samples["train"]
    bits, place, found = block_bits(total, BLOCK), 0, 0
    for number in range(2**bits if total else 0):
        for sample in rows.block("train", number, bits):
            # Where the picture at its place cannot be taken, the next one that can is.
            if found < count and place * count >= found * total:
                shown = _usable(rows, licence, dataset, use, sample, found)
                if shown is not None:
                    yield found, shown
                    found += 1
            place += 1


def _usable(rows: SetRows, licence: str, dataset: str, use: Use, sample: Sample, number: int) -> Shown | None:
    """One of the records of a picture that a stage takes; None where there is none, or the picture is damaged."""
    try:
        looked, picture = look_at(sample, dataset, licence, rows)
    except ImageError:
        return None
    usable = [record for record in looked.records if use.only in (None, record.task)]
    return Shown(usable[number % len(usable)], picture, _name(sample, looked)) if usable else None


def _name(sample: Sample, looked: ImageRecord) -> str:
    if looked.image is None:
        return ""
    return sample.image.path.name if sample.image is not None and sample.image.offset == 0 else looked.image.file


def _taken(config: Config, dataset: str, stage: str) -> list[Use]:
    """What a stage takes of a data set."""
    return [use for use in uses_of(config, dataset, config.data[dataset]) if use.label.startswith(f"{stage}: ")]


def _title(use: Use, drawn: list[Row], unit: str) -> str:
    length, loss = sum(row.length for row in drawn), sum(row.loss_tokens for row in drawn)
    cut = sum(row.is_cut for row in drawn)
    told = f", {cut} of them cut" if cut else ""
    return f"{use.label}: {len(drawn)} sample{'s' * (len(drawn) > 1)}{told}; {length} {unit}, {loss} of them carry loss"
