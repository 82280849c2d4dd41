"""What a registered version says about itself: where it comes from and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.config import STEPS
from tinygptv.tracking.content import lock_md5
from tinygptv.tracking.gate import Decision


def step_digests(root: Path, profile: str) -> dict[str, str]:
    """Step → DVC digest of its output, in the order of the pipeline; steps without one are left out."""
    found = {step: lock_md5(root, Path("data") / profile / step) for step in STEPS}
    return {step: digest for step, digest in found.items() if digest is not None}


def lineage_card(
    *,
    profile: str,
    git_sha: str,
    digests: Mapping[str, str],
    package_sha256: str,
    quantized: Mapping[str, Any],
    unquantized: Mapping[str, Any],
    decision: Decision,
) -> str:
    """The version's description in Markdown.

    Args:
        profile: the profile that trained it.
        git_sha: the commit of code and configuration.
        digests: step → DVC digest.
        package_sha256: digest of the registered folder.
        quantized: ``quantize.json``, the registered model's results.
        unquantized: ``evaluate.json``, the results before the 8-bit step.
        decision: what the gate said.
    """
    before = unquantized.get("benchmarks") or {}
    lines = [
        f"TinyGPT-V, 8-bit, profile `{profile}`.",
        "",
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
    verdict = "passed" if decision.passed else "refused: " + "; ".join(decision.reasons)
    lines += ["", f"Gate: {verdict}.", "", "| step | DVC digest of its output |", "|---|---|"]
    lines += [f"| {step} | `{digest}` |" for step, digest in digests.items()]
    lines += ["", f"Commit `{git_sha}`. Package sha256 `{package_sha256}`."]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
