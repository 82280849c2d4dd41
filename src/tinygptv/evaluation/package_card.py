"""The 8-bit package's model card: what it is, how it answers, and the digests that it was made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config.data import parse_entry
from tinygptv.evaluation.predictions import agreed
from tinygptv.ground.errors import DataError
from tinygptv.ground.names import STAGES

if TYPE_CHECKING:
    from tinygptv.config import Config, DataSet


CARD = "README.md"
TRAINED_ON = ("| trained on | format | licence |", "|---|---|---|")
_ROW = re.compile(r"\| (?P<name>\w+) \| \w+ \| (?P<licence>.*) \|")
UNKNOWN = ("", "unknown")
"""What a profile says of data whose licence nobody looked for (`tinygptv new`)."""


def check_licences(card: Path, folder: Path) -> None:
    """A model that is given to others says what it was trained on, and under which licence.

    Args:
        card: the model card.
        folder: the model's, for the message.

    Raises:
        DataError: there is no card, it names no data, or a licence is not known.
    """
    lines = card.read_text().splitlines() if card.is_file() else []
    if TRAINED_ON[0] not in lines:
        raise DataError(f"{folder} has no model card that names its data and their licences; push what `quantize` made")
    rows = [row for line in lines[lines.index(TRAINED_ON[0]) :] if (row := _ROW.fullmatch(line))]
    if unknown := [row["name"] for row in rows if row["licence"].strip().lower() in UNKNOWN]:
        raise DataError(
            f"{folder}: the licence of {', '.join(unknown)} is unknown; say it in the profile, as "
            f"data.{unknown[0]}.licence, and run the pipeline again, which writes the card"
        )


def trained_on(config: Config) -> dict[str, DataSet]:
    """The data sets that the stages train on, and those of the stand-ins where the profile makes such."""
    training = [stage for name in STAGES if (stage := config.stage(name)).steps]
    used = {parse_entry(entry).dataset for stage in training for entry in stage.mixture}
    used |= set(config.backbones.data if config.backbones.source == "pretrain" else ())
    return {name: settings for name, settings in config.data.items() if name in used}


def model_card(profile: str, report: Mapping[str, Any], made_of: Mapping[str, str], data: Mapping[str, DataSet]) -> str:
    """The card in Markdown.

    Args:
        profile: the profile's name.
        report: that of the step ``quantize``.
        made_of: step, or a file of it → SHA-256 of what it left.
        data: the data sets that it was trained on.
    """
    rows = []
    for name, score in report["benchmarks"].items():
        value = "undefined" if score["value"] is None else f"{score['value']:.4f}"
        ends = " to ".join(f"{end:.4f}" for end in score["ci95"] or ())
        rows.append(f"| {name} | {score['metric']} | {value} | {ends} | {score['n']} |")
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: image-text-to-text",
            "license: apache-2.0",
            "---",
            f"# TinyGPT-V, profile {profile}, 8 bits",
            "",
            "The architecture of TinyGPT-V (arXiv 2312.16862), trained in its four stages; the language model is in",
            "LLM.int8() of bitsandbytes.",
            "",
            "```python",
            "import tinygptv",
            'model = tinygptv.load("path/to/this/folder")  # or, of a hub, "hf://OWNER/NAME@REVISION"',
            'model.answer(["image.png"], ["what color is the shape?"])',
            "```",
            "",
            "| benchmark | metric | value | 95 % interval | n |",
            "|---|---|---|---|---|",
            *rows,
            "",
            agreed(report["agreement"]),
            "",
            *TRAINED_ON,
            *(
                f"| {name} | {settings.format} | {settings.licence.replace('|', '/')} |"
                for name, settings in data.items()
            ),
            "",
            f"Made from these, with seed {report['seed']}:",
            "",
            "| step | SHA-256 |",
            "|---|---|",
            *(f"| {step} | `{digest}` |" for step, digest in made_of.items()),
            "",
        ]
    )
