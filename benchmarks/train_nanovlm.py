"""A training step of ours beside one of nanoVLM's, of the same dimensions, in one process, taking turns.

    git clone https://github.com/huggingface/nanoVLM DIR
    python benchmarks/train_nanovlm.py --nanovlm DIR [--steps 15] [--threads 2] [--precision bfloat16] [--supervised 1]

ViT of 6 layers × 192 (3 heads, MLP 768, 128 px, patches of 16), 16 slots a picture, decoder of 6 layers × 256 (4 heads,
MLP 688, 4,096 tokens, head not tied), 16 rows of 256 tokens with a picture each; AdamW, gradients clipped at 1. Theirs
is the model that lies in DIR, unmodified, and its step is that of its train.py: autocast, loss, backward, clipping,
rates, AdamW as it makes it. Ours is the training loop's. Of the text, the share `--supervised` has labels on both
sides. Only nanoVLM's tokenizer, which would be downloaded, is stood in for. Without --nanovlm ours alone is measured,
with --parts where its time goes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from qwenvl.config import Stage
from qwenvl.data.loader import Batch
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.flops import StepFlops, work_of
from qwenvl.train.objectives import next_token
from qwenvl.train.optim import Optimizers, trainable
from qwenvl.train.peaks import measured_peak
from qwenvl.train.shard import clip_gradients
from qwenvl.train.stages import freeze

ROWS, LENGTH, SIDE, PATCH, SLOTS, TOKENS = 16, 256, 128, 16, 16, 4096
WIDTH, HEADS, MLP = 256, 4, 688
LAYERS = 6
VISION_WIDTH, VISION_HEADS, VISION_MLP = 192, 3, 768
IMAGE = 3
"""nanoVLM's picture token and our slot; 1 and 2 are our <img> and </img>."""

Step = Callable[[], float]
"""One whole training step; gives its loss."""


def main() -> None:
    """Print the median time of a step on each side, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanovlm", type=Path, metavar="DIR", help="a checkout of nanoVLM")
    parser.add_argument("--steps", type=int, default=15, help="of each side, after three to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--supervised", type=float, default=1.0, help="the share of the text that has labels")
    parser.add_argument("--parts", action="store_true", help="also print where our time goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    precision = getattr(torch, options.precision)
    steps: dict[str, Step] = {}
    if options.nanovlm:
        steps["nanoVLM"] = theirs(options.nanovlm, precision, options.supervised)
    batch = made_up(options.supervised)
    model = small()
    steps["ours"] = ours(model, batch, precision)
    times: dict[str, list[float]] = {side: [] for side in steps}
    for number in range(options.steps + 3):
        for side, step in steps.items():
            begun = time.perf_counter()
            step()
            if number >= 3:
                times[side].append(time.perf_counter() - begun)
    print(f"seconds a step, {options.precision}, {options.threads} threads: median (least, most), tokens a second")
    for side, found in times.items():
        middle = statistics.median(found)
        print(f"  {side:8}{middle:6.3f}  ({min(found):.3f}, {max(found):.3f})  {ROWS * LENGTH / middle:7,.0f}")
    if options.nanovlm:
        ratios = [there / here for here, there in zip(times["ours"], times["nanoVLM"], strict=True)]
        print(f"  nanoVLM / ours {statistics.median(ratios):.2f}  ({min(ratios):.2f}, {max(ratios):.2f})")
    flops = StepFlops(model).of(work_of(batch, True, PATCH)).model
    peak = measured_peak(precision, torch.device("cpu"))
    used = flops / statistics.median(times["ours"]) / peak
    print(f"  ours: {flops / 1e9:.0f} GFLOP a step, {100 * used:.0f} % of the {peak / 1e9:,.0f} GFLOP/s measured here")
    if options.parts:
        parts(steps["ours"])


def parts(step: Step) -> None:
    """The operations that take longest."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=28, max_name_column_width=60))


def small() -> QwenVLForConditionalGeneration:
    """Ours, as a recipe of these sizes builds it on a CPU."""
    torch.manual_seed(0)
    config = QwenVLConfig(
        vision_config={
            "image_size": SIDE,
            "patch_size": PATCH,
            "width": VISION_WIDTH,
            "layers": LAYERS,
            "heads": VISION_HEADS,
            "mlp_width": VISION_MLP,
            "position_grid": SIDE // PATCH,
        },
        text_config={
            "vocab_size": TOKENS,
            "hidden_size": WIDTH,
            "intermediate_size": MLP,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
        },
        num_queries=SLOTS,
        adapter_heads=HEADS,
        image_start_id=1,
        image_end_id=2,
        image_slot_id=IMAGE,
    )
    config._attn_implementation = "matmul"
    return QwenVLForConditionalGeneration(config)


