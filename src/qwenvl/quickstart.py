"""From nothing to chat: train the nano recipe, score it on held-out scenes, write the report, say how to chat."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from qwenvl.config import load_recipe
from qwenvl.data.synth.scenes import scene_record
from qwenvl.evaluate.report import write_report
from qwenvl.evaluate.run import evaluate_scenes, table
from qwenvl.model.load import load
from qwenvl.train.run import finished, prepare, train

RECIPE = "nano"


def quickstart(out: Path, fresh: bool = False) -> None:
    """Leave in `out` the trained model, `metrics.json`, the curves, `report.html` and a picture to chat about.

    A second call continues where the first stopped, and only prints where everything is there; `fresh` starts over.
    """
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    recipe = load_recipe(RECIPE)
    timings = _timings(out)
    if not finished(out):
        out.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        prepare(recipe, out)
        _note(out, timings, "corpus and tokenizer", begin)
        begin = time.perf_counter()
        train(recipe, out)
        _note(out, timings, "training", begin)
    if not (out / "report.html").is_file():
        begin = time.perf_counter()
        loaded = load(out / "model")
        evaluation = evaluate_scenes(loaded.model, loaded.tokenizer, recipe.evaluation.scenes)
        evaluation.write(out / "metrics.json")
        _note(out, timings, "evaluation", begin)
        (out / "scores.txt").write_text(table(evaluation.scores) + "\n", encoding="utf-8")
        scene_record(seed=1, index=0, split="test", size=192).images[0].pil().save(out / "scene.png")
        write_report(out, evaluation, list(timings.items()), title="qwenvl quickstart", model=out / "model")
    print((out / "scores.txt").read_text(encoding="utf-8"))
    total = sum(timings.values())
    print(f"{total / 60:.1f} minutes in all; the report is {out / 'report.html'}. Chat with the model:\n")
    print(f'  qwenvl chat --model {out / "model"} --image {out / "scene.png"} --draw out.png "Describe the picture."')


def _timings(out: Path) -> dict[str, float]:
    path = out / "timings.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _note(out: Path, timings: dict[str, float], phase: str, begin: float) -> None:
    """Add to a phase's seconds; an interrupted phase counts from where it was continued."""
    timings[phase] = timings.get(phase, 0.0) + time.perf_counter() - begin
    (out / "timings.json").write_text(json.dumps(timings), encoding="utf-8")
