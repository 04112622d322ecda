"""Metrics: functions on plain data, without a model; scores are in 0…1 unless they say otherwise.

Those of public benchmarks, by their usual names, are here. `caption`, `grounding`, `ocr` and `vqa` are the nano
world's; `stats` turns per-item results into scores with intervals; `java` runs the programs that papers used.
"""

from qwenvl.evaluate.metrics.boxes import grounded_caption_f1, grounding_accuracy, iou
from qwenvl.evaluate.metrics.choice import MMEScore, mme_score, parse_yes_no, rank_options
from qwenvl.evaluate.metrics.corpus import CorpusScore
from qwenvl.evaluate.metrics.document import anls, relaxed_accuracy
from qwenvl.evaluate.metrics.judge import Verdict, parse_judge
from qwenvl.evaluate.metrics.matching import exact_match, gqa_match
from qwenvl.evaluate.metrics.ngrams import bleu, cider_d
from qwenvl.evaluate.metrics.ptb import ptb_tokenize
from qwenvl.evaluate.metrics.rouge import rouge_l
from qwenvl.evaluate.metrics.vqa_accuracy import vqa_accuracy

__all__ = [
    "CorpusScore",
    "MMEScore",
    "Verdict",
    "anls",
    "bleu",
    "cider_d",
    "exact_match",
    "gqa_match",
    "grounded_caption_f1",
    "grounding_accuracy",
    "iou",
    "mme_score",
    "parse_judge",
    "parse_yes_no",
    "ptb_tokenize",
    "rank_options",
    "relaxed_accuracy",
    "rouge_l",
    "vqa_accuracy",
]
