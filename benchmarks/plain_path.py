"""What a stage learns on the fast path and on the plain one: the same steps from the same weights, and the answers.

    python benchmarks/plain_path.py                        # stage 4 of the profile tiny, after `dvc repro stage3`
    python benchmarks/plain_path.py --steps 3 --seeds 7    # whether it runs

Each seed draws the stage's batches and its dropout, and trains both paths on them: the plain one is the oracle of
tests/training (transformers' own operations, a mask, logits at every position), the fast one has all that the step
has: samples packed in one row, logits at target positions alone. Then both answer the same questions of easy-VQA's
test set. Speed with no learning would show in accuracies as before the first step, or in gradients that are nothing.
Results: benchmarks/results/plain_path.json, after each seed; those of other seeds stay, where steps and questions are
as many.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from tinygptv.config import Config
    from tinygptv.config.profiles import Profile
    from tinygptv.data.batches import Batch
    from tinygptv.data.index import ImagePlace
    from tinygptv.evaluation.held_out import HeldOutQuestions
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the plain path is the tests'
RESULTS = ROOT / "benchmarks" / "results" / "plain_path.json"
STAGE = "stage4"
PATHS = ("plain", "fast")


def main() -> int:
    """Train, print the table, write the results."""
    options = parse_arguments()
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground import runtime
    from tinygptv.ground.errors import UserError
    from tinygptv.ground.files import read_json, write_json
    from tinygptv.ground.tables import plain_table

    asked = {name: getattr(options, name) for name in ("steps", "batch", "questions")}
    known = read_json(RESULTS) if RESULTS.is_file() else {}
    by_seed = {row["seed"]: row for row in known.get("seeds", ())} if known.items() >= asked.items() else {}
    try:
        profile = read_profile(ROOT, "tiny")
        for row in measure(profile, options.data or ROOT / "data" / "tiny", options):
            by_seed[row["seed"]] = row
            told = summary(list(by_seed.values()))
            write_json(
                RESULTS,
                {
                    "stage": STAGE,
                    **asked,
                    **told,
                    "seeds": list(by_seed.values()),
                    "environment": runtime.environment(),
                },
            )
    except UserError as error:
        print(f"plain_path: {error}", file=sys.stderr)
        return 2
    heads = ("seed", "path", *row["fast"])
    rows = [(seed, path, *row[path].values()) for seed, row in by_seed.items() for path in PATHS]
    print(plain_table(heads, [[str(value) for value in row] for row in rows], right=range(2, len(heads))))
    print("\n".join(f"{key}: {value}" for key, value in told.items()))
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """How far the paths are apart, beside how far seeds are."""
    accuracies = {path: [row[path]["accuracy"] for row in seeds] for path in PATHS}
    differences = [fast - plain for plain, fast in zip(*accuracies.values(), strict=True)]
    return {
        "mean_accuracy": {path: round(statistics.fmean(values), 4) for path, values in accuracies.items()},
        "differences": [round(difference, 4) for difference in differences],
        "mean_difference": round(statistics.fmean(differences), 4),
        "spread_of_seeds": {path: round(max(values) - min(values), 4) for path, values in accuracies.items()},
        "least_gradient_norm": min(row[path]["least_norm"] for row in seeds for path in PATHS),
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the outputs of the steps (default: data/tiny)")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, help="records of a step (default: the profile's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--questions", type=int, default=1000, help="held-out questions that are answered")
    return parser.parse_args()


def measure(profile: Profile, data: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What each seed gave: the accuracy before the first step, and what became of it on each path."""
    from tests.training.plain import plain
    from tinygptv.ground import runtime
    from tinygptv.steps.train import load_model

    stage = profile.config.stage(STAGE).model_copy(update={"steps_per_epoch": options.steps, "epochs": 1})
    if options.batch is not None:
        stage = stage.model_copy(update={"batch_size": options.batch, "micro_batch_size": options.batch})
    config = profile.config.model_copy(update={STAGE: stage})
    device = runtime.prepare(config.runtime, profile.seed)

    def begun() -> TinyGPTVForConditionalGeneration:
        return load_model(config, STAGE, data / "backbones", data / "stage3", device)[0]

    questions = held_out(config, data, options.questions, device)
    print(f"{len(questions)} held-out questions")
    before = round(questions.score(begun().eval()), 4)
    for seed in options.seeds:
        row: dict[str, Any] = {"seed": seed, "accuracy_before": before}
        for path in PATHS:
            model = plain(begun()) if path == "plain" else begun()
            row[path] = train(config, seed, data, model, path)
            row[path]["accuracy"] = round(questions.score(model.eval()), 4)
            print(f"seed {seed}, {path}: {row[path]}", flush=True)
        yield row


