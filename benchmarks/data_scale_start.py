"""What the start of a stage costs beside imports and model, where its data set has millions of records.

    python benchmarks/data_scale_start.py make FOLDER RECORDS
    python benchmarks/data_scale_start.py start FOLDER STEP

``make`` writes an index of so many rows. Its tars, and the features that belong to them, are links to one of each: a
row is read at its place, whatever lies at other places. ``start`` prints JSON: seconds and MiB from the call that opens
the index to the first batch, as ``steps/train.py`` does it, with the trace of a run that was stopped at that step.
Pages of mapped files count as memory; the system may take them back.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_scale_made import DATASET, PROFILE, write_encoder, write_profile

STAGE = "stage1"
LIKE_THE_PAPER = {"steps_per_epoch": 5000, "epochs": 1, "repeats": 17, "batch_size": 64, "micro_batch_size": 16}
BLOCK = 1000
WORDS = ("a", "the", "cat", "dog", "sits", "runs", "on", "under", "table", "tree", "red", "small", "in", "with", "sun")


def records() -> Iterator[tuple[Any, bytes]]:
    """The samples of a block, each with an image that nobody decodes."""
    from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn, image_key

    draw = random.Random(0)
    found = []
    for number in range(BLOCK):
        content = f"image {number}".encode()
        digest = hashlib.sha256(content).hexdigest()
        answer = " ".join(draw.choices(WORDS, k=draw.randint(3, 30)))
        record = Record(f"{number:07d}", "caption", (Turn("", answer),), (), DATASET)
        info = ImageInfo(f"{image_key(digest)}.jpg", 640, 480, digest)
        found.append((ImageRecord(image_key(digest), info, DATASET, "CC0-1.0", (record,)), content))
    yield from sorted(found, key=lambda sample: sample[0].key)


def make(folder: Path, count: int) -> None:
    """Write profile, shards, features and tokenizer."""
    import torch

    from tinygptv.config.profiles import read_config
    from tinygptv.data import features
    from tinygptv.data.index import block_name
    from tinygptv.data.index_writer import IndexPart, write_index
    from tinygptv.data.shards import write_block
    from tinygptv.data.summary import DIGESTS, INDEXES
    from tinygptv.data.views import write_views
    from tinygptv.ground.file_names import IMAGE_ENCODER, SUMMARY
    from tinygptv.ground.files import sha256_file, write_json
    from tinygptv.model.language import of_profile
    from tinygptv.pretraining.documents import train_tokenizer

    profile = write_profile(folder, folder, 0, **LIKE_THE_PAPER)
    config = read_config(profile)
    model, stage = config.model, config.stage(STAGE)
    data = folder / "data" / PROFILE
    shards, cached = data / "shards" / DATASET, data / "features" / str(stage.image_size) / DATASET
    for path in (shards, cached):
        path.mkdir(parents=True)
    rows, samples = folder / "rows.npy", list(records())
    sha256, facts = write_block(folder / "block.tar", rows, samples)
    query = model.qformer.num_query_tokens, model.qformer.hidden_size
    found = {hashlib.sha256(content).digest(): torch.randn(query) for _, content in samples}
    block = folder / "block.safetensors"
    write_encoder(profile, data / "backbones")
    encoder = sha256_file(data / "backbones" / IMAGE_ENCODER)
    features.write_block(block, found, torch.empty(0, *query), tar=sha256, encoder=encoder)
    blocks = range(count // BLOCK)
    parts = [IndexPart(rows, number, sha256, facts["samples"], facts["tasks"]) for number in blocks]
    write_index(shards / "train.arrow", DATASET, parts)
    of_block = {"sha256": "0" * 64, "bytes": block.stat().st_size, "tar": sha256}
    for number in blocks:
        os.link(folder / "block.tar", shards / f"{block_name('train', number)}.tar")
        os.link(block, cached / f"{block_name('train', number)}.safetensors")
    tars = {f"{block_name('train', number)}.tar": sha256 for number in blocks}
    write_json(shards / SUMMARY, {DIGESTS: tars, INDEXES: {"train": sha256_file(shards / "train.arrow")}})
    write_views(shards.parent, config)
    of_set = {DATASET: dict.fromkeys(blocks, of_block)}
    features.write_view(data / "features", STAGE, stage.image_size, encoder, of_set, {})
    texts = [" ".join(WORDS)] * 8
    tokenizer = train_tokenizer(texts, stage.prompt, model.text.vocab_size, of_profile(model.text).end_of_text)
    tokenizer.save_pretrained(data / "backbones")


def start(folder: Path, step: int) -> dict[str, Any]:
    """Begin at a step; 0 is the beginning of the stage."""
    import torch

    from tinygptv.config.profiles import read_config
    from tinygptv.training import loop
    from tinygptv.training.batches import stage_batches
    from tinygptv.training.resume import ResumePoints

    torch.set_num_threads(1)
    config = read_config(folder / "configs" / f"{PROFILE}.yaml")
    stage, data = config.stage(STAGE), folder / "data" / PROFILE
    small: Any = torch.nn.Linear(1, 1)  # in the place of the model
    state = loop.new_state(small, dict(small.named_parameters()), stage, (7, STAGE))
    point: Any = {"loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16}
    state.trace = [{"step": number, **point} for number in range(1, step + 1)]
    ResumePoints(folder / "state", {"step": step}).save(state)
    state.trace = []
    warm_up(config)

    before, mapped = memory("VmRSS"), memory("RssFile")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    started = time.perf_counter()
    batches = stage_batches(
        config, STAGE, 7, shards=data / "shards", backbones=data / "backbones", features=data / "features"
    )
    mixing = batches.mixing()
    opened = time.perf_counter()
    batches.check()
    checked = time.perf_counter()
    ResumePoints(folder / "state", {"step": step}).restore(state)
    restored = time.perf_counter()
    made = batches.batch(state.step)
    done = time.perf_counter()
    assert state.step == step and sum(len(batch.record_ids) for batch in made) == stage.batch_size, mixing
    seconds = {
        "index and order": opened - started,
        "check": checked - opened,
        "trace": restored - checked,
        "first batch": done - restored,
        "in all": done - started,
    }
    return {
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "mib": round(memory("VmHWM") - before, 1),
        "of_mapped_files_mib": round(memory("RssFile") - mapped, 1),
    }


def warm_up(config: Any) -> None:
    """Import what a start imports, which counts for every stage, however few its records are."""
    import pyarrow as pa
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    assert pa.ipc and Tokenizer and PreTrainedTokenizerFast and config.model


def memory(line: str) -> float:
    """MiB of this process, as a line of its status says."""
    found = dict(row.split(":") for row in Path("/proc/self/status").read_text().splitlines())
    return int(found[line].split()[0]) / 1024


def main() -> None:
    """Make, or measure a start."""
    what, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if what == "make":
        make(folder, number)
    else:
        print(json.dumps(start(folder, number)))


if __name__ == "__main__":
    main()
