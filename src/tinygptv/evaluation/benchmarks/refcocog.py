"""RefCOCOg: longer expressions, the UMD splits (Nagaraja et al. 2016), in which no image is of two."""

from __future__ import annotations

from tinygptv.evaluation.benchmarks.referring import referring

BENCHMARK = referring("RefCOCOg", {"val": 4_896, "test": 9_602})
