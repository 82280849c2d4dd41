"""What gpu_memory.py and gpu_step.py share: options, variants, a process for each measurement, results.

Only the standard library here; torch is imported by the processes that measure (gpu_worker.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gpu_variants import VARIANTS, Variant

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from tinygptv.ground.arguments import Parser  # noqa: E402
from tinygptv.ground.files import write_json  # noqa: E402
from tinygptv.ground.names import STAGES  # noqa: E402
from tinygptv.planning.compute import peak_of  # noqa: E402

GB = 10**9
WORKER = Path(__file__).with_name("gpu_worker.py")
NOT_MEASURED = "not measured"
TRANSFORMERS = (5, 23)
"""The oldest version that the model's code was run with; 5.17 lacks some of what it imports."""
TABLES = ("mixture", "batch_size")
"""Keys of a profile whose value is, or can be, a table with keys of its own, and no section."""
YOUNGER = {"architecture": "phi", "num_key_value_heads": None}
"""Keys of ``model.text`` that a profile may leave out: ``config/model.py``, which needs pydantic, has them, too."""


def options(description: str | None, name: str, variants: Sequence[str]) -> Parser:
    """The options of both scripts.

    Args:
        description: the script's docstring.
        name: of the results.
        variants: what it measures unless told otherwise.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the sizes of configs/smoke.yaml: a trial of the script")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(variants), help="see the text")
    parser.add_argument("--gpu", type=float, default=24.0, help="10^9 bytes that may be used (24)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="such as stage3.micro_batch_size=2")
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    parser.add_argument("--minutes", type=float, default=8.0, help="after so many no further process begins (8)")
    parser.add_argument("--plan", action="store_true", help="measure nothing: rows with the plan's numbers alone")
    parser.add_argument("--out", type=Path, help=f"default, for a whole run: benchmarks/results/{name}.json")
    parser.set_defaults(name=name, whole=(list(STAGES), list(variants)))
    return parser


def check(arguments: argparse.Namespace) -> None:
    """End with one line and exit code 2 where the device, a package or a key is missing."""
    missing = [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"{', '.join(missing)} cannot be imported; install torch, transformers and peft"
    elif (found := metadata.version("transformers")) and tuple(map(int, found.split(".")[:2])) < TRANSFORMERS:
        problem = f"transformers is {found}; {'.'.join(map(str, TRANSFORMERS))} or later is needed"
    elif arguments.device == "cpu" and not (arguments.tiny or arguments.plan):
        problem = "--device cpu is for trials of the script; add --tiny"
    elif arguments.device == "cuda" and not arguments.plan and not _has_cuda():
        problem = "torch sees no CUDA device; nothing was measured (a trial on the CPU: --device cpu --tiny)"
    else:
        problem = _wrong_setting(arguments)
    if not problem:
        return
    print(f"{arguments.name}: {problem}", file=sys.stderr)
    raise SystemExit(2)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _wrong_setting(arguments: argparse.Namespace) -> str:
    """What is wrong with ``--set``, if anything."""
    try:
        read_profile(profile_path(arguments), dict(map(setting, arguments.set)))
    except KeyError as error:
        return str(error.args[0])
    return ""


def profile_path(arguments: argparse.Namespace) -> Path:
    """The profile whose sizes are measured."""
    return ROOT / "configs" / ("smoke.yaml" if arguments.tiny else "paper.yaml")


def setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, the value as JSON has it, or else a word."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


class Part(SimpleNamespace):
    """A profile or a section of it, with the forms of pydantic's methods that planning uses."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Part:
        """The same with other values."""
        return Part(**(vars(self) | update))

    def model_dump_json(self) -> str:
        """Its values in one line."""
        return json.dumps(self, default=vars)

    def stage(self, name: str) -> Part:
        """A stage's section of a profile."""
        found: Part = getattr(self, name)
        return found


