"""What a registered version says about itself: what it can do, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.ground.dvc import lock_md5
from tinygptv.ground.names import STEPS
from tinygptv.tracking.chain import Chain
from tinygptv.tracking.lineage_view import gate, markdown, promotion

LONGEST_DESCRIPTION = 5000
"""Characters that MLflow's databases keep of a description."""


def step_digests(root: Path, profile: str) -> dict[str, str]:
    """Step → DVC digest of its output, in the order of the pipeline; steps without one are left out."""
    found = {step: lock_md5(root, Path("data") / profile / step) for step in STEPS}
    return {step: digest for step, digest in found.items() if digest is not None}


def describe_version(chain: Chain, quantized: Mapping[str, Any], unquantized: Mapping[str, Any]) -> str:
    """The version's description in Markdown.

    Args:
        chain: the version's lineage, walked after the gate's decision.
        quantized: ``quantize.json``, the registered model's results.
        unquantized: ``evaluate.json``, the results before the 8-bit step.
    """
    version = chain.version
    assert version is not None, "a description is a version's"
    lines = [
        f"TinyGPT-V, 8-bit, profile `{version.profile}`.",
        "",
        *_benchmarks(quantized, unquantized),
        "",
        f"Gate: {gate(version)}. Champion: {promotion(version)}.",
        "",
        *markdown(chain),
        "",
        f"Commit `{version.git_sha}`. Package sha256 `{version.package_sha256}`. "
        f"In full: `tinygptv lineage models:/{version.name}/{version.version}`.",
    ]
    return fit("\n".join(lines) + "\n")


def _benchmarks(quantized: Mapping[str, Any], unquantized: Mapping[str, Any]) -> list[str]:
    before = unquantized.get("benchmarks") or {}
    lines = [
        "| benchmark | metric | 8-bit | 95 % interval | before 8-bit | n | majority | question only |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in sorted((quantized.get("benchmarks") or {}).items()):
        interval = " … ".join(_number(bound) for bound in entry.get("ci95") or ())
        cells = [
            name,
            str(entry.get("metric", "")),
            _number(entry.get("value")),
            interval,
            _number((before.get(name) or {}).get("value")),
            str(entry.get("n", "")),
            _number(entry.get("majority")),
            _number(entry.get("blind")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def fit(text: str) -> str:
    """A description, cut at the end of a line where a database would refuse it."""
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    end = "\n\nCut here: `tinygptv lineage` has all of it.\n"
    return text[: LONGEST_DESCRIPTION - len(end)].rpartition("\n")[0] + end


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
