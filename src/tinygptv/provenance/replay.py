"""``tinygptv replay``: the batch of one optimizer step again, as it went into the model.

The batch is a function of configuration, seed, shards and tokenizer (``data/batches.py``), so nothing was recorded of
it but a digest of its record ids, with which it is compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config.profiles import Profile, read_profile
from tinygptv.ground.differences import changed_keys
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.file_names import MANIFEST, TOKENIZER, TRACE
from tinygptv.ground.files import read_json, sha256_file, write_bytes, write_json
from tinygptv.ground.folders import data_folder, state_folder
from tinygptv.ground.names import require_stage
from tinygptv.ground.worktree import how_to_make

if TYPE_CHECKING:
    from tinygptv.data.records import ImageSample
    from tinygptv.provenance.batch_view import Row

STAGE_KEYS = (
    "image_size",
    "prompt",
    "mixture",
    "steps_per_epoch",
    "batch_size",
    "micro_batch_size",
    "max_answer_tokens",
    "max_sequence_tokens",
)
"""Keys of a stage that decide its batches; other keys may have changed since it was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The batch of a step."""

    profile: str
    stage: str
    step: int
    """Counted from 1, as in the trace and the loss curve."""
    steps: int
    epoch: int
    """Counted from 1."""
    seed: int
    batch: str
    """Digest of the record ids (``batch_digest``)."""
    recorded: dict[str, Any] | None
    """The step's line of the trace; None where the stage has no trace."""
    changed: dict[str, str]
    """What decides the batch and was otherwise when the stage was trained: key → a line that says how."""
    micro_batches: tuple[tuple[Row, ...], ...]
    texts: tuple[str, ...]
    """The decoded text of each row."""
    images: dict[str, ImageSample] = field(repr=False)
    """Image key → the sample of the shards."""

    @property
    def rows(self) -> list[Row]:
        """The rows of all micro-batches, in their order."""
        return [row for rows in self.micro_batches for row in rows]

    @property
    def equal(self) -> bool | None:
        """Whether the stage was trained on this batch; None where nothing was recorded."""
        if self.changed:
            return False
        return None if self.recorded is None else bool(self.recorded["batch"] == self.batch)

    @property
    def name(self) -> str:
        """What the names of the files begin with."""
        return f"{self.stage}-step-{self.step:08d}"


def run(root: Path, profile: str | None, stage: str, step: int, out: Path | None, *, as_json: bool) -> bool:
    """The command: write picture and JSON and print what they show.

    Args:
        root: the checkout.
        profile: the profile, or None for that of ``params.yaml``.
        stage: ``stage1`` to ``stage4``.
        step: the optimizer step, counted from 1.
        out: the folder for the files; None: ``.state/<profile>/replay``.
        as_json: print the JSON and nothing else.

    Returns:
        False if the stage was trained on something else.

    Raises:
        UserError: as ``replay``.
    """
    found = replay(root, profile, stage, step)
    picture, content = write(found, out or state_folder(root, found.profile) / "replay")
    print(content.read_text() if as_json else "\n".join([*headline(found), str(picture), str(content)]))
    return found.equal is not False


def replay(root: Path, profile_name: str | None, stage: str, step: int) -> Replay:
    """Make the batch of a step again.

    Args:
        root: the checkout.
        profile_name: the profile, or None for that of ``params.yaml``.
        stage: ``stage1`` to ``stage4``.
        step: the optimizer step, counted from 1.

    Raises:
        UserError: no such stage or step, or an input is missing or damaged.
    """
    require_stage(stage)
    profile = read_profile(root, profile_name)
    settings = profile.config.stage(stage)
    if not settings.steps:
        raise UserError(f"{stage} of the profile {profile.name} trains nothing (epochs: 0), so it has no batches")
    if not 1 <= step <= settings.steps:
        raise UserError(f"--step {step}: {stage} of the profile {profile.name} has the steps 1 to {settings.steps}")
    data = data_folder(root, profile.name)
    shards, backbones, features = (made(root, data / name) for name in ("shards", "backbones", "features"))
    # now, for it takes seconds: what is wrong with the arguments has been told
    from tinygptv.data.batches import batch_digest
    from tinygptv.data.prompts import end_mark_id
    from tinygptv.model.processing import read_tokenizer
    from tinygptv.provenance.batch_view import Reader, read_images
    from tinygptv.training.batches import stage_batches

    batches = stage_batches(profile.config, stage, profile.seed, shards=shards, backbones=backbones, features=features)
    drawn = [(draw, batches.example(draw)) for draw in batches.draws(step - 1)]
    micro_batches = batches.batch(step - 1)

    tokenizer = read_tokenizer(backbones)
    tars = {
        example.image: batches.entries[draw.entry].index.tar(example.image.block)
        for draw, example in drawn
        if example.image is not None
    }
    images = read_images(tars)
    end_id = end_mark_id(tokenizer, settings.prompt.end_mark)
    reader = Reader(tokenizer, end_id, profile.config.model.text.vocab_size, images)
    left = iter(drawn)
    rows = tuple(reader.rows(batch, [next(left) for _ in batch.record_ids]) for batch in micro_batches)
    return Replay(
        profile=profile.name,
        stage=stage,
        step=step,
        steps=settings.steps,
        epoch=(step - 1) // settings.steps_per_epoch + 1,
        seed=profile.seed,
        batch=batch_digest(record for batch in micro_batches for record in batch.record_ids),
        recorded=recorded_step(data / stage / TRACE, step),
        changed=_changed(profile, stage, data / stage / MANIFEST, backbones),
        micro_batches=rows,
        texts=tuple(reader.decoded(row) for part in rows for row in part),
        images={sample.key: sample for _, sample in images.values()},
    )