def made_up(supervised: float) -> Batch:
    """16 rows: a picture, then random words, of which the last ones have labels."""
    draw = np.random.default_rng(0)
    ids = draw.integers(4, TOKENS, (ROWS, LENGTH))
    ids[:, : SLOTS + 2] = [1, *[IMAGE] * SLOTS, 2]
    first = LENGTH - round(supervised * (LENGTH - SLOTS - 2))
    labels = np.where(np.arange(LENGTH) < first, -100, ids)
    branches = np.broadcast_to((np.arange(LENGTH) >= SLOTS + 2).astype(np.int16), ids.shape)
    return Batch(
        ids=ids,
        labels=labels,
        positions=np.broadcast_to(np.arange(LENGTH), ids.shape).copy(),
        segments=np.ones(ids.shape, np.int16),
        branches=branches.copy(),
        pixels=draw.integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8),
        image_index=np.arange(ROWS),
        tasks=["caption"] * ROWS,
        samples=ROWS,
        supervised=int((labels[:, 1:] != -100).sum()),
        runs=ROWS,
        state={},
    )


def ours(model: QwenVLForConditionalGeneration, batch: Batch, precision: torch.dtype) -> Step:
    """What the loop does: bytes to tensors, loss, backward, clipping, AdamW."""
    stage = Stage("stage2", ("vision", "adapter", "decoder"), {}, steps=10_000, warmup=100, isolate=True)
    model.train()
    freeze(model, stage.trains)
    optimizers = Optimizers(model, stage)
    parameters = [parameter for _, parameter in trainable(model)]

    def step() -> float:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = next_token(model, batch, batch.supervised, stage.isolate)
        loss.value.backward()
        clip_gradients(parameters, stage.clip)
        optimizers.step(0)
        return loss.value.item()

    return step


def theirs(folder: Path, precision: torch.dtype, supervised: float) -> Step:
    """nanoVLM's step (its train.py, `train`), on pictures and words of the same number."""
    tokenizer = types.SimpleNamespace(image_token_id=IMAGE)
    # it downloads a tokenizer, of which the model takes one number
    stand_in = types.ModuleType("data.processors")
    stand_in.get_tokenizer = lambda *_: tokenizer  # type: ignore[attr-defined]
    sys.modules["data.processors"] = stand_in
    sys.path.insert(0, str(folder))
    from models.config import VLMConfig
    from models.vision_language_model import VisionLanguageModel

    torch.manual_seed(0)
    model: Any = VisionLanguageModel(
        VLMConfig(
            vit_hidden_dim=VISION_WIDTH,
            vit_inter_dim=VISION_MLP,
            vit_patch_size=PATCH,
            vit_img_size=SIDE,
            vit_n_heads=VISION_HEADS,
            vit_n_blocks=LAYERS,
            lm_hidden_dim=WIDTH,
            lm_inter_dim=MLP,
            lm_vocab_size=TOKENS,
            lm_n_heads=HEADS,
            lm_n_kv_heads=HEADS,
            lm_n_blocks=LAYERS,
            lm_tie_weights=False,
            mp_pixel_shuffle_factor=round(((SIDE // PATCH) ** 2 / SLOTS) ** 0.5),
            mp_image_token_length=SLOTS,
        ),
        load_backbone=False,
    )
    model.train()
    print(f"parameters: nanoVLM {sum(p.numel() for p in model.parameters()):,}, ours {_count(small()):,}")
    groups = [{"params": list(part.parameters())} for part in (model.MP, model.vision_encoder, model.decoder)]
    optimizer = torch.optim.AdamW(groups)
    everything = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.zero_grad()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, TOKENS, (ROWS, LENGTH), generator=draw)
    ids[:, :SLOTS] = IMAGE
    first = LENGTH - round(supervised * (LENGTH - SLOTS - 2))
    labels = torch.where(torch.arange(LENGTH) < first, -100, ids).roll(-1, 1)
    labels[:, -1] = -100
    mask = torch.ones(ROWS, LENGTH, dtype=torch.long)
    pictures = [[torch.randn(1, 3, SIDE, SIDE, generator=draw)] for _ in range(ROWS)]

    def step() -> float:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            _, loss = model(ids, pictures, attention_mask=mask, targets=labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(everything, max_norm=1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-5
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.item())

    return step


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
