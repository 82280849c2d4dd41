"""RefCOCO: photographs of COCO's train2014, the UNC splits; testA is about people, testB about other things."""

from __future__ import annotations

from dataclasses import replace

from tinygptv.evaluation.benchmarks.referring import referring

BENCHMARK = replace(
    referring("RefCOCO", {"val": 10_834, "testA": 5_657, "testB": 5_095}),
    authors_log={"val": 0.0603, "testA": 0.0675, "testB": 0.0536},  # eval_scripts/xgptv2_cae2_ld_e16_vqa_result.txt
)
