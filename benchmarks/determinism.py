"""What determinism and resume points cost: steps of a stage with and without them, side by side.

    python benchmarks/determinism.py                        # stage 4 of the profile in params.yaml, after `dvc repro`
    python benchmarks/determinism.py --stage stage1 --rounds 9

One process trains the stage's real batches on its real weights. Every turn runs a round of each variant, in an order
that moves on with each turn; a variant's ratio is the median, over the turns, of its time by that of the plain round of
the same turn, so that a machine which becomes slower or faster meanwhile falls out. A resume point is written every 50
steps, whatever the profile says. Then: how long it takes to go on at step 10 and at step 10,000, from
the point on disk to the first batch. Results: benchmarks/results/determinism.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tinygptv.ground.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "determinism.json"
STEPS_OF_A_ROUND = 50
"""One resume point falls into a round, so that its whole price is in each round's time."""
VARIANTS = ("plain", "deterministic", "resume points")


def main() -> int:
    """Measure, print the table, write the results."""
    options = parse_arguments()
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground import runtime
    from tinygptv.ground.errors import UserError
    from tinygptv.ground.files import write_json
    from tinygptv.ground.tables import plain_table

    try:
        profile = read_profile(ROOT, options.profile)
        seconds, resumed = measure(profile, options.stage, options.rounds)
    except UserError as error:
        print(f"determinism: {error}", file=sys.stderr)
        return 2
    medians = {variant: statistics.median(times) for variant, times in seconds.items()}
    ratios = {
        variant: statistics.median(time / plain for time, plain in zip(times, seconds["plain"], strict=True))
        for variant, times in seconds.items()
    }
    rows = [(variant, f"{1000 * medians[variant]:.2f}", f"{ratios[variant]:.4f}") for variant in VARIANTS]
    print(plain_table(("variant", "ms a step", "ratio"), rows, right=[1, 2]))
    for step, times in resumed.items():
        print(f"going on at step {step}: {statistics.median(times):.3f} s")
    content = {
        "profile": profile.name,
        "stage": options.stage,
        "steps_of_a_round": STEPS_OF_A_ROUND,
        "rounds": options.rounds,
        "environment": runtime.environment(),
        "seconds_of_a_step": {variant: [round(s, 6) for s in times] for variant, times in seconds.items()},
        "seconds_to_go_on_at_step": {str(step): round(statistics.median(times), 4) for step, times in resumed.items()},
        "median": {variant: round(median, 6) for variant, median in medians.items()},
        "ratio": {variant: round(ratio, 4) for variant, ratio in ratios.items()},
    }
    write_json(RESULTS, content)
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="default: the one in params.yaml")
    parser.add_argument("--stage", default="stage4", choices=("stage1", "stage2", "stage3", "stage4"))
    parser.add_argument("--rounds", type=int, default=15, help="of each variant")
    return parser.parse_args()


def measure(profile: Any, name: str, rounds: int) -> tuple[dict[str, list[float]], dict[int, list[float]]]:
    """Seconds of a step, by variant, one value a round; the first round of each warms up and does not count.

    Beside it, seconds to go on, by step.
    """
    import torch

    from tinygptv.ground import runtime
    from tinygptv.ground.folders import data_folder
    from tinygptv.model import adapters, stage_checkpoint
    from tinygptv.steps.train import load_model
    from tinygptv.training import loop
    from tinygptv.training.batches import stage_batches
    from tinygptv.training.resume import ResumePoints

    data, config = data_folder(ROOT, profile.name), profile.config
    stage = config.stage(name).model_copy(update={"steps_per_epoch": STEPS_OF_A_ROUND, "epochs": 1, "repeats": 1})
    device = runtime.prepare(config.runtime, profile.seed)
    parent = stage_checkpoint.parent_of(name)
    model, *_ = load_model(config, name, data / "backbones", data / parent if parent else None, device)
    batches = stage_batches(
        config, name, profile.seed, shards=data / "shards", backbones=data / "backbones", features=data / "features"
    )
    made = [batches.batch(step) for step in range(STEPS_OF_A_ROUND)]  # making them costs the same in every variant
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:  # on the disk where resume points go
        points = ResumePoints(Path(folder), {"benchmark": name})
        for turn in range(rounds + 1):
            first = turn % len(VARIANTS)
            for variant in (*VARIANTS[first:], *VARIANTS[:first]):
                torch.use_deterministic_algorithms(variant == "deterministic")
                state = loop.new_state(model, adapters.trainable_parameters(model), stage, (profile.seed, name))

                def on_step(state: loop.TrainingState, save: bool = variant == "resume points") -> None:
                    if save and state.step % STEPS_OF_A_ROUND == 0:
                        points.save(state)

                started = time.perf_counter()
                loop.train(state, made, stage, on_step=on_step)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:
                    seconds[variant].append((time.perf_counter() - started) / STEPS_OF_A_ROUND)
        resumed: dict[int, list[float]] = {10: [], 10_000: []}
        point: Any = {"loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16}
        for _ in range(rounds):
            for step, times in resumed.items():
                state.trace = [{"step": number, **point} for number in range(1, step + 1)]
                ResumePoints(Path(folder) / str(step), {}).save(state)
                started = time.perf_counter()
                ResumePoints(Path(folder) / str(step), {}).restore(state)
                batches.batch(state.step)
                times.append(time.perf_counter() - started)
    return seconds, resumed


if __name__ == "__main__":
    sys.exit(main())
