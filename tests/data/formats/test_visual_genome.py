"""Visual Genome's regions: small ones are asked for, in hundredths of their picture, in all seven ways."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.official import draw, open_set, read_set, write_json
from tests.data.formats.trained import check_shares, drawn
from tinygptv.data.formats import visual_genome
from tinygptv.data.records import Record, Turn
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

CLOCK = {"region_id": 1382, "x": 421, "y": 57, "width": 82, "height": 139, "image_id": 1, "phrase": "the green clock"}
PICTURES = [
    {"image_id": 1, "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg", "width": 800, "height": 600,
     "coco_id": None, "flickr_id": None},
    {"image_id": 2, "url": "https://cs.stanford.edu/people/rak248/VG_100K/2.jpg", "width": 100, "height": 100},
]  # fmt: skip
WHERE = "{<52><9><62><32>}"


@pytest.fixture
def read(tmp_path):
    """``read(regions, pictures, **settings)``: what is found in the two files, with the files of both pictures."""

    def make(regions, pictures=PICTURES, described=None, **settings):
        draw(tmp_path / "vg" / "VG_100K_2" / "1.jpg", 1)
        draw(tmp_path / "vg" / "VG_100K" / "2.jpg", 2)
        write_json(tmp_path / "vg" / "image_data.json", pictures)
        content = [{"id": 1, "regions": regions}] if described is None else described
        write_json(tmp_path / "vg" / "region_descriptions.json", content)
        files = ("vg/image_data.json", "vg/region_descriptions.json")
        return read_set(tmp_path, "visual_genome", **{"files": files, "images": "vg", **settings})

    return make


def test_a_region_is_asked_for_by_its_phrase(read):
    (found,), rejected = read([CLOCK])
    assert found.record == Record("1382", "refer", (Turn("the green clock", WHERE),), ((52, 9, 62, 32),))
    assert found.image.path.parts[-2:] == ("VG_100K_2", "1.jpg")
    assert rejected == []


def test_or_the_other_way_round(read):
    (found,), _ = read([CLOCK], task="identify")
    assert found.record == Record("1382", "identify", (Turn(WHERE, "the green clock"),), ((52, 9, 62, 32),))


@pytest.mark.parametrize(("width", "height", "asked"), [(128, 127, 1), (128, 128, 0), (16_384, 1, 0), (3, 5_461, 1)])
def test_regions_of_16384_pixels_are_not_asked_for_and_counted(read, capsys, width, height, asked):
    found, rejected = read([CLOCK, {**CLOCK, "region_id": 2, "width": width, "height": height}])
    assert (len(found), rejected) == (1 + asked, [])
    told = "asked: 1 regions have 16,384 pixels or more, and are not asked for\n"
    assert capsys.readouterr().err == ("" if asked else told)


def test_boxes_are_cut_off_to_hundredths_and_end_with_the_picture(read):
    edges = [(x, y, 7, 9) for x, y in ((0, 0), (29, 57), (58, 41), (90, 92), (-3, -4), (97, 99))]
    regions = [
        {**CLOCK, "region_id": number, "image_id": 2, "x": x, "y": y, "width": wide, "height": high}
        for number, (x, y, wide, high) in enumerate(edges)
    ]
    found, rejected = read(None, described=[{"id": 2, "regions": regions}])
    assert rejected == []
    for (x, y, wide, high), item in zip(edges, found, strict=True):
        authors = [int(edge / 100 * 100) for edge in (x, y, x + wide, y + high)]
        assert item.record.boxes == (tuple(min(max(edge, 0), 100) for edge in authors),)


def test_a_picture_may_lie_in_the_folder_itself(read, tmp_path):
    draw(tmp_path / "flat" / "1.jpg")
    (found,), _ = read([CLOCK], images="flat")
    assert found.image.path == tmp_path / "flat" / "1.jpg"


@pytest.mark.parametrize(
    ("region", "reason"),
    [
        (7, "is no object"),
        ({**CLOCK, "region_id": None}, "`region_id` must be an id"),
        ({**CLOCK, "image_id": 7}, "its picture 7 is not in image_data.json"),
        ({**CLOCK, "x": "421"}, "of `x`, `y`, `width`, `height`: bbox must be four numbers"),
        ({**CLOCK, "width": -82}, "bbox has a negative width or height"),
        ({**CLOCK, "width": 10**400, "height": 1.5}, "bbox has a number that is not finite"),
        ({**CLOCK, "width": 0}, "nothing of it lies in its picture of 800 x 600 pixels"),
        ({**CLOCK, "x": 900}, "nothing of it lies in its picture of 800 x 600 pixels"),
        ({**CLOCK, "phrase": None}, "`phrase` must be text"),
    ],
)
def test_a_broken_region_is_left_out_with_its_place(read, region, reason):
    found, (rejection,) = read([region, CLOCK])
    assert len(found) == 1
    assert rejection["id"] == "region_descriptions.json, entry 1, region 1"
    assert reason in rejection["reason"]


def test_a_broken_picture_of_regions_is_left_out(read):
    found, (rejection,) = read(None, described=[{"id": 1}, {"id": 1, "regions": [CLOCK]}])
    assert len(found) == 1
    assert rejection == {"id": "region_descriptions.json, entry 1", "reason": "has no `regions`"}


def test_a_picture_that_is_missing_is_counted_for_each_region(read, tmp_path):
    (tmp_path / "empty").mkdir()
    _, rejected = read([CLOCK, {**CLOCK, "region_id": 3}], images="empty")
    assert [item["id"] for item in rejected] == ["1382", "3"]
    assert "its image 'VG_100K_2/1.jpg' is missing below" in rejected[0]["reason"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"files": ("vg/image_data.json",)},
            "no file has entries with `regions`; name Visual Genome's region_",
        ),
        (
            {"files": ("vg/region_descriptions.json",)},
            "no file has entries with `url`; name Visual Genome's image_",
        ),
        ({"task": "vqa"}, "regions become records of refer or identify"),
        ({"pictures": [{**PICTURES[0], "width": "800"}]}, "image_data.json, entry 1: `width` must be a whole number"),
        (
            {"pictures": [{**PICTURES[0], "height": 0}]},
            "image_data.json, entry 1 is 800 x 0 pixels; write the size",
        ),
        ({"pictures": [{**PICTURES[0], "width": 10**400}]}, "image_data.json, entry 1 is 10000000000000000000 x 600 p"),
        ({"pictures": [{"url": "x"}]}, "image_data.json, entry 1: `id` must be an id"),
    ],
)
def test_broken_files_are_one_line(read, changes, words):
    with pytest.raises(DataError) as raised:
        read([CLOCK], **changes)
    assert words in str(raised.value)


@pytest.mark.parametrize("task", ["refer", "identify"])
def test_all_seven_instructions_are_drawn_alike(read, build, smoke, tokenizer, task):
    (found,), _ = read([CLOCK], task=task)
    turn = found.record.turns[0]
    counts = drawn(build, tokenizer, smoke.stage4, found, 1000)
    assert len(TEMPLATES[task]) == 7
    check_shares(counts.asked, {template.replace("{}", turn.question): 1 / 7 for template in TEMPLATES[task]})
    assert counts.answered == {turn.answer: 1000}


def test_regions_come_as_their_file_is_read(read, tmp_path):
    read([CLOCK])
    path = tmp_path / "vg" / "region_descriptions.json"
    path.write_text(json.dumps([{"id": 1, "regions": [CLOCK]}] * 30)[:-1] + "," + " " * 2**21 + "{")
    source = open_set(
        tmp_path, "visual_genome", files=("vg/image_data.json", "vg/region_descriptions.json"), images="vg"
    )
    found = visual_genome.read(source)
    assert next(found).record.id == "1382"
    with pytest.raises(DataError, match="not valid JSON"):
        list(found)