def read_profile(path: Path, settings: Mapping[str, Any]) -> Part:
    """The part of a profile that training reads, without pydantic and ruamel.yaml.

    Args:
        path: the profile.
        settings: other values of keys such as ``stage3.micro_batch_size``.

    Raises:
        KeyError: there is no such key.
    """
    import yaml  # PyYAML comes with transformers

    def section(value: Any, key: str = "") -> Any:
        if isinstance(value, list):
            return tuple(section(item) for item in value)
        if not isinstance(value, dict) or key in TABLES:
            return value
        return Part(**{name: section(item, name) for name, item in value.items()})

    content = yaml.safe_load(path.read_text())
    content["model"]["text"] = YOUNGER | content["model"]["text"]
    content["model"]["lora"] = {"mlp": False} | content["model"]["lora"]
    config: Part = section({name: content[name] for name in ("runtime", "model", "features", "quantize", *STAGES)})
    for key, value in settings.items():
        name, _, field = key.partition(".")
        if not hasattr(getattr(config, name, None), field):
            raise KeyError(f"{path.name} has no key {key}")
        setattr(getattr(config, name), field, value)
    for name in STAGES:
        stage = getattr(config, name)
        stage.steps_per_repeat = stage.steps_per_epoch * stage.epochs
        stage.steps = stage.steps_per_repeat * stage.repeats
        samples = max(stage.batch_size.values()) if isinstance(stage.batch_size, dict) else stage.batch_size
        stage.micro_batches = -(-samples // stage.micro_batch_size)
    return config


class Measurements:
    """Measurements one after the other, each in a fresh process, until the time is over."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.settings = dict(map(setting, arguments.set))
        self.environment: dict[str, Any] = {}
        self._began = time.monotonic()
        self._cache = tempfile.TemporaryDirectory()
        """What the processes compiled; the first finds nothing there."""

    def each(self, rows: Sequence[tuple[str, str]], **amounts: float) -> Iterator[dict[str, Any]]:
        """A measurement for every stage and variant of ``rows``, in this order.

        Args:
            rows: stages and variants.
            amounts: ``steps``, ``warmup`` and ``seconds`` of a process.
        """
        for number, (stage, variant) in enumerate(rows, start=1):
            row = {"stage": stage, "variant": variant} | self._measure(stage, VARIANTS[variant], amounts)
            self.environment |= row.pop("environment", {})
            seconds = time.monotonic() - self._began
            print(f"[{number}/{len(rows)}, {seconds:.0f} s] {stage} {variant}: {told(row)}", flush=True)
            yield row

    def _measure(self, stage: str, variant: Variant, amounts: Mapping[str, float]) -> dict[str, Any]:
        given = self.arguments
        if variant.package and importlib.util.find_spec(variant.package) is None:
            return {"status": f"{variant.package} is not installed"}
        left = 60 * given.minutes - (time.monotonic() - self._began)
        if left <= 0:
            return {"status": f"{NOT_MEASURED}: {given.minutes:g} minutes were over"}
        settings = {key.replace("stage.", f"{stage}."): value for key, value in variant.settings.items()}
        case = {
            "profile": profile_path(given).stem,
            "stage": stage,
            "device": given.device,
            "settings": settings | self.settings,
            "tower": variant.tower,
            "row": variant.row,
            "gpu": variant.gpu or given.gpu,
            "plan_only": given.plan,
            "cache": self._cache.name,
            **amounts,
        }
        command = [sys.executable, str(WORKER), json.dumps(case)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left + 30)
        except subprocess.TimeoutExpired:
            return {"status": f"{NOT_MEASURED}: stopped after {left + 30:.0f} s"}
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            print(done.stderr, file=sys.stderr)
            return {"status": f"failed: {lines[-1]}"}
        return json.loads(done.stdout.splitlines()[-1])


def told(row: Mapping[str, Any]) -> str:
    """A measurement in a line: its speed, and that it learned."""
    if "samples_per_s" not in row:
        return str(row["status"])
    losses, peak = row["losses"], row["memory"]["peak"]
    held = "" if peak is None else f", {gigabytes(peak)} GB"
    return (
        f"{row['samples_per_s']:.2f} samples/s{held}, first step after {row['start_s']:.1f} s, "
        f"loss {losses[0]:.4f} to {losses[-1]:.4f}, gradient norm {row['norms'][0]:.3g} to {row['norms'][-1]:.3g}"
    )


def result(arguments: argparse.Namespace, environment: Mapping[str, Any], rows: Sequence[Any]) -> dict[str, Any]:
    """The content of a result file; without a measurement the device is null."""
    statuses = {row["status"] for row in rows}
    if "measured" not in statuses:
        status = NOT_MEASURED
    else:
        status = "measured" if statuses <= {"measured", "out of memory"} else "measured in part"
    return {
        "device": environment.get("name"),
        "status": status,
        "environment": dict(environment),
        "profile": profile_path(arguments).stem,
        "gpu_gb": arguments.gpu,
        "settings": arguments.set,
        "variants": {name: VARIANTS[name].what for name in arguments.variants},
        "rows": rows,
    }


def save(arguments: argparse.Namespace, content: Mapping[str, Any]) -> int:
    """Write the results where ``--out`` says, or, if it was a whole run, to their place in the repository.

    Returns:
        The exit code: 1 where a measurement failed.
    """
    failed = [row for row in content["rows"] if row["status"].startswith("failed")]
    changed = arguments.tiny or arguments.quick or arguments.set or arguments.gpu != 24.0
    whole = not (changed or failed) and (arguments.stages, arguments.variants) == arguments.whole
    keep(arguments.out, arguments.name, content, whole=whole)
    return 1 if failed else 0


def keep(out: Path | None, name: str, content: Mapping[str, Any], *, whole: bool) -> None:
    """Write results where ``out`` says, or, if it was a whole run, to their place in the repository; say where."""
    path = out or (ROOT / "benchmarks" / "results" / f"{name}.json" if whole else None)
    if path is None:
        print("not written: this was no whole run; --out names a file")
    else:
        write_json(path, content)
        print(f"written to {path}")


def gigabytes(size: float | None) -> str:
    """Bytes for a table."""
    return "-" if size is None else f"{size / GB:.2f}"


def peak_operations(environment: Mapping[str, Any]) -> float | None:
    """Of the device, as ``peak_of`` knows it."""
    return peak_of(environment.get("name", ""))
