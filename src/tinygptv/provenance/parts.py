"""Parts of a step's output made again and compared: batches of a stage, blocks of features.

``python -m tinygptv.provenance.parts STEP --profile NAME --day DATE --seed N`` prints what came of it as JSON: how many
parts there are, which were looked at, and a line for each that came out otherwise. It works in the current folder, a
checkout whose data are those of the lock.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tinygptv.config.profiles import Profile, read_profile
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_USER_ERROR, DataError, UserError
from tinygptv.ground.file_names import IMAGE_ENCODER, view_of
from tinygptv.ground.files import read_json, sha256_file
from tinygptv.ground.folders import data_folder, find_root
from tinygptv.ground.names import STAGES
from tinygptv.ground.startup import begin
from tinygptv.provenance.sample import IN_PARTS, WeeklyDraw


def made_again(root: Path, profile: Profile, step: str, sample: WeeklyDraw) -> dict[str, Any]:
    """Make the drawn parts of a step again.

    Args:
        root: the checkout.
        profile: the profile.
        step: one of ``IN_PARTS``.
        sample: what is drawn.

    Returns:
        ``total``, ``looked_at`` (numbers) and ``differing`` (lines).

    Raises:
        UserError: what a part is made of, or what it is compared with, is missing or damaged.
    """
    if step in STAGES:
        total = profile.config.stage(step).steps
        numbers = sample.parts(step, total)
        differing = list(_batches(root, profile, step, numbers))
    else:
        listed = list(_listed(data_folder(root, profile.name) / step))
        total = len(listed)
        numbers = sample.parts(step, total)
        differing = list(_blocks(root, profile, step, [listed[number] for number in numbers]))
    return {"total": total, "looked_at": numbers, "differing": differing}


def _batches(root: Path, profile: Profile, stage: str, numbers: list[int]) -> Iterator[str]:
    """The batches that are not those that the stage's trace has."""
    from tinygptv.provenance.replay import replay

    for number in numbers:
        found = replay(root, profile.name, stage, number + 1)
        if found.recorded is None:
            raise DataError(f"{stage} has no record of its steps to compare with; train it again")
        if not found.equal:
            was = found.recorded["batch"]
            yield "; ".join([f"batch of training step {number + 1}: {was} (lock), {found.batch} (now)", *found.changed])


def _listed(features: Path) -> Iterator[tuple[int, str, str, int, dict[str, Any]]]:
    """Resolution, data set, split, number and facts of every block that a view has, each once, in one order."""
    from tinygptv.data.features import VIEWED

    found = {}
    for stage in STAGES:
        view = read_json(features / view_of(stage))
        for split, section in VIEWED.items():
            for dataset, blocks in view.get(section, {}).items():
                for number, facts in blocks.items():
                    found[view["image_size"], dataset, split, int(number)] = facts
    for key in sorted(found):
        yield *key, found[key]


def _blocks(
    root: Path, profile: Profile, step: str, chosen: list[tuple[int, str, str, int, dict[str, Any]]]
) -> Iterator[str]:
    """The blocks of features that come out with other bytes."""
    from tinygptv.data.feature_rows import Wanted
    from tinygptv.data.index import block_name
    from tinygptv.data.views import open_view
    from tinygptv.ground import digests, runtime
    from tinygptv.model.row_maker import row_maker

    data, config = data_folder(root, profile.name), profile.config
    device = runtime.prepare(config.runtime, profile.seed)
    shards, backbones = open_view(data / "shards", step), data / "backbones"
    encoder = digests.sha256(backbones / IMAGE_ENCODER)
    maker = row_maker(config, backbones, sorted({size for size, *_ in chosen}), device)
    with TemporaryDirectory(prefix="tinygptv-") as folder:
        for size, dataset, split, number, facts in chosen:
            path = Path(folder) / "block"
            maker.make(shards[dataset][split].tar(number), facts["tar"], encoder, [Wanted(size, path, ())])
            if (now := sha256_file(path)) != facts["sha256"]:
                yield f"{step}/{size}/{dataset}/{block_name(split, number)}: {facts['sha256']} (lock), {now} (now)"


def main() -> int:
    """Look at the parts of the step on the command line."""
    begin()
    parser = Parser(prog="python -m tinygptv.provenance.parts", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=sorted(IN_PARTS))
    parser.add_argument("--profile", required=True)
    parser.add_argument("--day", type=date.fromisoformat, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    try:
        root = find_root(Path.cwd())
        sample = WeeklyDraw(asked.day, asked.seed, 0.0)
        print(json.dumps(made_again(root, read_profile(root, asked.profile), asked.step, sample)))
    except UserError as error:
        print(f"{asked.step}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
