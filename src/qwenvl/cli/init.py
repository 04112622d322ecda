"""`qwenvl init`."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwenvl.cli.options import Verbs, positive, verb


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(
        verbs, "init", run, "join a trained vision tower and a trained decoder with a fresh adapter, to be trained"
    )
    p.add_argument(
        "--vision", type=Path, required=True, metavar="PATH",
        help="an OpenCLIP checkpoint (file or folder), or a folder with a tower of transformers (SigLIP, DINO, …)",
    )  # fmt: skip
    p.add_argument(
        "--language", type=Path, required=True, metavar="DIR",
        help="a released Qwen-7B, or a folder with a causal decoder of transformers (Qwen3, Llama, SmolLM, …)",
    )  # fmt: skip
    p.add_argument("out", type=Path, help="folder of the new model")
    p.add_argument("--image-size", type=positive, help="side of pictures in pixels (OpenCLIP: 448, others: their own)")
    p.add_argument("--queries", type=positive, default=256, help="slots of a picture (default: %(default)s)")
    p.add_argument("--dtype", choices=("float32", "bfloat16"), help="type of the weights (default: the decoder's)")
    p.add_argument("--seed", type=int, default=0, help="of the adapter's random start")


def run(options: argparse.Namespace) -> None:
    """`qwenvl init`."""
    import torch

    from qwenvl.model.init import init
    from qwenvl.train.stages import PARTS, trainable_counts

    dtype = getattr(torch, options.dtype) if options.dtype else None
    model = init(
        options.vision, options.language, options.out, options.image_size, options.queries, dtype, options.seed
    )
    counts = trainable_counts(model)
    print(f"wrote {options.out}: " + ", ".join(f"{part} {counts[part]:,}" for part in PARTS) + " parameters")
    print(f"the adapter is untrained: qwenvl train finetune init={options.out} --data FILE")