def held_out(config: Config, data: Path, count: int, device: torch.device) -> HeldOutQuestions:
    """Questions of easy-VQA's test set, evenly spread; their images are encoded here."""
    import torch

    from tinygptv.config.training import Validation
    from tinygptv.data.views import open_view
    from tinygptv.evaluation.held_out import HeldOutQuestions
    from tinygptv.evaluation.stages import processor_of
    from tinygptv.training.batches import encoder_beside, images_of

    looks = Validation(every=1, batches=1, questions=count, keep="score", patience=None)
    changes = {"features": "in_loop", "mixture": {"easy_vqa/vqa": 1.0}, "validation": looks}
    stage = config.stage(STAGE).model_copy(update=changes)
    indexes, backbones = open_view(data / "shards", "evaluate"), data / "backbones"
    images = images_of(stage, STAGE, "test", indexes, data / "features")
    encode = encoder_beside(config.model_copy(update={STAGE: stage}), STAGE, backbones, device)
    assert encode is not None

    def features(places: Sequence[ImagePlace]) -> torch.Tensor:
        size = config.features.batch_size
        return torch.cat([encode(images.batch(places[at : at + size])) for at in range(0, len(places), size)])

    return HeldOutQuestions(
        STAGE,
        stage,
        config.data,
        {name: splits["test"] for name, splits in indexes.items()},
        processor=processor_of(config, STAGE, backbones),
        features=features,
        positions=config.model.text.max_position_embeddings,
    )


def train(config: Config, seed: int, data: Path, model: TinyGPTVForConditionalGeneration, path: str) -> dict[str, Any]:
    """Train all steps; what the trace says."""
    from unittest.mock import patch

    from tests.training.plain import plain_loss
    from tinygptv.ground import runtime
    from tinygptv.model import adapters
    from tinygptv.training import loop, step
    from tinygptv.training.batches import stage_batches, steps_of

    def by_oracle(model: TinyGPTVForConditionalGeneration, batch: Batch, *_: Any, **__: Any) -> torch.Tensor:
        asked.append(batch)
        return plain_loss(model, batch)

    asked: list[Batch] = []
    fast = path == "fast"
    stage = config.stage(STAGE).model_copy(update={"packing": fast, "label_only_logits": fast})
    batches = stage_batches(
        config, STAGE, seed, shards=data / "shards", backbones=data / "backbones", features=data / "features"
    )
    runtime.prepare(config.runtime, seed)
    state = loop.new_state(model, adapters.trainable_parameters(model), stage, (seed, STAGE))
    started = time.perf_counter()
    with patch.object(step, "batch_loss", step.batch_loss if fast else by_oracle):
        loop.train(state, steps_of(config, STAGE, batches, 0, None), stage, on_step=lambda _: None)
    seconds = time.perf_counter() - started
    assert bool(asked) is not fast, "the plain path asks its oracle, and the fast one does not"
    losses, norms = ([point[key] for point in state.trace] for key in ("loss", "grad_norm"))
    return {
        "first_loss": round(losses[0], 4),
        "last_loss": round(statistics.fmean(losses[-20:]), 4),
        "least_norm": round(min(norms), 4),
        "ms_a_step": round(1000 * seconds / len(losses)),
    }


if __name__ == "__main__":
    sys.exit(main())
