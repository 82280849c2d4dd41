"""RefCOCO: photographs of COCO's train2014, the UNC splits; testA is about people, testB about other things."""

from __future__ import annotations

from tinygptv.evaluation.benchmarks.referring import referring

BENCHMARK = referring("RefCOCO", {"val": 10_834, "testA": 5_657, "testB": 5_095})
