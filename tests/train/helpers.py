"""What the tests of training call: a tiny recipe."""

from __future__ import annotations

from qwenvl.config import Recipe
from qwenvl.typed import from_dict


def tiny(**changes: object) -> Recipe:
    """Two short stages of a model of some 50,000 numbers."""
    stage = {
        "trains": ["vision", "adapter", "decoder"],
        "tasks": {"vqa": {"questions": 3}, "referring": {"questions": 2}, "text": {"share": 0.2}},
        "steps": 6,
        "image_size": 32,
        "sequence": 160,
        "rows": 4,
        "isolate": True,
        "optimizer": "muon",
        "lr": 1e-3,
        "warmup": 2,
    }
    data = {
        "name": "tiny",
        "model": {
            "image_size": 32,
            "vision": {"patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp": 64, "position_grid": 4},
            "adapter": {"queries": 4, "heads": 2, "init": "local"},
            "decoder": {"width": 32, "layers": 2, "heads": 2, "mlp": 64, "tie": True},
        },
        "tokenizer": {"vocab_size": 400},
        "corpus": {"scenes": 24, "size": 64},
        "precision": "float32",
        "ranks": 1,
        "log_every": 2,
        "save_every": 4,
        "stages": [
            {**stage, "name": "stage2"},
            {**stage, "name": "stage3", "trains": ["adapter", "decoder"], "optimizer": "adamw", "accumulation": 2},
        ],
    }
    return from_dict(Recipe, data | changes, "tiny")
