"""What a version's tags say of its numbers."""

from tinygptv.tracking.version_tags import Lineage, report_of, tags_of


def test_a_number_that_is_undefined_has_no_tag_of_its_own():
    quantized = {"benchmarks": {"gqa": {"value": 0.4, "n": 9}, "memes": {"value": None, "n": 3}}, "agreement": 1.0}
    tags = tags_of(
        Lineage(profile="tiny", git_sha="c" * 40, digests={}, quantized=quantized, unquantized={}, run_id="")
    )
    assert {key: value for key, value in tags.items() if key.startswith("metric.")} == {"metric.gqa": "0.4"}
    assert report_of(tags)["benchmarks"] == quantized["benchmarks"]
