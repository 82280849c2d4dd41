"""RefCOCO+: RefCOCO without words of place, the UNC splits; testA is about people, testB about other things."""

from __future__ import annotations

from tinygptv.evaluation.benchmarks.referring import referring

BENCHMARK = referring("RefCOCO+", {"val": 10_758, "testA": 5_726, "testB": 4_889})