def as_json(found: Replay) -> dict[str, Any]:
    """All but the pixels, which are in the files below ``images``."""
    keys = ("profile", "stage", "step", "steps", "epoch", "seed", "batch", "recorded", "equal", "changed")
    texts = iter(found.texts)
    parts = [
        {
            "places": rows[0].length + rows[0].padding,
            "loss_tokens": sum(row.loss_tokens for row in rows),
            "samples": [
                {**asdict(row), "length": row.length, "loss_tokens": row.loss_tokens, "decoded": next(texts)}
                for row in rows
            ],
        }
        for rows in found.micro_batches
    ]
    return {**{key: getattr(found, key) for key in keys}, "micro_batches": parts}


def write(found: Replay, out: Path) -> tuple[Path, Path]:
    """Write ``<stage>-step-<N>.png`` and ``.json``, and below ``images`` the images. Equal batches, equal bytes.

    Returns:
        The picture and the JSON.
    """
    from tinygptv.provenance.batch_picture import draw

    picture, content = out / f"{found.name}.png", out / f"{found.name}.json"
    for sample in found.images.values():
        assert sample.record.image is not None, "these are images"
        write_bytes(out / "images" / sample.record.image.file, sample.image_bytes)
    write_json(content, as_json(found))
    draw(
        found.micro_batches,
        headline(found),
        {key: sample.image for key, sample in found.images.items() if sample.image},
        picture,
    )
    return picture, content


def headline(found: Replay) -> list[str]:
    """What the batch is, how large, and how it compares with the recorded one: three lines and one for each change."""
    rows, parts = found.rows, len(found.micro_batches)
    return [
        f"{found.profile} {found.stage}, step {found.step} of {found.steps}, epoch {found.epoch}: "
        f"{len(rows)} samples in {parts} micro-batch{'es' if parts > 1 else ''}",
        f"{sum(row.length for row in rows)} tokens, {sum(row.loss_tokens for row in rows)} of them with loss, "
        f"and {sum(row.padding for row in rows)} places of padding",
        f"batch {found.batch}: {_verdict(found)}",
        *(f"changed since the stage was trained: {line}" for line in found.changed.values()),
    ]


def _verdict(found: Replay) -> str:
    if found.recorded is None:
        return f"{found.stage} has no {TRACE} to compare with"
    if found.recorded["batch"] != found.batch:
        return f"differs from {found.recorded['batch']} in {TRACE}"
    return f"the same records as in {TRACE}" + (", but not made in the same way" if found.changed else "")


def recorded_step(path: Path, step: int) -> dict[str, Any] | None:
    """The step's line of a trace, or None where there is no trace.

    Raises:
        DataError: the trace is damaged, or has no such step.
    """
    if not path.is_file():
        return None
    lines = path.read_bytes().splitlines()
    if step > len(lines):
        raise DataError(f"{path} ends at step {len(lines)}: the stage was trained otherwise; run `dvc repro`")
    try:
        point = json.loads(lines[step - 1])
        whole = point["step"] == step and isinstance(point["batch"], str)
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise DataError(f"{path}: line {step} is not the record of step {step}; restore it with `dvc checkout`")
    return dict(point)


def made(root: Path, folder: Path) -> Path:
    """An output that a command needs.

    Raises:
        DataError: it is not there.
    """
    if not folder.is_dir():
        making = how_to_make(root, folder.parent.name, folder.name)
        raise DataError(f"{folder} is missing; run {making}, or `dvc pull`")
    return folder


def _changed(profile: Profile, stage: str, manifest: Path, backbones: Path) -> dict[str, str]:
    """What decides a batch, as the stage's manifest has it, against the present."""
    if not manifest.is_file():
        return {}
    recorded = read_json(manifest)
    model = profile.config.model
    present = {
        "seed": profile.seed,
        "config": {
            stage: profile.config.stage(stage).model_dump(mode="json", include=set(STAGE_KEYS)),
            "model": {
                "text": {"vocab_size": model.text.vocab_size},
                "qformer": {"num_query_tokens": model.qformer.num_query_tokens},
            },
        },
        "backbones": {TOKENIZER: sha256_file(backbones / TOKENIZER)},
    }
    return changed_keys(_like(recorded, present), present)


def _like(content: Any, pattern: Any) -> Any:
    """The part of ``content`` that has the keys of ``pattern``; values of a stage's keys are taken whole."""
    if not isinstance(pattern, dict) or not isinstance(content, dict):
        return content
    return {
        key: content.get(key) if key in STAGE_KEYS else _like(content.get(key), value) for key, value in pattern.items()
    }
