"""A simulator of the pipeline's steps for a number of image-text pairs on a number of GPUs.

A step takes its start and the time of the resource that is busy longest; what a leaf computes and the exchange of its
sums follow one another, so that they are added. Steps follow one another as in dvc.yaml.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scale_exchange import Exchange, Links
from scale_facts import (
    ADDRESSES_A_SECOND_A_NODE,
    CORE_USD_AN_HOUR,
    CORES_A_GPU,
    DEAD_ADDRESSES,
    DISK_TB_A_NODE,
    GET_USD_A_THOUSAND,
    GPU_USD_AN_HOUR,
    GPUS_A_NODE,
    LARGE_PICTURES_SECONDS_OF_16,
    PUT_USD_A_THOUSAND,
    STORAGE_USD_A_GB_MONTH,
    STORE_GB_A_SECOND_A_NODE,
    TOWER_SECONDS_OF_64,
    Measured,
    fitted,
    measured,
)
from scale_recipe import leaf_seconds, longest_seconds, paper, row_bytes, stage2_share

from tinygptv.config import Config

QUESTIONS = 290_720
"""Of the paper profile's benchmarks (configs/paper.yaml says so beside them)."""
QUESTIONS_A_BLOCK = 256
"""What a process takes at once of them (docs/memory.md)."""
SQLITE_MIB = 64.0
"""Of its file of rows that ``shards`` has in memory at most (docs/memory.md)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """So many GPUs, eight to a machine, with their cores."""

    gpus: int
    links: Links = field(default_factory=Links)

    @property
    def nodes(self) -> int:
        """Machines."""
        return math.ceil(self.gpus / GPUS_A_NODE)

    @property
    def cores(self) -> int:
        """Cores of all machines."""
        return self.gpus * CORES_A_GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What a step takes."""

    name: str
    busy: dict[str, float]
    """Resource → seconds that it is busy, if nothing else delays it."""
    start: float = 0.0
    """Seconds before anything is computed."""
    one_after_the_other: bool = False
    """Whether the resources wait for one another."""
    gpus: int = 0
    """That are rented meanwhile."""
    cores: int = 0
    """That are rented without GPUs meanwhile."""
    read: float = 0.0
    """Bytes that come over a network, to all machines together."""
    kept: float = 0.0
    """Bytes that are kept in the object store."""
    puts: float = 0.0
    gets: float = 0.0
    """Requests to the object store."""
    asked: float = 0.0
    """Requests to hosts of the web."""
    mib: float | None = None
    """Peak of the step's own process, of a stage the pages of its mapped index; None where it was not measured."""

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        together = sum(self.busy.values()) if self.one_after_the_other else max(self.busy.values())
        return self.start + together

    @property
    def bound(self) -> str:
        """The resource that is busy longest; the start counts as one."""
        return max({**self.busy, "start": self.start}.items(), key=lambda item: item[1])[0]

    @property
    def usd(self) -> float:
        """Of machines and requests."""
        machines = (self.gpus * GPU_USD_AN_HOUR + self.cores * CORE_USD_AN_HOUR) * self.seconds / 3600
        return machines + self.puts / 1000 * PUT_USD_A_THOUSAND + self.gets / 1000 * GET_USD_A_THOUSAND


@dataclass(frozen=True, slots=True)
class Estimate:
    """All steps for so many pairs on a cluster."""

    pairs: int
    cluster: Cluster
    steps: dict[str, StepCost]
    disk_bytes: float
    """That the fullest machine needs."""

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps.values())

    @property
    def fits(self) -> bool:
        """Whether a machine's disks hold what it needs."""
        return self.disk_bytes <= DISK_TB_A_NODE * 1e12

    @property
    def bottleneck(self) -> str:
        """The longest step and what it waits for, and before it the disk, where that has too little room."""
        longest = max(self.steps.values(), key=lambda step: step.seconds)
        return f"{'' if self.fits else 'disk, then '}{longest.name}: {longest.bound}"

    @property
    def usd(self) -> float:
        """Of machines and requests, without storage."""
        return sum(step.usd for step in self.steps.values())

    @property
    def kept(self) -> float:
        """Bytes in the object store."""
        return sum(step.kept for step in self.steps.values())

    @property
    def usd_a_month(self) -> float:
        """Of keeping them."""
        return self.kept / 1e9 * STORAGE_USD_A_GB_MONTH


def estimate(pairs: int, cluster: Cluster) -> Estimate:
    """What the pipeline of the profile `paper` takes that sees each pair once in stage 1."""
    facts, config = measured(), paper()
    row = row_bytes(config)
    made = (
        fetch(pairs, cluster, facts),
        download(pairs, facts),
        shards(pairs, cluster.cores, facts, config),
        features(pairs, cluster, facts, config),
        copy(pairs, cluster, config),
        shared_stage("stage1", pairs, pairs, cluster, facts),
        shared_stage("stage2", round(pairs * stage2_share(config)), pairs, cluster, facts),
        lone_stage("stage3", facts),
        lone_stage("stage4", facts),
        evaluate(cluster, facts, config),
    )
    pictures = 2 * facts.picture_bytes / cluster.nodes  # raw, and in tars
    disk = pairs * (pictures + row) + index_mib(pairs, facts) * 2**20
    return Estimate(pairs, cluster, {step.name: step for step in made}, disk)


