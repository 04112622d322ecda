"""Make the packaged model from a finished run: bf16 weights, tokenizer, processor, a card with these weights' scores.

python scripts/ship_nano.py runs/nano-long src/qwenvl/models/nano --scenes 600
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
import yaml

from qwenvl.evaluate.run import evaluate_scenes, table
from qwenvl.model.load import load
from qwenvl.model.processor import QwenVLProcessor

LIMIT = 6 << 20

CARD = """# nano

A Qwen-VL of {parameters:,} parameters, trained from nothing on the nano world (`qwenvl.data.synth.scenes`),
English and Chinese. It knows that world and nothing else. It ships so that `qwenvl chat`, `eval` and the tests have a
model that sees right after installation.

* recipe: `{recipe}` (`recipe.yaml` beside this file; its stages and seeds), {minutes:.0f} minutes of training on two
  CPU cores
* data: {scenes:,} scenes of {size} px, seed {seed}, split train; made on the spot, no outside data. Handwritten
  digits and two background photographs are those bundled with scikit-learn; the font is Noto Sans CJK (OFL)
* weights: bf16 safetensors, {megabytes:.1f} MB; licence Apache-2.0, as the project

Scores in percent on {evaluated} held-out test scenes, of these weights:

```
{table}
```
"""


def main() -> None:
    """Convert, evaluate what was converted, write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=600)
    options = parser.parse_args()
    trained = load(options.run / "model")
    shutil.rmtree(options.out, ignore_errors=True)
    trained.model.to(torch.bfloat16).save_pretrained(options.out)
    QwenVLProcessor(trained.tokenizer, trained.model.config).save_pretrained(options.out)
    recipe = yaml.safe_load((options.run / "recipe.yaml").read_text(encoding="utf-8"))
    (options.out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    size = sum(path.stat().st_size for path in options.out.glob("*.safetensors"))
    if size > LIMIT:
        raise SystemExit(f"the weights take {size:,} bytes; the packaged model may take {LIMIT:,}")
    shipped = load(options.out)
    evaluation = evaluate_scenes(shipped.model, shipped.tokenizer, options.scenes)
    evaluation.write(options.out / "metrics.json")
    last = json.loads((options.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    card = CARD.format(
        parameters=sum(parameter.numel() for parameter in shipped.model.parameters()),
        recipe=recipe["name"],
        minutes=last["elapsed_s"] / 60,
        scenes=recipe["corpus"]["scenes"],
        size=recipe["corpus"]["size"],
        seed=recipe["corpus"]["seed"],
        megabytes=size / 1e6,
        evaluated=options.scenes,
        table=table(evaluation.scores),
    )
    (options.out / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
