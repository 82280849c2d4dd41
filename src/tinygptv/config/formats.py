"""The forms of data sets that can be read: name → module, which has one function ``read`` (``data/source.py``)."""

from __future__ import annotations

FORMATS = {
    "a_okvqa": "tinygptv.data.formats.a_okvqa",
    "cauldron": "tinygptv.data.formats.cauldron",
    "cc_sbu_align": "tinygptv.data.formats.cc_sbu_align",
    "coco_captions": "tinygptv.data.formats.coco_captions",
    "coco_detection": "tinygptv.data.formats.coco_detection",
    "easy_vqa": "tinygptv.data.formats.easy_vqa",
    "flickr30k": "tinygptv.data.formats.flickr30k",
    "gqa": "tinygptv.data.formats.gqa",
    "hateful_memes": "tinygptv.data.formats.hateful_memes",
    "iconqa": "tinygptv.data.formats.iconqa",
    "imagefolder": "tinygptv.data.formats.imagefolder",
    "img2dataset": "tinygptv.data.formats.img2dataset",
    "karpathy": "tinygptv.data.formats.karpathy",
    "lavis": "tinygptv.data.formats.lavis",
    "llava": "tinygptv.data.formats.llava",
    "messages": "tinygptv.data.formats.messages",
    "ocr_vqa": "tinygptv.data.formats.ocr_vqa",
    "pairs": "tinygptv.data.formats.pairs",
    "parquet": "tinygptv.data.formats.parquet",
    "pope": "tinygptv.data.formats.pope",
    "questions": "tinygptv.data.formats.questions",
    "records": "tinygptv.data.formats.records",
    "refer": "tinygptv.data.formats.refer",
    "textcaps": "tinygptv.data.formats.textcaps",
    "textvqa": "tinygptv.data.formats.textvqa",
    "unnatural_instructions": "tinygptv.data.formats.unnatural_instructions",
    "visual_genome": "tinygptv.data.formats.visual_genome",
    "vizwiz": "tinygptv.data.formats.vizwiz",
    "vqa": "tinygptv.data.formats.vqa",
    "vsr": "tinygptv.data.formats.vsr",
    "webdataset": "tinygptv.data.formats.webdataset",
}
UNREAD = ("paper",)
"""Forms that a profile may name, so that it can be planned with, and that no module reads yet."""