def fetch(pairs: int, cluster: Cluster, facts: Measured) -> StepCost:
    """The pictures of a list of addresses, by img2dataset on every machine."""
    asked = pairs / (1 - DEAD_ADDRESSES)
    size = pairs * facts.picture_bytes
    return StepCost(
        name="fetch",
        busy={
            "hosts": asked / ADDRESSES_A_SECOND_A_NODE / cluster.nodes,
            "network": size / (cluster.links.node_gb_a_second * 1e9) / cluster.nodes,
        },
        cores=cluster.cores,
        read=size,
        asked=asked,
    )


def download(pairs: int, facts: Measured) -> StepCost:
    """Digests of all raw files, which one process reads."""
    start, each = fitted(facts.download)
    return StepCost(name="download", busy={"one process": pairs * each}, start=start, cores=1)


def shards(pairs: int, cores: int, facts: Measured, config: Config) -> StepCost:
    """Records checked, pictures decoded once, tars written, by processes on all cores."""
    start, each = fitted(facts.shards)
    tars = pairs / config.shards.images_per_shard
    return StepCost(
        name="shards",
        busy={"cores": pairs * each * facts.cores / cores},
        start=start,
        cores=cores,
        kept=pairs * facts.picture_bytes,
        puts=tars,
        mib=shards_mib(pairs, facts),
    )


def shards_mib(pairs: int, facts: Measured) -> float:
    """Peak of the step's own process: what it begins with, and the pages of its rows that SQLite keeps."""
    few, many = sorted(facts.shards_mib.items())
    each = (many[1] - few[1]) / (many[0] - few[0])
    return few[1] + min(SQLITE_MIB, max(0.0, each * (pairs - few[0])))


def features(pairs: int, cluster: Cluster, facts: Measured, config: Config) -> StepCost:
    """Every picture decoded by the cores and encoded by the GPUs."""
    _, decoded = fitted(facts.shards)  # `shards` does little but decode (data_scale.json: 1.07 of bare decoding)
    return StepCost(
        name="features",
        busy={
            "cores": pairs * decoded * facts.cores / cluster.cores,
            "image tower": pairs * TOWER_SECONDS_OF_64 / 64 / cluster.gpus,
        },
        start=facts.start_seconds,
        gpus=cluster.gpus,
        kept=pairs * row_bytes(config),
        puts=pairs / config.shards.images_per_shard,
    )


def copy(pairs: int, cluster: Cluster, config: Config) -> StepCost:
    """All rows of features to every machine, for a step's samples may be any; one machine has made them itself."""
    elsewhere = pairs * row_bytes(config) * (1 - 1 / cluster.nodes)
    rate = min(STORE_GB_A_SECOND_A_NODE, cluster.links.node_gb_a_second) * 1e9
    return StepCost(
        name="copy",
        busy={"store": elsewhere / rate},
        gpus=cluster.gpus,
        read=elsewhere * cluster.nodes,
        gets=pairs / config.shards.images_per_shard * (cluster.nodes - 1),
    )


def index_mib(pairs: int, facts: Measured) -> float:
    """Of the mapped index of a data set."""
    return facts.index_mib * pairs / facts.index_records


def shared_stage(name: str, samples: int, pairs: int, cluster: Cluster, facts: Measured) -> StepCost:
    """A stage whose step has a leaf of 64 samples for each GPU, on as many of the GPUs as make it shortest.

    Args:
        name: the stage.
        samples: that it draws.
        pairs: of which it draws them.
        cluster: the GPUs.
        facts: what was measured.
    """

    def on(gpus: int) -> StepCost:
        steps = math.ceil(samples / (facts.step_samples * gpus))
        between = Exchange(facts.gradient_bytes[name], gpus, gpus).exact_seconds(cluster.links)
        return StepCost(
            name=name,
            busy={"GPU": steps * leaf_seconds(name, facts), "exchange": steps * between},
            start=facts.compile_seconds,
            one_after_the_other=True,
            gpus=gpus,
            mib=index_mib(pairs, facts),
        )

    machines = range(2 * GPUS_A_NODE, cluster.gpus + 1, GPUS_A_NODE)
    tried = {*range(1, min(cluster.gpus, GPUS_A_NODE) + 1), *machines, cluster.gpus}
    return min(map(on, sorted(tried)), key=lambda step: step.seconds)


def lone_stage(name: str, facts: Measured) -> StepCost:
    """A stage of the recipe whose steps are a leaf, so that one GPU computes all; its longest time, by the plan."""
    return StepCost(name=name, busy={"one leaf": longest_seconds(name)}, start=facts.compile_seconds, gpus=1)


def evaluate(cluster: Cluster, facts: Measured, config: Config) -> StepCost:
    """Every question in the words of each preset, blocks of them on each GPU."""
    asked = QUESTIONS * len(config.evaluate.presets)
    at_once = min(cluster.gpus, math.ceil(asked / QUESTIONS_A_BLOCK))
    each = facts.prompt_seconds / facts.answer_rows + config.evaluate.max_new_tokens / facts.tokens_a_second
    start, counted = fitted(facts.evaluate)
    (few, few_mib), (many, many_mib) = sorted(facts.evaluate_mib.items())
    return StepCost(
        name="evaluate",
        busy={
            "answers": asked * (each + LARGE_PICTURES_SECONDS_OF_16 / 16) / at_once,
            "cores": asked * counted * facts.cores / cluster.cores,
        },
        start=start + facts.start_seconds,
        gpus=cluster.gpus,
        mib=few_mib + (many_mib - few_mib) / (many - few) * (QUESTIONS - few),
    )
