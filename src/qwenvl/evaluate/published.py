"""The scores that the Qwen-VL paper publishes, to stand beside ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

CAPTIONS = "Table 4: captions and general VQA"
READING = "Table 5: text-oriented VQA"
REFERRING = "Table 6: referring expressions"
FOLLOWING = "Table 7: instruction following"
TEXT_ONLY = "Appendix: pure-text tasks"
LEADERBOARD = "MMBench's leaderboard (not in the paper)"


@dataclass(frozen=True, slots=True)
class Published:
    """A column of one of the paper's tables, and its rows Qwen-VL and Qwen-VL-Chat (None where the paper has none).

    `task` and `split` are as `qwenvl eval` names them; the paper's split where an evaluation may have others.
    `full` is what a score of 1 is in the paper's units: 100 for a percentage, 1000 for TouchStone. `metric` is the
    published measure's name.
    """

    table: str
    name: str
    task: str
    split: str
    metric: str
    base: float | None
    chat: float | None
    full: float = 100.0


# Qwen-VL, arXiv 2308.12966 v3 (VQAv2 is 78.8 in the first version); the splits are its appendix's table of benchmarks.
PUBLISHED = (
    Published(CAPTIONS, "NoCaps", "nocaps", "val", "cider", 121.4, 120.2),
    Published(CAPTIONS, "Flickr30K", "flickr30k", "test", "cider", 85.8, 81.0),
    Published(CAPTIONS, "VQAv2", "vqav2", "test-dev", "vqa_accuracy", 79.5, 78.2),
    Published(CAPTIONS, "OK-VQA", "okvqa", "val", "vqa_accuracy", 58.6, 56.6),
    Published(CAPTIONS, "GQA", "gqa", "testdev", "accuracy", 59.3, 57.5),
    Published(CAPTIONS, "ScienceQA-Img", "scienceqa", "test", "accuracy", 67.1, 68.2),
    Published(CAPTIONS, "VizWiz", "vizwiz", "test-dev", "vqa_accuracy", 35.2, 38.9),
    Published(READING, "TextVQA", "textvqa", "val", "vqa_accuracy", 63.8, 61.5),
    Published(READING, "DocVQA", "docvqa", "test", "anls", 65.1, 62.6),
    Published(READING, "ChartQA", "chartqa", "test", "relaxed_accuracy", 65.7, 66.3),
    Published(READING, "AI2D", "ai2d", "test", "accuracy", 62.3, 57.7),
    Published(READING, "OCR-VQA", "ocrvqa", "test", "accuracy", 75.7, 70.5),
    Published(REFERRING, "RefCOCO val", "refcoco", "val", "accuracy", 89.36, 88.55),
    Published(REFERRING, "RefCOCO test A", "refcoco", "testA", "accuracy", 92.26, 92.27),
    Published(REFERRING, "RefCOCO test B", "refcoco", "testB", "accuracy", 85.34, 84.51),
    Published(REFERRING, "RefCOCO+ val", "refcoco+", "val", "accuracy", 83.12, 82.82),
    Published(REFERRING, "RefCOCO+ test A", "refcoco+", "testA", "accuracy", 88.25, 88.59),
    Published(REFERRING, "RefCOCO+ test B", "refcoco+", "testB", "accuracy", 77.21, 76.79),
    Published(REFERRING, "RefCOCOg val", "refcocog", "val", "accuracy", 85.58, 85.96),
    Published(REFERRING, "RefCOCOg test", "refcocog", "test", "accuracy", 85.48, 86.32),
    Published(REFERRING, "GRIT refexp", "grit", "test", "accuracy", 78.22, None),
    Published(FOLLOWING, "TouchStone En", "touchstone", "en", "score", None, 645.2, full=1000),
    Published(FOLLOWING, "TouchStone Cn", "touchstone", "zh", "score", None, 401.2, full=1000),
    Published(FOLLOWING, "SEED-Bench all", "seed", "all", "accuracy", 56.3, 58.2),
    Published(FOLLOWING, "SEED-Bench images", "seed", "image", "accuracy", 62.3, 65.4),
    Published(FOLLOWING, "SEED-Bench videos", "seed", "video", "accuracy", 39.1, 37.8),
    Published(FOLLOWING, "MME perception", "mme", "perception", "perception", None, 1487.58, full=2000),
    Published(FOLLOWING, "MME cognition", "mme", "cognition", "cognition", None, 360.71, full=800),
    Published(LEADERBOARD, "MMBench", "mmbench", "test", "accuracy", 38.2, 60.6),
    Published(TEXT_ONLY, "MMLU", "mmlu", "test", "accuracy", 50.7, None),
    Published(TEXT_ONLY, "CMMLU", "cmmlu", "test", "accuracy", 49.5, None),
    Published(TEXT_ONLY, "C-Eval", "ceval", "test", "accuracy", 51.1, None),
)

TABLES = tuple(dict.fromkeys(entry.table for entry in PUBLISHED))


def plain(name: str) -> str:
    """A name without case, hyphens and underscores, by which tasks and splits are matched."""
    return re.sub(r"[\s_-]", "", name.lower())
