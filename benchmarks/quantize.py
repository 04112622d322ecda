"""What 8 and 4 bits cost and bring: size, speed and agreement of fp32, bf16, int8 and int4.

    python benchmarks/quantize.py [--repeats 5] [--prompt 256] [--new 32] [--threads 2] [--device cpu] [--skip-large]

Two models: the packaged nano model on drawn scenes, and a random one of 180M numbers (decoder 12 layers of width 1024)
on random ids, where only its speed and size mean something: random weights have nearly equal logits everywhere, so any
rounding turns some. All variants of a model take turns in every repeat; medians are shown. Prefill is one pass over
the prompt, decoding is one token at a time with a cache, at batch 1. Agreement is that of fp32 (the reference): the
share of positions with the same best token, and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from qwenvl.data.synth.scenes import scene_record
from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.load import PACKAGED, load, quietly
from qwenvl.model.quantize import quantize
from qwenvl.serve.engine import inputs
from qwenvl.tasks import TASKS
from qwenvl.text.render import render

VARIANTS = ("fp32", "bf16", "int8", "int4")


def random_model() -> QwenVLForConditionalGeneration:
    """The mid-size model: a small ViT before a decoder that is large enough for memory to be what it waits for."""
    torch.manual_seed(0)
    config = QwenVLConfig(
        vision_config={
            "image_size": 224,
            "width": 256,
            "layers": 4,
            "heads": 4,
            "mlp_width": 1024,
        },
        text_config={
            "vocab_size": 8192,
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
        },
        num_queries=64,
        image_start_id=8000,
        image_end_id=8001,
        image_slot_id=8002,
    )
    return QwenVLForConditionalGeneration(config).eval()


def variants(folder: Path, place: Path, device: str) -> dict[str, tuple[QwenVLForConditionalGeneration, int]]:
    """Each variant's model and the bytes of its weights in a folder."""
    found = {}
    for name in VARIANTS:
        target = place / name
        with quietly():
            kind = torch.float32 if name in ("fp32", "int8", "int4") else torch.bfloat16
            model = QwenVLForConditionalGeneration.from_pretrained(folder, dtype=kind)
            if name.startswith("int"):
                quantize(model, int(name[3:]))
            model.save_pretrained(target)
            read = QwenVLForConditionalGeneration.from_pretrained(target, dtype="auto").to(device).eval()
        found[name] = read, sum(path.stat().st_size for path in target.glob("*.safetensors"))
    return found


def prompts(count: int) -> list[dict[str, Tensor]]:
    """Fixed questions about drawn scenes, with their answers, for the packaged model."""

    loaded = load("nano")
    rng, made = random.Random(0), []
    for index in range(count):
        record = scene_record(7, index, "test")
        samples = [sample for task in ("vqa", "caption", "grounding") for sample in TASKS[task](record, rng)]
        example = render(rng.choice(samples), loaded.tokenizer, loaded.model.config.num_queries)
        made.append(inputs(loaded.model, loaded.tokenizer, [example]))
    return made


def agreement(
    models: dict[str, tuple[QwenVLForConditionalGeneration, int]], batches: Sequence[dict[str, Tensor]], device: str
) -> dict[str, tuple[float, float]]:
    """(share of equal best tokens, largest difference of a logit) of each variant with fp32."""
    same, far, total = dict.fromkeys(VARIANTS, 0), dict.fromkeys(VARIANTS, 0.0), 0
    for batch in batches:
        here = {name: tensor.to(device) for name, tensor in batch.items()}
        logits = {}
        for name, (model, _) in models.items():
            if "pixel_values" in here:
                here["pixel_values"] = here["pixel_values"].to(model.dtype)
            with torch.inference_mode():
                logits[name] = model(**here, use_cache=False).logits.float().cpu()
        total += logits["fp32"].shape[0] * logits["fp32"].shape[1]
        for name, found in logits.items():
            same[name] += int((found.argmax(-1) == logits["fp32"].argmax(-1)).sum())
            far[name] = max(far[name], float((found - logits["fp32"]).abs().max()))
    return {name: (same[name] / total, far[name]) for name in VARIANTS}


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def speed(model: QwenVLForConditionalGeneration, ids: Tensor, new: int, device: str) -> tuple[float, float]:
    """Seconds of prefill, and of decoding a token."""
    with torch.inference_mode():
        wait(device)
        begin = time.perf_counter()
        output = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        wait(device)
        middle = time.perf_counter()
        for _ in range(new):
            token = output.logits[:, -1:].argmax(-1)
            output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
        wait(device)
    return middle - begin, (time.perf_counter() - middle) / new


def table(
    title: str,
    folder: Path,
    batches: Sequence[dict[str, Tensor]],
    ids: Tensor,
    options: argparse.Namespace,
) -> None:
    """Measure all variants of one model and print them."""
    with tempfile.TemporaryDirectory() as place:
        models = variants(folder, Path(place), options.device)
        near = agreement(models, batches, options.device)
        ids = ids.to(options.device)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
        for repeat in range(options.repeats + 1):
            for name in VARIANTS if repeat % 2 else VARIANTS[::-1]:
                found = speed(models[name][0], ids, options.new, options.device)
                if repeat:  # the first turn packs weights and fills caches
                    times[name].append(found)
    threads = torch.get_num_threads()
    print(f"\n{title}: prompt of {ids.shape[1]} tokens, {options.new} new, {options.device}, {threads} threads")
    heads = ("MB", "prefill tok/s", "decode tok/s", "× fp32", "same best", "largest Δ logit")
    print(" " * 6 + "".join(f"{head:>16}" for head in heads))
    base = statistics.median(decode for _, decode in times["fp32"])
    for name in VARIANTS:
        prefill = statistics.median(first for first, _ in times[name])
        decode = statistics.median(second for _, second in times[name])
        same, far = near[name]
        first, second = f"{ids.shape[1] / prefill:.0f}", f"{1 / decode:.1f}"
        row = (f"{models[name][1] / 1e6:.1f}", first, second, f"{base / decode:.2f}", f"{same:.1%}", f"{far:.3f}")
        print(f"{name:6}" + "".join(f"{cell:>16}" for cell in row), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="measured turns of each variant (default: %(default)s)")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the timed prompt (default: %(default)s)")
    parser.add_argument("--new", type=int, default=32, help="timed new tokens (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--skip-large", action="store_true", help="the nano model alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)

    def ids_below(most: int, rows: int = 1) -> Tensor:
        return torch.randint(5, most, (rows, options.prompt), generator=generator)

    table("nano", PACKAGED / "nano", prompts(40), ids_below(300), options)
    if options.skip_large:
        return
    with tempfile.TemporaryDirectory() as name:
        with quietly():
            random_model().save_pretrained(name)
        table("random, 180M numbers", Path(name), [{"input_ids": ids_below(7000, 2)}], ids_below(7000), options)


if __name__ == "__main__":
    main()
