"""The nano world's held-out scenes as a task among others: their scores and answers in the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwenvl.evaluate.answers import Answers
from qwenvl.evaluate.predict import Prediction, text_of
from qwenvl.evaluate.protocol import commit, versions
from qwenvl.evaluate.run import evaluate_scenes
from qwenvl.evaluate.score import correct
from qwenvl.model.load import Loaded
from qwenvl.sample import Region

if TYPE_CHECKING:
    from qwenvl.evaluate.harness import Settings

SCENES = 400


def evaluate_scenes_task(loaded: Loaded, settings: Settings, about: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate the first scenes (`limit` of them, 400 by default) and write `OUT/scenes/`."""
    count = settings.limit or SCENES
    found = evaluate_scenes(
        loaded.model, loaded.tokenizer, count, "test", settings.seed, batch_size=64, quiet=settings.quiet
    )
    answers = Answers(settings.out / "scenes")
    pictures = answers.folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    answers.write(_row(number, prediction, pictures) for number, prediction in enumerate(found.predictions))
    result = {
        "task": "scenes",
        "split": "test",
        "items": len(found.predictions),
        "expected": len(found.predictions),
        "published": None,
        "complete": True,
        "scores": {metric: groups["all"] for metric, groups in found.scores.items()},
        "categories": {
            group: {metric: groups[group]["value"] for metric, groups in found.scores.items() if group in groups}
            for group in ("seen", "unseen", "en", "zh")
        },
        "protocol": {
            "task": "scenes",
            "title": "held-out scenes of the nano world",
            "split": "test",
            "prompt": "the training tasks' own forms",
            "decoding": "greedy",
            "few_shot": 0,
            "seed": settings.seed,
            "limit": count,
            "metrics": dict.fromkeys(found.scores, "see qwenvl.evaluate.score"),
            **about,
            "versions": versions(),
            "commit": commit(),
        },
    }
    path = answers.folder / "result.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return result


def _row(number: int, prediction: Prediction, pictures: Path) -> dict[str, Any]:
    item = prediction.item
    image = pictures / f"{hashlib.blake2b(item.sample.images[0].key.encode(), digest_size=8).hexdigest()}.png"
    if not image.is_file():  # several questions are about one scene
        item.sample.images[0].pil().save(image)
    return {
        "id": f"{item.sample.id}#{number}",
        "prompt": item.question,
        "answer": prediction.raw,
        "targets": [text_of(item.truth)],
        "score": float(correct(prediction)),
        "category": item.task,
        "image": str(image),
        "boxes": {"true": _boxes(item.truth), "found": _boxes(prediction.parts)},
    }


def _boxes(parts: tuple[Any, ...]) -> list[list[float]]:
    regions = (part for part in parts if isinstance(part, Region))
    return [[round(v, 2) for v in (b.x0, b.y0, b.x1, b.y1)] for region in regions for b in region.boxes]
