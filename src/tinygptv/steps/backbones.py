"""The step ``backbones``: the frozen image encoder, the language model and its tokenizer.

Published weights, pinned and checked (``backbones.source: hub``), or small stand-ins trained on the shards
(``pretrain``). Both leave the same files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tinygptv.config import Published
from tinygptv.ground import runtime
from tinygptv.ground.file_names import ENVIRONMENT
from tinygptv.ground.files import write_json
from tinygptv.ground.folders import STATE
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    from tinygptv.steps.harness import StepContext

MEGABYTE = 1_000_000


def run(context: StepContext) -> None:
    """Make the backbones of the profile.

    Raises:
        UserError: files are missing, are not the pinned ones, or are those of another model; or the shards hold too
            little to pretrain on.
    """
    from tinygptv.model.weights import backbone_digests
    from tinygptv.tracking import facts

    settings = context.config.backbones
    if isinstance(settings, Published):
        context.run.tags({facts.INPUTS_TAG: ""})  # DVC's graph has the shards before any backbones
        take_published(context, settings)
    else:
        pretrain_standins(context)
    context.run.params(backbone_digests(context.out))
    write_json(context.out / ENVIRONMENT, runtime.environment())


def take_published(context: StepContext, settings: Published) -> None:
    """Fetch the pinned files and turn them into ours. Downloads stay in ``.state/upstream`` for the next time."""
    from tinygptv.model.upstream import build, fetch, pins

    names = (settings.language_model, settings.image_encoder)
    entries = pins.pinned(context.root / pins.PINS, names)
    files = fetch.gather(
        entries,
        folder=context.root / settings.folder if settings.folder else None,
        downloads=context.root / STATE / "upstream",
        bar=DownloadBar,
    )
    for name, entry in entries.items():
        print(f"{name} at {entry.revision}: {len(entry.files)} files as in {pins.PINS}")
    build.build(context.config, files[settings.language_model], files[settings.image_encoder], context.out)
    context.run.params({f"revision of {name}": str(entry.revision) for name, entry in entries.items()})
    context.run.artifact(context.root / pins.PINS)


def pretrain_standins(context: StepContext) -> None:
    """Train them, and put their loss curves on record."""
    from tinygptv.pretraining import standins

    standins.make(standins.StandInJob(context.config, context.seed, context.input("shards"), context.out))
    for name in standins.CURVES:
        curve = standins.curve_path(context.out, name)
        for point in standins.read_curve(curve):
            context.run.metrics({f"{name}_loss": point["loss"]}, step=int(point["step"]))
        context.run.artifact(curve)


def megabytes(count: int) -> int:
    """Bytes as megabytes, rounded up."""
    return -(-count // MEGABYTE)


class DownloadBar:
    """A download in the form of our other progress lines, used by huggingface_hub in the place of tqdm."""

    def __init__(self, *, desc: str, total: int | None, initial: int = 0, **others: Any) -> None:
        self._done = initial
        self._progress = Progress(f"{desc} (MB)", megabytes(total or 0), megabytes(initial))

    def update(self, count: float) -> None:
        """Show that so many more bytes have come."""
        self._done += int(count)
        self._progress.update(megabytes(self._done))

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)
