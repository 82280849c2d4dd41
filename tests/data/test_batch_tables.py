"""A table of batch sizes: every step draws from one data set, whatever the stage, and sets come by their ratio."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tinygptv.config import Config
from tinygptv.ground.names import STAGES


def test_a_table_of_batch_sizes_gives_steps_of_one_task(build: Any, smoke: Config) -> None:
    sizes = {"easy_vqa/vqa": 3, "easy_vqa/caption": 1, "easy_vqa/refer": 2}
    stage = smoke.stage4.model_copy(
        update={"mixture": dict.fromkeys(sizes, 1.0), "batch_size": sizes, "micro_batch_size": 2, "steps_per_epoch": 9}
    )
    batches = build(stage)
    seen = []
    for step in range(18):
        draws = batches.order.draws(step)
        (task,) = {draw.entry for draw in draws}
        seen.append(task)
        assert len(draws) == sizes[task]
        micro = batches.batch(step)
        assert [len(batch.record_ids) for batch in micro] == {3: [2, 1], 1: [1], 2: [2]}[sizes[task]]
        assert [i for b in micro for i in b.record_ids] == [batches.example(draw).record_id for draw in draws]
    assert Counter(seen[:9]) == Counter(seen[9:]) == dict.fromkeys(sizes, 3)


@pytest.mark.parametrize("name", STAGES)
def test_a_step_of_any_stage_is_of_one_set_drawn_by_ratio(build: Any, smoke: Config, name: str) -> None:
    """As the authors' loader draws LAION and CC/SBU in stages 1 and 2; a micro-batch need not divide the sizes."""
    mixture, sizes = {"easy_vqa/caption": 115.0, "easy_vqa/align": 14.0}, {"easy_vqa/caption": 5, "easy_vqa/align": 4}
    changed = {"mixture": mixture, "batch_size": sizes, "micro_batch_size": 3, "steps_per_epoch": 129, "epochs": 2}
    stage = type(smoke.stage1).model_validate(smoke.stage(name).model_dump() | changed)
    batches = build(stage)
    seen = []
    for step in range(stage.steps_per_epoch):
        draws = batches.draws(step)
        (entry,) = {draw.entry for draw in draws}
        assert len(draws) == sizes[entry]
        seen.append(entry)
    assert Counter(seen) == {"easy_vqa/caption": 115, "easy_vqa/align": 14}
    for step in (seen.index("easy_vqa/caption"), seen.index("easy_vqa/align")):
        micro = batches.batch(step)
        assert [len(batch.record_ids) for batch in micro] == [3, sizes[seen[step]] - 3]
        assert [r for batch in micro for r in batch.record_ids] == [
            batches.example(draw).record_id for draw in batches.draws(step)
        ]
