"""The first difference of two files or folders, in words."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tinygptv.provenance.compare import differences, file_difference

NAMES = ("lock", "now")
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.zeros(4, dtype=torch.bfloat16)}
POINTS = [{"step": step, "loss": 1 / step, "batch": f"{step:016x}"} for step in range(1, 6)]


@pytest.fixture
def words(tmp_path):
    """``words(name, one, other)``: the difference of two contents under a name: bytes, tensors, JSON or tar members."""

    def words(name: str, one: object, other: object) -> str | None:
        paths = []
        for side, content in (("one", one), ("other", other)):
            paths.append(tmp_path / side / name)
            paths[-1].parent.mkdir(exist_ok=True)
            write(paths[-1], content)
        return file_difference(*paths, NAMES)

    return words


def write(path: Path, content: object) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".tar":
        path.write_bytes(tar(content))
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(line)}\n" for line in content))
    else:
        path.write_text(json.dumps(content))


def tar(members: dict[str, bytes], mtime: int = 0) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def tensors(tmp_path: Path, **changes: torch.Tensor) -> bytes:
    save_file(TENSORS | {name.replace("_", "."): tensor for name, tensor in changes.items()}, tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def changed(name: str, index: tuple[int, ...], value: float) -> dict[str, torch.Tensor]:
    tensor = TENSORS[name].clone()
    tensor[index] = value
    return TENSORS | {name: tensor}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (TENSORS, None),
        (
            changed("a.weight", (1, 1), 4.5),
            "tensor a.weight (F32 [2, 3]): 1 of 6 values differ, first at [1, 1]: 4 (lock), 4.5 (now); "
            "largest difference 0.5",
        ),
        (
            {"a.weight": TENSORS["a.weight"] + 1, "b.bias": TENSORS["b.bias"] - 1},
            "tensor a.weight (F32 [2, 3]): 6 of 6 values differ, first at [0, 0]: 0 (lock), 1 (now); "
            "largest difference 1; 1 other tensor differs",
        ),
        (
            changed("b.bias", (2,), -0.0),
            "tensor b.bias (BF16 [4]): 1 of 4 values differ, first at [2]: 0 (lock), -0 (now); largest difference 0",
        ),
        (
            changed("a.weight", (0, 0), float("nan")),
            "tensor a.weight (F32 [2, 3]): 1 of 6 values differ, first at [0, 0]: 0 (lock), nan (now); "
            "largest difference nan",
        ),
        (TENSORS | {"b.bias": torch.zeros(4)}, "tensor b.bias: BF16 [4] (lock), F32 [4] (now)"),
        (
            TENSORS | {"a.weight": TENSORS["a.weight"].reshape(3, 2)},
            "tensor a.weight: F32 [2, 3] (lock), F32 [3, 2] (now)",
        ),
        ({"a.weight": TENSORS["a.weight"]}, "tensor b.bias: BF16 [4] (lock), missing (now)"),
        (TENSORS | {"c": torch.zeros(())}, "tensor c: missing (lock), F32 [] (now)"),
    ],
)
def test_tensors(words, other, expected):
    assert words("w.safetensors", TENSORS, other) == expected


def test_scalars_whole_numbers_and_metadata(words, tmp_path):
    one, other = {"n": torch.tensor(3)}, {"n": torch.tensor(5)}
    expected = "tensor n (I64 []): 1 of 1 values differ, first at []: 3 (lock), 5 (now); largest difference 2"
    assert words("w.safetensors", one, other) == expected
    for name, value in (("one", "1"), ("other", "2")):
        save_file(TENSORS, tmp_path / name / "w.safetensors", metadata={"format": value})
    found = file_difference(tmp_path / "one" / "w.safetensors", tmp_path / "other" / "w.safetensors", NAMES)
    assert found == 'metadata format: "1" (lock), "2" (now)'


def test_every_flipped_bit_and_every_length_of_a_safetensors_file_is_words(words, tmp_path):
    whole = tensors(tmp_path)
    draw = random.Random(5)
    for offset in range(len(whole)):
        broken = bytearray(whole)
        broken[offset] ^= 1 << draw.randrange(8)
        assert words("w.safetensors", whole, bytes(broken)), offset
    for length in range(0, len(whole), 7):
        found = words("w.safetensors", whole, whole[:length])
        assert found is not None and found.startswith("it cannot be read as safetensors (now): "), found
        assert f"first differing byte at offset {length}: 0x{whole[length]:02x} (lock), end of file" in found
    assert "(lock)" in str(words("w.safetensors", whole[:9], whole)).split(";")[0]


def test_members_of_archives(words, tmp_path):
    inner = {"1.json": b'{"a": 1}', "1.safetensors": tensors(tmp_path), "1.png": b"abcdef"}
    assert words("s.tar", inner, inner) is None
    assert words("s.tar", inner, inner | {"1.json": b'{"a": 2}'}) == "member 1.json: a: 1 (lock), 2 (now)"
    other = tensors(tmp_path, a_weight=TENSORS["a.weight"] * 2)
    found = words("s.tar", inner, inner | {"1.safetensors": other})
    assert found is not None and found.startswith("member 1.safetensors: tensor a.weight (F32 [2, 3]): 5 of 6 values")
    found = words("s.tar", inner, inner | {"1.png": b"abcxef"})
    assert found == "member 1.png: first differing byte at offset 3: 0x64 (lock), 0x78 (now)"
    assert words("s.tar", inner, inner | {"1.png": b"abc"}) == "member 1.png: size 6 (lock), 3 (now)"
    assert words("s.tar", inner, {"1.json": inner["1.json"]}) == "member 2: 1.safetensors (lock), missing (now)"
    swapped = dict(reversed(inner.items()))
    assert words("s.tar", inner, swapped) == "member 1: 1.json (lock), 1.png (now)"
    assert words("s.tar", tar(inner), tar(inner, mtime=9)) == "member 1.json: mtime 0 (lock), 9 (now)"
    padded = words("s.tar", tar(inner), tar(inner) + bytes(512))
    assert padded is not None and padded.startswith("the same content in other bytes; first differing byte at offset")


def test_a_damaged_archive_is_words(words, tmp_path):
    whole = tar({"a": bytes(2000), "b": b"x" * 3000})
    for length in range(0, len(whole), 500):
        assert words("s.tar", whole, whole[:length]), length
    assert str(words("s.tar", whole, b"no tar at all" * 100)).startswith("it cannot be read as tar (now): ")
    for offset in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[offset] ^= 16
        assert words("s.tar", whole, bytes(broken)), offset


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 3]}}, "b.c[1]: 2 (lock), 3 (now)"),
        ({"a": 1}, {"b": 1}, "a: 1 (lock), missing (now)"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]: missing (lock), 2 (now)"),
        ({"a": 1}, {"a": True}, "a: 1 (lock), true (now)"),
        ({"a": None}, [1], '{"a": null} (lock), [1] (now)'),
        ({"a": "x" * 200}, {"a": "y"}, f'a: "{"x" * 79}… (lock), "y" (now)'),
        (
            POINTS,
            [*POINTS[:2], POINTS[2] | {"loss": 9.0}, *POINTS[3:]],
            f"training step 3: loss {1 / 3} (lock), 9.0 (now)",
        ),
        (POINTS, POINTS[:3], "training step 4 is missing (now), not (lock)"),
    ],
)
def test_json_and_training_steps(words, one, other, expected):
    assert words("history.json", one, other) == expected


def test_lines_and_training_steps(words):
    other = [POINTS[0], POINTS[1] | {"loss": 0.25, "batch": "f" * 16}, *POINTS[2:]]
    expected = f'training step 2: batch "{2:016x}" (lock), "{"f" * 16}" (now); loss 0.5 (lock), 0.25 (now)'
    assert words("trace.jsonl", POINTS, other) == expected
    assert words("x.jsonl", [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 3}]) == "line 2: a: 2 (lock), 3 (now)"
    assert words("x.jsonl", [{"a": 1}], [{"a": 1}, {"a": 3}]) == "line 2 is missing (lock), not (now)"
    torn = words("trace.jsonl", b'{"step": 1}\n{"step": 2}\n', b'{"step": 1}\n{"st')
    assert torn == (
        "its last line is torn (now); first differing byte at offset 16: 0x65 (lock), end of file after 16 bytes (now)"
    )


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'])
def test_damaged_json_is_words(words, content):
    assert words("m.json", {"a": 1}, content)


def test_the_same_content_in_other_bytes_and_plain_bytes(words):
    assert words("m.json", b'{"a":1}', b'{"a": 1}') == (
        "the same content in other bytes; first differing byte at offset 5: 0x31 (lock), 0x20 (now)"
    )
    large = bytes(3 << 20)
    changed = bytearray(large)
    changed[2_500_000] = 7
    assert words("x.png", large, bytes(changed)) == ("first differing byte at offset 2500000: 0x00 (lock), 0x07 (now)")
    assert words("x.png", b"abc", b"abc") is None


def test_folders(tmp_path):
    for side in ("one", "other"):
        (tmp_path / side / "sub").mkdir(parents=True)
        (tmp_path / side / "same").write_text("same")
    one, other = tmp_path / "one", tmp_path / "other"
    assert differences(one, other) == []
    (one / "only").touch()
    (other / "sub" / "x.json").write_text("1")
    (one / "sub" / "x.json").write_text("2")
    (other / "extra").touch()
    found = differences(one, other, NAMES, "data/tiny/stage1")
    assert [str(difference) for difference in found] == [
        "data/tiny/stage1/extra: missing (lock), a file (now)",
        "data/tiny/stage1/only: a file (lock), missing (now)",
        "data/tiny/stage1/sub/x.json: 2 (lock), 1 (now)",
    ]
    for first, second, said in (
        (one, other / "same", "one: a folder (first), a file (second)"),
        (one / "same", other / "nix", "same: a file (first), missing (second)"),
    ):
        assert [str(difference) for difference in differences(first, second)] == [said]
    assert str(differences(one, other)[0]) == "extra: missing (first), a file (second)"


def test_a_file_that_cannot_be_read_is_words(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")

    def broken(*arguments):
        raise OSError(5, "Input/output error", "disk")

    monkeypatch.setattr("tinygptv.provenance.compare._first_byte", broken)
    assert file_difference(tmp_path / "a", tmp_path / "b") == "cannot be read: Input/output error (disk)"
