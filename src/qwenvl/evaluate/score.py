"""From predictions to the table of scores: every metric over all items and over each group, with its 95 % interval.

The metrics, by name in `metrics.json`:

* `vqa/accuracy`: share of questions answered exactly, after normalisation (`metrics.vqa.normalise`); by kind of
  question too.
* `referring/acc@0.5`, `referring/iou`: IoU of the first box of the answer with the true one, as a share ≥ 0.5 and as
  a mean.
* `ocr/exact_line`: share of true lines whose text was read exactly; `ocr/placed_f1`: F1 of lines with the exact text
  and IoU ≥ 0.5.
* `grounding/f1@0.5`: micro-averaged F1 of (phrase, box) pairs in a caption with grounding: same colour and kind, IoU
  ≥ 0.5, matched greedily by IoU (`metrics.grounding.grounded_counts`).
* `caption/attribute_recall`: share of the objects' (colour, kind) pairs that the caption names; `caption/exact`:
  share of captions that equal the true one.
* `grounded_caption/accuracy`: share of boxes whose description names the right colour and kind; `…/exact`: that equal
  the true one.
* `dialogue/accuracy`: share of last answers of a conversation whose words are right; `dialogue/acc@0.5`: of those
  whose answer is one box, the share with IoU ≥ 0.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from qwenvl.data.synth.scenes import HELD_OUT
from qwenvl.evaluate.benchmarks import scenes
from qwenvl.evaluate.metrics import caption, grounding, ocr, stats, vqa
from qwenvl.evaluate.predict import Prediction, regions_of, text_of

Measure = Callable[[Sequence[Prediction]], stats.Score]


def score(predictions: Sequence[Prediction]) -> dict[str, dict[str, Any]]:
    """Metric → group → {value, low, high, n}; groups are all, seen, unseen, en, zh; metrics without items are left
    out.

    "unseen" is by the thing asked about for referring and grounded_caption, by the object for attribute recall, and
    by the scene (does it hold an unseen combination?) for the rest. `vqa/accuracy` has a further entry "kinds".
    """
    scores: dict[str, dict[str, Any]] = {}
    for name, measure in MEASURES.items():
        task = name.split("/")[0]
        mine = [p for p in predictions if p.item.task == task]
        entry = {}
        for group, members in groups(mine).items():
            result = measure(members)
            if result.n:
                entry[group] = result.as_dict()
        if entry:
            scores[name] = entry
    if "caption/attribute_recall" in scores:
        _recall_by_object(predictions, scores["caption/attribute_recall"])
    if "vqa/accuracy" in scores:
        questions = [p for p in predictions if p.item.task == "vqa"]
        kinds = Counter(p.item.kind for p in questions)
        scores["vqa/accuracy"]["kinds"] = {
            kind: _vqa([p for p in questions if p.item.kind == kind]).as_dict() for kind, _ in kinds.most_common()
        }
    return scores


def groups(predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """The groups that every metric is reported for."""
    return {
        "all": list(predictions),
        "seen": [p for p in predictions if not p.item.unseen],
        "unseen": [p for p in predictions if p.item.unseen],
        "en": [p for p in predictions if p.item.language == "en"],
        "zh": [p for p in predictions if p.item.language == "zh"],
    }


def correct(prediction: Prediction) -> bool:
    """Whether one prediction counts as right, for showing it; each task by its own rule."""
    item = prediction.item
    match item.task:
        case "vqa":
            return vqa.exact_match(prediction.text, text_of(item.truth))
        case "referring":
            return _iou(prediction) >= grounding.THRESHOLD
        case "grounding":
            return not any(_pairs(prediction)[1:])
        case "ocr":
            return all(ocr.exact_lines(prediction.regions, regions_of(item.truth)))
        case "caption" if item.objects:
            named, wanted = caption.attribute_recall(prediction.text, item.objects, scenes.VOCABULARY)
            return named == wanted
        case "grounded_caption":
            return scenes.VOCABULARY.same(prediction.text, text_of(item.truth))
        case "dialogue" if _boxes(prediction) == 1:
            return _iou(prediction) >= grounding.THRESHOLD
        case _:
            return _exact(prediction)


def _iou(prediction: Prediction) -> float:
    truth = [box for region in regions_of(prediction.item.truth) for box in grounding.boxes_of(region)]
    return grounding.referring_iou(prediction.regions, truth)


def _pairs(prediction: Prediction) -> tuple[int, int, int]:
    return grounding.grounded_counts(prediction.regions, regions_of(prediction.item.truth), scenes.VOCABULARY.same)


def _boxes(prediction: Prediction) -> int:
    return sum(len(grounding.boxes_of(region)) for region in regions_of(prediction.item.truth))


def _exact(prediction: Prediction) -> bool:
    return vqa.exact_match(prediction.text, text_of(prediction.item.truth))


def _vqa(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.share([_exact(p) for p in predictions])


def _referring(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.share([_iou(p) >= grounding.THRESHOLD for p in predictions])


def _mean_iou(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.mean([_iou(p) for p in predictions])


def _exact_lines(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.share([hit for p in predictions for hit in ocr.exact_lines(p.regions, regions_of(p.item.truth))])


def _placed_lines(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.f1([ocr.placed_lines(p.regions, regions_of(p.item.truth)) for p in predictions])


def _grounded(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.f1([_pairs(p) for p in predictions])


def _recall(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.ratio(
        [caption.attribute_recall(p.text, p.item.objects, scenes.VOCABULARY) for p in predictions if p.item.objects]
    )


def _recall_by_object(predictions: Sequence[Prediction], entry: dict[str, Any]) -> None:
    """Replace "seen" and "unseen" by the recall of the seen and the unseen objects themselves, in whatever scene."""
    known = [p for p in predictions if p.item.task == "caption" and p.item.objects]
    for group, unseen in (("seen", False), ("unseen", True)):
        wanted = ((p, [pair for pair in p.item.objects if (pair in HELD_OUT) == unseen]) for p in known)
        result = stats.ratio(
            [caption.attribute_recall(p.text, pairs, scenes.VOCABULARY) for p, pairs in wanted if pairs]
        )
        entry.pop(group, None)
        if result.n:
            entry[group] = result.as_dict()


def _described(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.share([scenes.VOCABULARY.same(p.text, text_of(p.item.truth)) for p in predictions])


def _dialogue_words(predictions: Sequence[Prediction]) -> stats.Score:
    # An answer that is a place without words ("<box>…") is judged by its box alone.
    return stats.share([_exact(p) for p in predictions if text_of(p.item.truth)])


def _dialogue_boxes(predictions: Sequence[Prediction]) -> stats.Score:
    return stats.share([_iou(p) >= grounding.THRESHOLD for p in predictions if _boxes(p) == 1])


MEASURES: dict[str, Measure] = {
    "vqa/accuracy": _vqa,
    "referring/acc@0.5": _referring,
    "referring/iou": _mean_iou,
    "ocr/exact_line": _exact_lines,
    "ocr/placed_f1": _placed_lines,
    "grounding/f1@0.5": _grounded,
    "caption/attribute_recall": _recall,
    "caption/exact": _vqa,
    "grounded_caption/accuracy": _described,
    "grounded_caption/exact": _vqa,
    "dialogue/accuracy": _dialogue_words,
    "dialogue/acc@0.5": _dialogue_boxes,
}
"""Metric → how it is computed over the predictions of its task (the part of the name before the slash)."""
