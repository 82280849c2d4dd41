"""Sets of others through the step ``shards``: pictures in parquet and tars arrive, damaged ones with their row."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.embedded import write_parquet, write_tar
from tests.data.made import context, picture, run
from tinygptv.config import DataSet
from tinygptv.data.shards import read_samples
from tinygptv.data.summary import tars
from tinygptv.ground.errors import DataError

PICTURES = [picture(number, "JPEG", (40, 30)) for number in range(6)]
CUT = picture(7, "JPEG", (400, 300))[:-9000]


@pytest.fixture(params=["parquet", "webdataset"])
def made(request, tmp_path, smoke):
    """A set of six pictures, and the context of the step; ``damaged``: what stands in the third place."""

    def make(damaged=None, **changes):
        contents = [*PICTURES[:2], *([] if damaged is None else [damaged]), *PICTURES[2:]]
        if request.param == "parquet":
            rows = [
                {"image": {"bytes": content, "path": None}, "text": f"no. {n}"} for n, content in enumerate(contents)
            ]
            write_parquet(tmp_path / "set" / "0.parquet", rows)
        else:
            members = {f"{n}.jpg": content for n, content in enumerate(contents)}
            write_tar(tmp_path / "set" / "0.tar", members | {f"{n}.txt": f"no. {n}" for n in range(len(contents))})
        settings = DataSet(format=request.param, files=("set",), split={"val": 0.5}, licence="MIT")
        return context(tmp_path, smoke, {"cats": settings}, **changes)

    return make


def test_pictures_arrive_as_they_were(made):
    step = made()
    summary = json.loads(run(step)["cats/summary.json"])
    samples = {sample.record.records[0].turns[0].answer: sample for sample in read_samples(tars(step.out / "cats"))}
    assert [samples[f"no. {number}"].image_bytes for number in range(6)] == PICTURES
    assert (summary["records"], summary["rejected"]) == (6, 0)


@pytest.mark.parametrize("damaged", [CUT, b"\xff\xd8\xff no picture", b"GIF89a"])
def test_a_damaged_picture_is_told_with_its_row(made, damaged):
    step = made(damaged, max_rejected=0.5)
    found = run(step)
    (rejected,) = json.loads(found["rejected.json"])["sets"]["cats"]["records"]
    assert rejected["id"] in ("0.parquet, row 3", "2")
    assert "PNG, JPEG" in rejected["reason"]
    assert json.loads(found["cats/summary.json"])["records"] == 6


def test_a_tar_or_file_that_was_changed_since_download_is_refused(made, tmp_path):
    step = made()
    (path,) = (tmp_path / "set").iterdir()
    path.write_bytes(path.read_bytes() + bytes(10))
    with pytest.raises(DataError, match="was changed since `download`"):
        run(step)
