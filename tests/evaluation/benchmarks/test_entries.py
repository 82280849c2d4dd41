"""What an entry of a file of predictions may have."""

import pytest

from tinygptv.evaluation.benchmarks.entries import box_of, id_of, number_of, text_of, whole_number_of


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (id_of, 12, "12"),
        (id_of, "a-12", "a-12"),
        (text_of, "", ""),
        (text_of, "🙂" * 10_000, "🙂" * 10_000),
        (number_of, 1, 1.0),
        (number_of, "0.25", 0.25),
        (whole_number_of, "3", 3),
        (whole_number_of, 3.0, 3),
        (box_of, [1, 2.5, 3, 4], (1.0, 2.5, 3.0, 4.0)),
    ],
)
def test_what_is_right_is_taken(read, value, expected):
    assert read({"key": value}, "key") == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((id_of, value) for value in (1.5, True, ["a"], {})),
        *((text_of, value) for value in (3, 0.5, True, ["a"])),
        *((number_of, value) for value in (True, "x", "nan", "inf", [1], "", 10**400)),
        *((whole_number_of, value) for value in (1.5, "a", True)),
        *((box_of, value) for value in ("1 2 3 4", [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "x"], [1, 2, 3, None])),
    ],
)
def test_what_is_wrong_is_named(read, value):
    with pytest.raises(ValueError, match="`key` must be"):
        read({"key": value}, "key")


@pytest.mark.parametrize("read", [id_of, text_of, number_of, whole_number_of, box_of])
def test_what_is_missing_is_a_key_error(read):
    with pytest.raises(KeyError, match="key"):
        read({}, "key")
