"""The profile of a user's data: the settings of the profile that it begins with, and what follows from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config, DataSet, parse_entry
from tinygptv.config.profiles import check_config
from tinygptv.ground.errors import UserError
from tinygptv.ground.names import LAST_STAGE, STAGES
from tinygptv.ground.yaml_files import from_yaml
from tinygptv.own_data import profile_words as words
from tinygptv.own_data.amounts import Amounts, amounts, held_out
from tinygptv.own_data.judging import Judged, caption_entry, judge
from tinygptv.own_data.lengths import Limits, limits_of
from tinygptv.own_data.profile_text import text_of
from tinygptv.own_data.reading import Reading
from tinygptv.planning import plan
from tinygptv.planning.data import Counted, cheaper_way, set_plans
from tinygptv.planning.memory import stage_memory
from tinygptv.planning.sizes import measure

if TYPE_CHECKING:
    from tinygptv.own_data.start import Beginning

REJECTED = 0.01
"""Share of rejected records that is let pass beside those that are known."""
AGREEMENT = 0.9
LOOKS, LOOK_BATCHES, LOOK_QUESTIONS, PATIENCE = 10, 8, 64, 4
"""How often a stage looks at what is held out, at how much of it, and after how many looks in vain it ends."""
FEW_PICTURES = 10
"""So many are expected among the held-out records before questions about them are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a user is told of a profile."""

    held_out: str
    judged: str
    training: str
    warnings: tuple[str, ...]


def profile_of(
    name: str, dataset: str, settings: DataSet, reading: Reading, start: Beginning, stages: Sequence[str] = ()
) -> tuple[str, Told]:
    """A complete profile.

    Args:
        name: the profile's.
        dataset: the data set's.
        settings: its section, without shares.
        reading: what it holds.
        start: what training starts from.
        stages: those that train; none: the last.

    Returns:
        The profile as YAML, and what to say of it.

    Raises:
        UserError: a stage trains on what the data have none of.
        DataError: a record is too long for the model.
    """
    trained = tuple(stages) or (LAST_STAGE,)
    judged = judge(dataset, reading, settings.task)
    images = sum(reading.images.values())
    shares = held_out(images)
    training = reading.images["train"] / images
    records = round((reading.turns if judged.task else reading.records) * training)
    limits = _limits(start, reading, judged)
    content = _sections(name, dataset, settings, reading, start, judged, shares, limits)
    chosen: dict[str, Amounts] = {}
    for stage in STAGES:
        content[stage] = _stage(start, stage if stage in trained else LAST_STAGE, dataset, reading, limits)
        if stage in trained:
            chosen[stage] = _amounts(content, stage, records)
            content[stage] |= _as_keys(content[stage], chosen[stage]) | _looks(reading, shares, chosen[stage].steps)
    for stage in STAGES:
        if stage not in trained:  # it hands on what it begins with, and is asked as the last one is
            content[stage] = {**content[LAST_STAGE], "epochs": 0}
    content = {key: content[key] for key in _order(content)}
    config = check_config(content, f"the profile {name}")
    for stage in trained:
        content[stage]["features"] = _features(config, stage, dataset, reading.images["train"])
    for stage in STAGES:
        if stage not in trained:
            content[stage]["features"] = content[LAST_STAGE]["features"]
    text = text_of(content, words.head(name, start), words.comments(dataset, judged, chosen, reading, records))
    check_config(from_yaml(text, "the new profile"), f"the profile {name}")
    told = Told(
        held_out=words.shares(reading, shares),
        judged=judged.why,
        training=words.training(chosen, records),
        warnings=tuple(words.warnings(reading, limits, chosen, start)),
    )
    return text, told


def _sections(
    name: str,
    dataset: str,
    settings: DataSet,
    reading: Reading,
    start: Beginning,
    judged: Judged,
    shares: Mapping[str, float],
    limits: Limits,
) -> dict[str, Any]:
    base = start.config.model_dump(mode="json", by_alias=True)
    content = {key: base[key] for key in ("runtime", "model", "shards", "features", "loader", "quantize")}
    own = {key: value for key, value in settings.model_dump(mode="json").items() if value not in (None, "", [], {})}
    own |= {"split": dict(shares)}
    own |= {key: value for key, value in (("task", judged.task), ("benchmark", judged.benchmark)) if value}
    content["data"] = {dataset: own}
    left_out = reading.rejections.count / max(reading.found, 1)
    content["shards"] = {**base["shards"], "max_rejected": round(min(0.99, left_out + REJECTED), 3)}
    if start.init is not None:
        content["init"] = {"from": start.init}
        content["backbones"] = {"source": "init"}
    else:
        content["backbones"] = base["backbones"]
    positions = start.config.model.text.max_position_embeddings
    longest = max(base["evaluate"]["max_new_tokens"], limits.answer)
    content["evaluate"] = {
        **base["evaluate"],
        "benchmarks": [dataset],
        "max_new_tokens": min(longest, positions),
    }
    questions = max(1, round(reading.turns * shares["test"]))
    margin = round(min(0.2, max(0.01, questions**-0.5)), 2)
    gate = base["register"]["gate"] | {
        "min_value": judged.least,
        "margin": dict.fromkeys(judged.least, margin),
        "min_agreement": min(AGREEMENT, base["register"]["gate"]["min_agreement"]),
    }
    content["register"] = {"model_name": f"tinygptv-{name}", "gate": gate}
    return content


def _limits(start: Beginning, reading: Reading, judged: Judged) -> Limits:
    return limits_of(
        reading.sample,
        judged.task,
        start.config.stage(LAST_STAGE).prompt,
        start.tokenizer,
        slots=start.config.model.qformer.num_query_tokens,
        positions=start.config.model.text.max_position_embeddings,
        whole=len(reading.sample) == reading.records,
    )


def _stage(start: Beginning, stage: str, dataset: str, reading: Reading, limits: Limits) -> dict[str, Any]:
    """A stage of the profile that is begun with, on these data."""
    section: dict[str, Any] = start.config.stage(stage).model_dump(mode="json")
    families = {parse_entry(entry).family for entry in section["mixture"]}
    return section | {
        "mixture": {dataset if stage == LAST_STAGE else caption_entry(dataset, stage, families, reading): 1.0},
        "epochs": 1,
        "repeats": 1,
        "max_answer_tokens": limits.answer,
        "max_sequence_tokens": limits.sequence,
    }


def _amounts(content: Mapping[str, Any], stage: str, records: int) -> Amounts:
    """Steps and batch sizes of a stage on the device of the profile, where it is here."""
    section = content[stage]
    batch = section["batch_size"] if isinstance(section["batch_size"], int) else max(section["batch_size"].values())
    section["batch_size"] = batch
    section["micro_batch_size"] = min(section["micro_batch_size"], batch)
    config = check_config({**content, **dict.fromkeys(STAGES, section)}, "the profile")
    sizes = measure(config, stage)
    try:
        device, capacity = plan.device_here(config.runtime)
    except UserError:  # it will run elsewhere
        device, capacity = "cuda", 0

    def fits(size: int, again: bool) -> bool:
        if not capacity:
            return True
        settings = {
            f"{stage}.batch_size": size,
            f"{stage}.micro_batch_size": size,
            f"{stage}.gradient_checkpointing": again,
        }
        return stage_memory(plan.changed(config, settings), stage, sizes, device).peak <= capacity

    return amounts(
        records,
        batch=batch,
        micro=section["micro_batch_size"],
        warmup=section["learning_rate"]["warmup_steps"],
        checkpointing=section["gradient_checkpointing"],
        fits=fits,
    )


def _looks(reading: Reading, shares: Mapping[str, float], steps: int) -> dict[str, Any]:
    """How a stage looks at what is held out; records without a picture are not asked."""
    if not reading.images["val"]:
        return {"validation": None}
    pictures = sum(reading.images.values()) - reading.texts
    asked = not reading.texts or pictures * shares["val"] >= FEW_PICTURES
    return {
        "validation": {
            "every": max(1, steps // LOOKS),
            "batches": LOOK_BATCHES,
            "questions": LOOK_QUESTIONS if asked else None,
            "keep": "score" if asked else "loss",
            "patience": PATIENCE,
        }
    }


def _as_keys(section: Mapping[str, Any], chosen: Amounts) -> dict[str, Any]:
    return {
        "learning_rate": {**section["learning_rate"], "warmup_steps": chosen.warmup_steps},
        "steps_per_epoch": chosen.steps,
        "batch_size": chosen.batch_size,
        "micro_batch_size": chosen.micro_batch_size,
        "gradient_checkpointing": chosen.gradient_checkpointing,
        "checkpoint_every": chosen.checkpoint_every,
        "log_every": chosen.log_every,
    }


def _features(config: Config, stage: str, dataset: str, images: int) -> str:
    """The way with fewer operations."""
    sets = set_plans(config, {dataset: Counted(images=max(1, images), size=0)})
    return cheaper_way(config, stage, sets) or "cached"


def _order(content: Mapping[str, Any]) -> list[str]:
    """Sections in the order of the schema."""
    names = [field.alias or key for key, field in Config.model_fields.items()]
    return [name for name in names if name in content]
