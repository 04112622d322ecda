"""A run's model as it begins: which weights are held in which type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from qwenvl.model.load import load
from qwenvl.model.names import PARTS, part_of
from qwenvl.train.run import train
from qwenvl.train.start import whole_model
from tests.train.helpers import tiny
from tests.train.test_run import losses


def test_a_part_that_no_stage_trains_keeps_the_type_it_was_saved_in_under_bfloat16(tmp_path: Path) -> None:
    half = tmp_path / "half"
    loaded = load(train(tiny(), tmp_path / "base", quiet=True), dtype=torch.bfloat16)
    loaded.model.save_pretrained(half)
    loaded.tokenizer.save(half)
    first, second = tiny().stages
    begins = {"init": str(half), "model": None, "tokenizer": None, "precision": "bfloat16"}
    alone = replace(
        tiny(), stages=(replace(first, trains=("vision", "adapter"), optimizer="adamw", lr=1e-2),), **begins
    )
    model, _ = whole_model(alone, tmp_path, torch.bfloat16)
    kinds = {part: {p.dtype for n, p in model.named_parameters() if part_of(n) == part} for part in PARTS}
    assert kinds == {"vision": {torch.float32}, "adapter": {torch.float32}, "decoder": {torch.bfloat16}}
    both = replace(alone, stages=(alone.stages[0], second))
    for recipe, precision in ((both, torch.bfloat16), (alone, torch.float32)):
        model, _ = whole_model(recipe, tmp_path, precision)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    train(alone, tmp_path / "run", quiet=True)
    curve = [loss for _, _, loss in losses(tmp_path / "run")]
    assert curve[-1] < curve[0]
    before, after = (load_file(folder / "model.safetensors") for folder in (half, tmp_path / "run" / "model"))
    frozen = [name for name in before if part_of(name) == "decoder"]
    assert frozen and all(before[name].equal(after[name]) for name in frozen)
